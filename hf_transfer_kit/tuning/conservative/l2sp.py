"""L2-SP: weights held near the pretrained ones instead of near zero, as one callback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerState
from transformers.trainer_callback import ExportableState

from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.backbones.adapters import without_pretrained_value
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.checking import check_strength
from hf_transfer_kit.tuning.conservative.anchor import Anchor, AnchorKeeper, Source, body_parameters
from hf_transfer_kit.tuning.conservative.lora_delta import LoRAPair, delta_squared, lora_pairs
from hf_transfer_kit.tuning.conservative.penalties import NORMS
from hf_transfer_kit.tuning.conservative.pull import (
    LoRAPull,
    Pull,
    distance_squared,
    learning_names,
    placed_like,
    preload_gradients,
)
from hf_transfer_kit.tuning.loss_scale import mend_loss_scale
from hf_transfer_kit.tuning.runs import RunPart, calling_trainer, guard_run
from hf_transfer_kit.tuning.scalars import ScalarCallback
from hf_transfer_kit.tuning.selecting import selected_names
from hf_transfer_kit.values import LayerGroups

Selector = str | int


class L2SP(RunPart, ScalarCallback, ExportableState):
    """Adds alpha/2 |w - w0|^2 over the pretrained weights and beta/2 |w|^2 over the head to what is minimised.

    Li, Grandvalet & Davoine 2018, "Explicit Inductive Bias for Transfer Learning with Convolutional Networks". Held to
    w0 is all of the body, norms and biases included; parameters that are not in the anchor, or of another shape, are
    treated as the head is. With a LoRA adapter the penalty is alpha/2 |s B A|_F^2, the distance of the merged weights.

    Pass it in ``Trainer(callbacks=[...])``: w0 is the model at that moment, also after a resume. The gradient is added
    when the optimizer steps, without a graph, so accumulation, mixed precision and several processes change nothing;
    the logged ``loss`` does not contain it. Logged are ``l2sp_penalty`` and ``distance/<layer group>``, |w - w0|. The
    optimizer's own weight decay still pulls towards zero: set ``weight_decay=0`` to have L2-SP alone. Parameters
    without a gradient in a step, frozen ones above all, are left as they are.

    Args:
        alpha: Strength >= 0 on the pretrained weights.
        beta: Strength >= 0 on the head.
        groups: Other strengths for parts of the model: depth, name of a layer group, ``"head"``, ``"body"``, or a glob
            or ``"re:..."`` on parameter names -> strength. Later entries win.
        norm: ``"l2"``; ``"l1"``, alpha sum |w - w0| (L1-SP); ``"group"``, a group lasso over what leads to each output
            (GL-SP). The head's is always beta/2 |w|^2.
        decoupled: Move the weights by themselves, w <- w - lr alpha (w - w0) with each group's current rate, as AdamW
            does with its decay, instead of through the gradient; ``l1`` and ``group`` become their proximal steps.
        clipped: Clip the penalty's gradient together with the data's, as if it had been in the loss: it is put into
            the gradients before the backward pass. False adds it after Trainer's clipping.
        anchor: Pretrained weights from elsewhere: a Hub name or folder, a .safetensors file, or a state dict.
        example_inputs: Where the kit cannot make up inputs for one forward of the model: some, as for
            ``layer_groups``.

    Raises:
        SettingsError: When a value is out of range; before training, when the model, the optimizer or the checkpoint
            does not allow it.
    """

    def __init__(
        self,
        alpha: float = 0.01,
        beta: float = 0.01,
        *,
        groups: Mapping[Selector, float] | Sequence[tuple[Selector, float]] | None = None,
        norm: str = "l2",
        decoupled: bool = False,
        clipped: bool = False,
        anchor: Source | None = None,
        example_inputs: Any = None,
    ) -> None:
        given = {"alpha": alpha, "beta": beta, **{f"groups[{k!r}]": v for k, v in pairs(groups)}}
        check_strength(type(self).__name__, **given)
        if norm not in NORMS:
            raise SettingsError(f"norm={norm!r} is unknown; choose {', '.join(NORMS)}.")
        if decoupled and clipped:
            raise SettingsError("decoupled=True moves the weights without a gradient, so clipped=True means nothing.")
        self.alpha = alpha
        self.beta = beta
        self.groups = groups
        self.norm = norm
        self.decoupled = decoupled
        self.clipped = clipped
        self.anchor = anchor
        self.example_inputs = example_inputs
        self.fingerprint: str | None = None
        self._keeper = AnchorKeeper(type(self).__name__, anchor)
        self._pulls: list[Pull | LoRAPull] = []
        self._held: dict[str, tuple[list[nn.Parameter], list[Tensor], list[LoRAPair]]] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._pulled = False

    def state(self) -> dict:
        """What a checkpoint keeps: the arguments and the fingerprint of w0."""
        args = {
            "alpha": self.alpha,
            "beta": self.beta,
            "groups": [list(pair) for pair in pairs(self.groups)],
            "norm": self.norm,
            "decoupled": self.decoupled,
            "clipped": self.clipped,
            "anchor": None if self.anchor is None or isinstance(self.anchor, Mapping) else str(self.anchor),
        }
        return {"args": args, "attributes": {"fingerprint": self.fingerprint}}

    def on_init_end(self, args, state, control, model=None, **kwargs):
        super().on_init_end(args, state, control, model=model, **kwargs)
        guard_run()
        layer_groups(model, example_inputs=self.example_inputs)
        self.fingerprint = self._keeper.at_init(model).fingerprint

    def on_train_begin(self, args, state, control, model=None, optimizer=None, train_dataloader=None, **kwargs):
        super().on_train_begin(args, state, control, model=model, **kwargs)
        mend_loss_scale(calling_trainer(), train_dataloader)
        self.detach()
        self._start(model, inner_optimizer(optimizer, type(self).__name__), state)
        # A checkpoint of a run without this callback has no entry, and Trainer would fail to save the next one.
        state.stateful_callbacks.setdefault(type(self).__name__, self.state())

    def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
        self._pulled = False  # also after a step that raised an error
        if self.clipped:
            scaler = getattr(optimizer, "scaler", None)
            with torch.no_grad():
                preload_gradients(self._pulls, 1.0 if scaler is None else scaler.get_scale())

    def on_train_end(self, args, state, control, model=None, **kwargs):
        self.leave(model)

    def leave(self, model: nn.Module) -> None:
        """Lets the weights go."""
        self.detach()

    def attach(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Holds the weights of a loop of your own: every ``optimizer.step()`` from now on, until ``detach()``.

        Args:
            model: The model; its weights now are w0 unless ``anchor`` was given or an earlier call has taken them.
            optimizer: A torch optimizer; with a GradScaler, scaled gradients are recognised.

        Raises:
            SettingsError: With ``clipped=True``, which needs Trainer's events.
        """
        if self.clipped:
            raise SettingsError("clipped=True works inside Trainer; in a loop of your own clip after the penalty.")
        self.detach()
        self._start(model, inner_optimizer(optimizer, type(self).__name__), TrainerState())

    def detach(self) -> None:
        """Lets the weights go."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._pulled = False

    def scalars(self, model: nn.Module) -> dict[str, Tensor]:
        """The penalty and, for each layer group that may move, its distance from w0."""
        with torch.no_grad():
            values = [pull.value() for pull in self._pulls]
            result = {"l2sp_penalty": sum(values, start=torch.zeros(()))}
            for name, (parameters, anchors, lora) in self._held.items():
                squares = [distance_squared(parameters, anchors)] if parameters else []
                squares += [delta_squared(pair.a, pair.b, pair.scaling) for pair in lora]
                result[f"distance/{name}"] = sum(squares).sqrt()
        return result

    def _start(self, model: nn.Module, optimizer: torch.optim.Optimizer, state: TrainerState) -> None:
        groups = layer_groups(model, example_inputs=self.example_inputs)
        names = learning_names(model, optimizer)
        if not names:
            raise SettingsError(
                f"{type(optimizer).__name__} holds none of the model's parameters, so {type(self).__name__} cannot "
                "reach them: choose an optimizer that steps all parameters at once, such as adamw_torch."
            )
        anchor = self._keeper.at_train_begin(model, state, learning=names, restored=self.fingerprint)
        self.fingerprint = anchor.fingerprint
        lora = [pair for pair in lora_pairs(model) if {pair.a_name, pair.b_name} & set(names)]
        if lora and self.norm != "l2":
            raise SettingsError(f"norm={self.norm!r} is not defined for LoRA's merged delta; choose 'l2'.")
        anchors = placed_anchors(model, anchor, set(names))
        held = set(anchors) | without_pretrained_value(model)
        self._pulls = make_pulls(
            optimizer,
            model,
            anchors,
            strengths(groups, held, self.alpha, self.beta, pairs(self.groups)),
            lora=lora,
            norm=self.norm,
            importances=self._importances(model, anchors),
        )
        self._held = held_groups(groups, anchors, lora)
        if not self.clipped:
            self._handles = [
                optimizer.register_step_pre_hook(self._before_step),
                optimizer.register_step_post_hook(self._after_step),
            ]

    def _importances(self, model: nn.Module, anchors: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        return None

    @torch.no_grad()
    def _before_step(self, optimizer: torch.optim.Optimizer, args, kwargs) -> None:
        # The step of a subclass may call its parent's, whose hooks are the same ones.
        if self._pulled:
            return
        self._pulled = True
        # A fused optimizer is called also when gradients are infinite, and gets them scaled outside Trainer.
        found_inf, scale = (getattr(optimizer, name, None) for name in ("found_inf", "grad_scale"))
        if found_inf is not None and float(found_inf):
            return
        for pull in self._pulls:
            if self.decoupled:
                pull.step_back(optimizer.param_groups)
            else:
                pull.add_gradients(1.0 if scale is None else float(scale))

    def _after_step(self, optimizer: torch.optim.Optimizer, args, kwargs) -> None:
        self._pulled = False


def pairs(groups: Mapping[Selector, float] | Sequence[Sequence] | None) -> list[tuple[Selector, float]]:
    """Selector and strength, in order; also from the lists that a checkpoint's JSON makes of them."""
    items = groups.items() if isinstance(groups, Mapping) else groups or ()
    return [(selector, strength) for selector, strength in items]


