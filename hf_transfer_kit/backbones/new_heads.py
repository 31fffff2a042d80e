"""A fresh head in the place of the old one."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING_NAMES

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.example_inputs import traced
from hf_transfer_kit.backbones.heads import find_head, last_layers
from hf_transfer_kit.backbones.unwrapping import plain_model, timm_model
from hf_transfer_kit.errors import ModelError, SettingsError, first_line

MOST_CLASSES = 1_000_000
_COUNTS = ("num_labels", "num_classes", "n_classes")


@checked_arguments()
def replace_head(
    model: nn.Module,
    num_labels: int | None = None,
    *,
    id2label: Mapping[int, str] | None = None,
    seed: int | None = None,
    init: str | Tensor = "default",
    whole_head: bool = False,
) -> nn.Module:
    """Drops the last layers and puts freshly, randomly initialised ones in their place; all else stays bit-identical.

    Works in place. Of several layers that give logits (a distilled and a plain one, auxiliary ones) all are replaced.
    The config follows, so the model saves and reloads; where it says how many outputs a layer has for so many classes
    (a detector one more), that many are made.

    Args:
        model: A classifier (images, texts, sounds, tokens) of transformers or timm, or a module ending in a Linear; or
            a network for CTC, whose classes are symbols, the first of them the blank.
        num_labels: Number of classes; may be left out when ``id2label`` is given.
        id2label: Class index -> name.
        seed: Seed of the new weights, without touching the global random state; None draws from it.
        init: ``"default"``, the model's own initialisation; ``"zeros"`` (uniform predictions at the start); or rows of
            the last layer, (C, D), such as ``class_embeddings`` of the classes' names, with a bias of zero.
        whole_head: Initialise the head's other layers anew as well (a pooler, a dense layer before the last).

    Returns:
        The model.

    Raises:
        ModelError: When the model has no head, when its outputs are no classes (words of a vocabulary, choices), or
            when it cannot run with as many; it is as before then.
        SettingsError: When the number of classes is missing, below 1 or contradicts ``id2label``, or rows are not
            finite, not one a class, or not as wide as what the last layer reads.

    Example:
        >>> _ = replace_head(model, id2label={0: "cat", 1: "dog"}, seed=0)
        >>> model(pixel_values=torch.zeros(1, 3, 32, 32)).logits.shape, model.config.id2label[1]
        (torch.Size([1, 2]), 'dog')
    """
    id2label = checked_labels(num_labels, id2label)
    if not isinstance(init, Tensor) and init not in ("default", "zeros"):
        raise SettingsError(f"init={init!r} is unknown; choose 'default' or 'zeros', or give a tensor of rows.")
    inner, prefix = plain_model(model)
    layers = {name.removeprefix(prefix): layer for name, layer in last_layers(model).items()}
    if isinstance(init, Tensor):
        _check_rows(init, layers, len(id2label), type(inner).__name__)
    owners = _owners(inner, layers)
    built = {path: _as_built(owner, id2label) for path, owner in owners.items()}
    sizes = {name: _size(name, layer, owners, built, len(id2label)) for name, layer in layers.items()}
    keepers = [inner, *(o for o in owners.values() if o is not inner)]
    undo = _Undo(inner, [*keepers, *(cast(nn.Module, o.timm_model) for o in keepers if hasattr(o, "timm_model"))])
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        for name, size in sizes.items():
            _replace_layer(inner, name, size, init)
        for path, fresh in built.items():
            _follow(owners[path], fresh, "default" if isinstance(init, Tensor) else init)
        if whole_head:
            _initialize_rest(model)
    for owner in keepers:
        _update_bookkeeping(owner, id2label)
    try:
        undo.check()
    except ModelError as error:
        undo()
        raise ModelError(
            f"{type(inner).__name__} cannot have {len(id2label)} classes in its last layer {list(layers)[-1]!r}: "
            f"{error} Load it for a task that names classes, such as AutoModelForImageClassification."
        ) from error
    return model


def initialize_module(model: nn.Module, module: nn.Module) -> None:
    """Draws the weights of ``module`` and all beneath it anew, by the model's own rule where it has one."""
    rule = getattr(model, "_init_weights", None)
    layer: Any
    for layer in module.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
        if callable(rule):
            rule(layer)


def _owners(model: nn.Module, layers: Mapping[str, nn.Module]) -> dict[str, PreTrainedModel]:
    """Path -> the innermost transformers network around each of the last layers, where there is one."""
    found: dict[str, PreTrainedModel] = {}
    for layer in layers:
        paths = [layer.rsplit(".", cut)[0] for cut in range(1, layer.count(".") + 1)] + [""]
        for path in paths:
            owner = model.get_submodule(path)
            if isinstance(owner, PreTrainedModel):
                found[path] = owner
                break
    return found


