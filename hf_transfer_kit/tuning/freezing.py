"""Static freezing: which layer groups never move, decided before the optimizer exists."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

from torch import nn
from transformers import TrainerCallback

from hf_transfer_kit.backbones import layer_groups, modality_of
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.frozen import freeze
from hf_transfer_kit.values import LayerGroup, LayerGroups


class FreezeLayers(TrainerCallback):
    """Keeps layer groups of the model fixed for the whole training.

    Frozen means: no gradient, no optimizer state or change (weight decay and momentum included), BatchNorm statistics
    fixed, dropout off. Groups are those of ``layer_groups(model)``; the head is frozen by ``names`` only. Give exactly
    one of the choices. The weights of peft adapters stay trainable.

    Pass it in ``Trainer(callbacks=[...])``: it acts when the Trainer is made, before the optimizer, so frozen weights
    take no optimizer memory.

    Args:
        first: The first k groups (nearest the input), 1 <= k <= number of groups before the head.
        last: The last k groups before the head.
        but_last: All groups except the last k, the head counted: ``but_last=1`` trains the head alone.
        fraction: The first share of the groups before the head, in (0, 1], rounded, at least one.
        all_but_head: Everything but the head.
        names: A glob (``"encoder.layer.[0-3].*"``) or, after ``"re:"``, a regular expression, or a list of them; a
            group's part is frozen parameter by parameter where the qualified name matches.
        general: The k most general groups: the first k for images and text, the last k before the head for speech,
            where speakers differ at the input and phonemes are shared.
        modality: ``"image"``, ``"text"`` or ``"speech"`` for ``general``; by default the model's own.
        quiet: Do not print the table of layer groups when training starts.

    Raises:
        SettingsError: When not exactly one choice is given, or it does not fit the model (raised before training).
    """

    def __init__(
        self,
        *,
        first: int | None = None,
        last: int | None = None,
        but_last: int | None = None,
        fraction: float | None = None,
        all_but_head: bool | None = None,
        names: str | Sequence[str] | None = None,
        general: int | None = None,
        modality: str | None = None,
        quiet: bool = False,
    ) -> None:
        choices = {
            "first": first,
            "last": last,
            "but_last": but_last,
            "fraction": fraction,
            "all_but_head": all_but_head or None,
            "names": names,
            "general": general,
        }
        given = {name: value for name, value in choices.items() if value is not None}
        if len(given) != 1:
            raise SettingsError(
                f"FreezeLayers takes exactly one of {', '.join(choices)}; "
                f"{'none was given' if not given else 'given were ' + ', '.join(given)}."
            )
        self.choice, self.value = next(iter(given.items()))
        self.modality = modality
        self.quiet = quiet
        self._model_id: int | None = None

    def apply(self, model: nn.Module) -> LayerGroups:
        """Freezes the chosen part of ``model`` now and returns its layer groups. Trainer calls this by itself."""
        groups = layer_groups(model)
        adapters = {name for group in groups for name in group.parameters if is_adapter(name)}
        if self.choice == "names":
            chosen = _matching(groups, self.value)
        else:
            depths = frozen_depths(groups, self.choice, self.value, modality=self.modality or modality_of(model))
            chosen = [groups[depth] for depth in depths]
        freeze(model, chosen, keep=adapters)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise SettingsError(
                f"FreezeLayers({self.choice}={self.value!r}) leaves nothing to train in {type(model).__name__}: "
                "freeze fewer layers, or give the model a head with replace_head."
            )
        self._model_id = id(model)
        return groups

    def on_init_end(self, args, state, control, model=None, **kwargs):
        self.apply(model)

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        # Added to the Trainer after it was made, or the model was swapped: without a gradient nothing moves either.
        if self._model_id != id(model):
            self.apply(model)
        if state.is_world_process_zero and not self.quiet:
            print(layer_groups(model))


def frozen_depths(groups: LayerGroups, choice: str, value: int | float | bool, *, modality: str) -> range:
    """Depths (indices into ``groups``) that a choice of ``FreezeLayers`` means.

    Args:
        groups: Layer groups of the model.
        choice: ``first``, ``last``, ``but_last``, ``fraction``, ``all_but_head`` or ``general``.
        value: Its value.
        modality: ``image``, ``text``, ``audio`` or ``speech``; read by ``general`` only.

    Raises:
        SettingsError: When the value is out of range, or the model has no head and the choice needs one.
    """
    body = len(groups.body)
    if choice == "all_but_head":
        if groups.head is None:
            raise SettingsError("all_but_head=True needs a model with a head; give it one with replace_head.")
        return range(body)
    if choice == "fraction":
        if not 0 < value <= 1:
            raise SettingsError(f"fraction={value} is outside (0, 1]: it is the share of groups to freeze.")
        return range(max(1, round(value * body)))
    if choice == "but_last":
        _check_count(choice, value, len(groups) - 1, "groups, the head counted, one of which must be frozen")
        return range(len(groups) - value)
    _check_count(choice, value, body, "groups before the head")
    if choice == "general":
        choice = "last" if modality in ("speech", "audio") else "first"
    return range(value) if choice == "first" else range(body - value, body)


def is_adapter(name: str) -> bool:
    """Whether a parameter of this name belongs to a peft adapter or to a copy that peft trains beside the original."""
    return any(mark in name for mark in (".lora_", ".modules_to_save.", ".ia3_", ".oft_", "prompt_encoder."))


def _check_count(choice: str, value: int, limit: int, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
        raise SettingsError(
            f"{choice}={value} is out of range: this model has {limit} {what}, so give a whole number "
            f"from 1 to {limit}."
        )


def _matching(groups: LayerGroups, patterns: str | Sequence[str]) -> list[LayerGroup]:
    """The part of each group whose parameter names match; modules only where all their parameters do."""
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    tests = [re.compile(p[3:] if p.startswith("re:") else fnmatch.translate(p)) for p in patterns]
    for pattern, test in zip(patterns, tests, strict=True):
        if not any(test.match(name) for group in groups for name in group.parameters):
            known = ", ".join(list(groups[0].parameters)[:3])
            raise SettingsError(
                f"names={pattern!r} matches no parameter. Names look like {known}; "
                'use a glob such as "layer1.*", or "re:" and a regular expression.'
            )
    parts = []
    for group in groups:
        parameters = {n: p for n, p in group.parameters.items() if any(test.match(n) for test in tests)}
        chosen = {id(parameter) for parameter in parameters.values()}
        modules = {
            f"{name}.{inner_name}".rstrip("."): inner
            for name, module in group.modules.items()
            for inner_name, inner in module.named_modules()
            if (own := list(inner.parameters())) and all(id(parameter) in chosen for parameter in own)
        }
        parts.append(LayerGroup(group.name, modules, parameters, group.is_head))
    return parts