def strengths(
    groups: LayerGroups,
    held: set[str],
    alpha: float,
    beta: float,
    others: Sequence[tuple[Selector, float]] = (),
) -> dict[str, float]:
    """Strength for each parameter: alpha for the held ones (transferred, adapters) of the body, beta elsewhere."""
    result = {}
    for group in groups:
        for name in group.parameters:
            result[name] = alpha if name in held and not group.is_head else beta
    for selector, strength in others:
        result.update(dict.fromkeys(selected_names(groups, selector), strength))
    return result


def placed_anchors(model: nn.Module, anchor: Anchor, learning: set[str]) -> dict[str, Tensor]:
    """Qualified name -> w0 for each parameter that learns and is in the anchor, placed as the parameter is."""
    _, prefix = plain_model(model)
    return {
        name: placed_like(anchor.weights[name.removeprefix(prefix)], parameter)
        for name, parameter in body_parameters(model).items()
        if name in learning and name.removeprefix(prefix) in anchor.weights
    }


def make_pulls(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    anchors: Mapping[str, Tensor],
    strength_of: Mapping[str, float],
    *,
    lora: Sequence[LoRAPair] = (),
    norm: str = "l2",
    importances: Mapping[str, Tensor] | None = None,
) -> list[Pull | LoRAPull]:
    """Parameters of the optimizer, gathered by group, strength and whether they have an anchor; strength 0 left out."""
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    adapters = {name for pair in lora for name in (pair.a_name, pair.b_name)}
    gathered: dict[tuple, list[str]] = {}
    index_of = {}
    for index, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            name = name_of.get(id(parameter))
            index_of[id(parameter)] = index
            if name is not None and name not in adapters and strength_of[name] > 0:
                key = (index, strength_of[name], name in anchors, parameter.device, parameter.dtype)
                gathered.setdefault(key, []).append(name)
    parameters = dict(model.named_parameters())
    pulls: list[Pull | LoRAPull] = []
    for (index, strength, anchored, *_), names in gathered.items():
        own = [parameters[name] for name in names]
        if anchored:
            weights = None if importances is None else [importances[name] for name in names]
            pulls.append(Pull(own, [anchors[name] for name in names], strength, index, norm, weights))
        else:
            pulls.append(Pull(own, None, strength, index))
    for pair in lora:
        indices = tuple(
            index_of.get(id(p), index_of.get(id(other))) for p, other in ((pair.a, pair.b), (pair.b, pair.a))
        )
        if strength_of[pair.a_name] > 0:
            pulls.append(LoRAPull(pair, strength_of[pair.a_name], indices))
    return pulls


def held_groups(
    groups: LayerGroups, anchors: Mapping[str, Tensor], lora: Sequence[LoRAPair]
) -> dict[str, tuple[list[nn.Parameter], list[Tensor], list[LoRAPair]]]:
    """Name of each layer group with something held to w0 -> its parameters, their anchors, its LoRA pairs."""
    result = {}
    for group in groups.body:
        names = [name for name in group.parameters if name in anchors]
        own = [pair for pair in lora if pair.a_name in group.parameters]
        if names or own:
            result[group.name] = ([group.parameters[n] for n in names], [anchors[n] for n in names], own)
    return result


def inner_optimizer(optimizer: object, owner: str) -> torch.optim.Optimizer:
    """The torch optimizer inside accelerate's.

    Raises:
        SettingsError: When there is none whose step can be watched, as with DeepSpeed.
    """
    inner = getattr(optimizer, "optimizer", optimizer)
    if not isinstance(inner, torch.optim.Optimizer) or "DeepSpeed" in type(optimizer).__name__:
        raise SettingsError(
            f"{owner} needs a torch optimizer and got {type(inner).__name__}: DeepSpeed keeps its own copies of the "
            "weights. Use DistributedDataParallel or FSDP2."
        )
    return inner