def _as_built(owner: PreTrainedModel, id2label: dict[int, str]) -> nn.Module | None:
    """The network as its class builds it for these classes, without memory.

    None where it cannot be built, or where its head is not now as its class builds it: a head of one's own stays.
    """
    if timm_model(owner) is not None:
        return None
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            now = type(owner)(copy.deepcopy(owner.config))
            config = copy.deepcopy(owner.config)
            _set_labels(config, id2label, owner)
            then = type(owner)(config)
    except Exception:
        return None
    head = tuple(find_head(owner))
    return then if _shapes(now, head) == _shapes(owner, head) else None


def _shapes(model: nn.Module, head: tuple[str, ...]) -> dict[str, torch.Size]:
    return {n: p.shape for n, p in model.named_parameters() if n.startswith(tuple(f"{name}." for name in head))}


def _size(
    name: str, layer: nn.Module, owners: Mapping[str, nn.Module], built: Mapping[str, nn.Module | None], count: int
) -> int:
    """Outputs of a last layer for so many classes."""
    for path, fresh in built.items():
        own = name.removeprefix(f"{path}.") if path else name
        modules = dict(fresh.named_modules()) if fresh is not None and (not path or own != name) else {}
        if hasattr(modules.get(own), "weight"):
            size = len(cast(Tensor, modules[own].weight))
            if size == len(cast(Tensor, layer.weight)) != count:
                raise ModelError(
                    f"The outputs of {type(owners[path]).__name__} are not classes: the {size} of its last layer "
                    f"{name!r} do not follow num_labels. Load it for a task that names classes, such as "
                    "AutoModelForSequenceClassification."
                )
            return size
    return count


def _follow(owner: nn.Module, fresh: nn.Module | None, init: str) -> None:
    """Gives the head of ``owner`` the parts that ``fresh`` has and it has not, initialised."""
    if fresh is None:
        return
    for name in find_head(owner):
        old, new = owner.get_submodule(name), fresh.get_submodule(name)
        shapes = [{n: p.shape for n, p in module.named_parameters()} for module in (old, new)]
        if shapes[0].keys() != shapes[1].keys():
            # A head that is built otherwise for so many classes, as LayoutLMv3's for tokens.
            place = next(owner.parameters())
            made = new.to_empty(device=place.device).to(place.dtype).train(old.training)
            initialize_module(owner, made)
            parent, _, child = name.rpartition(".")
            setattr(owner.get_submodule(parent), child, made)
        elif shapes[0] != shapes[1]:
            differing = {n.rpartition(".")[0] for n, shape in shapes[1].items() if shapes[0][n] != shape}
            for layer in differing:
                path = f"{name}.{layer}".rstrip(".")
                _replace_layer(owner, path, len(cast(Tensor, fresh.get_submodule(path).weight)), init)


class _Undo:
    """Puts a model back as it was, should it not run with its new head."""

    def __init__(self, model: nn.Module, owners: Iterable[nn.Module]) -> None:
        self._model = model
        self._ran = _runs(model) is None
        self._children = [(module, dict(module._modules)) for module in model.modules()]
        self._counts = [(o, {a: v for a in _COUNTS if isinstance(v := vars(o).get(a), int)}) for o in owners]
        configs = [owner.config for owner, _ in self._counts if hasattr(owner, "config")]
        self._configs = [(vars(config), dict(vars(config))) for config in configs]

    def check(self) -> None:
        """Raises ModelError when a model that could run before cannot run now."""
        if self._ran and (words := _runs(self._model)):
            raise ModelError(words)

    def __call__(self) -> None:
        for module, children in self._children:
            module._modules.update(children)
        for owner, counts in self._counts:
            vars(owner).update(counts)
        for own, before in self._configs:
            own.clear()
            own.update(before)


def _runs(model: nn.Module) -> str | None:
    try:
        traced(model)
    except ModelError as error:
        return first_line(error)
    return None


def _check_rows(rows: Tensor, layers: Mapping[str, nn.Module], count: int, model: str) -> None:
    """Refuses rows that are no weights of the last layer."""
    if len(layers) > 1 or not all(isinstance(layer, nn.Linear) for layer in layers.values()):
        raise SettingsError(
            f"Rows were given for the head of {model}, whose last layers are {', '.join(layers)}: they begin a head "
            "with one linear layer at its end."
        )
    layer: Any
    name, layer = next(iter(layers.items()))
    if tuple(rows.shape) != (count, layer.in_features):
        raise SettingsError(
            f"Rows of shape {tuple(rows.shape)} were given for the last layer {name!r} of {model}, which reads "
            f"{layer.in_features} features for {count} classes: give {count} rows of {layer.in_features} values. "
            "Embeddings of texts fit what load_tower_classifier loads."
        )
    if not rows.isfinite().all():
        row = int((~rows.isfinite()).any(dim=1).nonzero()[0])
        raise SettingsError(f"Row {row} of those given for the last layer {name!r} is not finite. Mend what made it.")


def _replace_layer(model: nn.Module, name: str, num_labels: int, init: str | Tensor) -> None:
    parent_name, _, child_name = name.rpartition(".")
    parent = model.get_submodule(parent_name)
    old = getattr(parent, child_name)
    place = {"device": old.weight.device, "dtype": old.weight.dtype}
    bias = old.bias is not None
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, num_labels, bias=bias, **place)
    else:
        new = type(old)(old.in_channels, num_labels, old.kernel_size, old.stride, old.padding, bias=bias, **place)
    setattr(parent, child_name, new.train(old.training))
    if isinstance(init, Tensor) or init == "zeros":
        for parameter in new.parameters():
            nn.init.zeros_(parameter)
        if isinstance(init, Tensor):
            with torch.no_grad():
                new.weight.copy_(init)
    elif isinstance(model, PreTrainedModel) and timm_model(model) is None:
        initialize_module(model, new)


def _initialize_rest(model: nn.Module) -> None:
    inner, _ = plain_model(model)
    last = {id(layer) for layer in (model.get_submodule(name) for name in last_layers(model))}
    for module in find_head(model).values():
        for layer in module.modules():
            if id(layer) not in last and _is_leaf_with_parameters(layer):
                initialize_module(inner, layer)


def _index(written: object) -> int | None:
    """A class's place as a whole number: JSON turns it into a text."""
    if isinstance(written, str):
        return int(written) if written.isdecimal() and len(written) < 20 else None
    return int(written) if isinstance(written, Integral) and not isinstance(written, bool) else None


def checked_labels(num_labels: int | None, id2label: Mapping[int, str] | None) -> dict[int, str]:
    """Index -> name of the classes of a head; ``LABEL_0`` and so on where they have no names.

    Raises:
        SettingsError: When there is no class, an index is left out, or two classes have one name.
    """
    if id2label is not None and (not isinstance(id2label, Mapping) or not id2label):
        raise SettingsError(f"id2label={id2label!r} names no class; give index -> name for each, such as {{0: 'cat'}}.")
    if id2label is None:
        if isinstance(num_labels, bool) or not isinstance(num_labels, int) or num_labels < 1:
            raise SettingsError(f"num_labels={num_labels!r}: give the number of classes, at least 1, or id2label.")
        if num_labels > MOST_CLASSES:
            raise SettingsError(f"num_labels={num_labels}: give the number of classes, at most {MOST_CLASSES:,}.")
        return {index: f"LABEL_{index}" for index in range(num_labels)}
    labels = {place: str(label) for index, label in id2label.items() if (place := _index(index)) is not None}
    if len(labels) < len(id2label):
        raise SettingsError(f"id2label={dict(id2label)!r}: the classes are counted 0, 1, 2, ..., each once.")
    names = list(labels.values())
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise SettingsError(f"id2label gives two classes the name {twice[0]!r}. Give each its own.")
    if sorted(labels) != list(range(len(labels))) or num_labels not in (None, len(labels)):
        raise SettingsError(
            f"id2label names the classes {sorted(labels)} and num_labels is {num_labels}; the classes must be "
            "0, 1, 2, ... without a gap, and as many as num_labels."
        )
    return labels


def _update_bookkeeping(model: nn.Module, id2label: dict[int, str]) -> None:
    """Tells the model's own bookkeeping about the new classes."""
    for owner in (model, getattr(model, "timm_model", None)):
        for attribute in _COUNTS:
            if owner is not None and isinstance(vars(owner).get(attribute), int):
                setattr(owner, attribute, len(id2label))
    config: Any = getattr(model, "config", None)
    if config is not None:
        _set_labels(config, id2label, model)
    if hasattr(model, "timm_model") and hasattr(model, "config"):
        # The wrapper's config repeats the classes under timm's names, and those win when it is read back.
        if hasattr(config, "label_names"):
            config.label_names = list(id2label.values())
        if getattr(config, "pretrained_cfg", None):
            config.pretrained_cfg = {**config.pretrained_cfg, "num_classes": len(id2label)}


def transcript_settings(symbols: int, *, blank: int = 0) -> dict[str, Any]:
    """What the configuration of transformers' networks for CTC says of their symbols.

    Args:
        symbols: How many, the blank among them.
        blank: Index of the blank.

    Example:
        >>> transcript_settings(16)
        {'vocab_size': 16, 'pad_token_id': 0, 'ctc_zero_infinity': True}
    """
    return {"vocab_size": symbols, "pad_token_id": blank, "ctc_zero_infinity": True}


def _set_labels(config: Any, id2label: dict[int, str], owner: nn.Module) -> None:
    """Tells the config of a network, under every name by which it counts classes, and of CTC symbols."""
    config.id2label = id2label
    config.label2id = {label: index for index, label in id2label.items()}
    config.problem_type = None
    if type(owner).__name__ in MODEL_FOR_CTC_MAPPING_NAMES.values():
        config.update(transcript_settings(len(id2label)))
    for attribute in _COUNTS:
        if isinstance(vars(config).get(attribute), int):
            setattr(config, attribute, len(id2label))


def _is_leaf_with_parameters(module: nn.Module) -> bool:
    return not any(True for _ in module.children()) and any(True for _ in module.parameters())
