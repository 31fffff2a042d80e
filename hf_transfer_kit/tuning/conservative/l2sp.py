"""L2-SP: weights held near the pretrained ones instead of near zero, as one callback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.backbones.adapters import without_pretrained_value
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.tuning.calling import calling_trainer
from hf_transfer_kit.tuning.checking import check_strength
from hf_transfer_kit.tuning.conservative.anchor import AnchorKeeper, Source, stateful_callbacks
from hf_transfer_kit.tuning.conservative.anchor_penalty import (
    AnchorPenalty,
    LoRAAnchorPenalty,
    distance_squared,
    learning_names,
    preload_gradients,
)
from hf_transfer_kit.tuning.conservative.holding import (
    Selector,
    cut_in_groups,
    held_groups,
    inner_optimizer,
    make_penalties,
    pairs,
    placed_anchors,
    strengths,
)
from hf_transfer_kit.tuning.conservative.lora_delta import LoRAPair, lora_pairs
from hf_transfer_kit.tuning.conservative.penalties import NORMS
from hf_transfer_kit.tuning.loss_scale import mend_loss_scale
from hf_transfer_kit.tuning.networks import GIVEN
from hf_transfer_kit.tuning.runs import RunPart, guard_run
from hf_transfer_kit.tuning.scalars import ScalarCallback, check_scalar_name


class L2SP(RunPart, ScalarCallback, ExportableState):
    """Adds alpha/2 |w - w0|^2 over the pretrained weights and beta/2 |w|^2 over the head to what is minimised.

    Li, Grandvalet & Davoine 2018, "Explicit Inductive Bias for Transfer Learning with Convolutional Networks". Held to
    w0 is all of the body, norms and biases included; parameters that are not in the anchor, or of another shape, are
    treated as the head is. With a LoRA adapter the penalty is alpha/2 |s B A|_F^2, the distance of the merged weights.

    Pass it in ``Trainer(callbacks=[...])``: w0 is the model at that moment, also after a resume. The gradient is added
    when the optimizer steps, without a graph, so accumulation, mixed precision and several processes change nothing;
    the logged ``loss`` does not contain it. Logged is ``l2sp_penalty``. The optimizer's own weight decay still pulls
    towards zero: set ``weight_decay=0`` to have L2-SP alone. Parameters without a gradient in a step, frozen ones above
    all, are left as they are.

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
        log_distances: Log also ``distance/<layer group>``, |w - w0|, in each line.
        name: Its name in the logs instead of ``l2sp_penalty``; needed where a Trainer has several.
        example_inputs: Where the kit cannot make up inputs for one forward of the model: some, as for
            ``layer_groups``.

    Raises:
        SettingsError: When a value is out of range; before training, when the model, the optimizer or the checkpoint
            does not allow it.

    Example:
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[L2SP(alpha=0.01, beta=0.01)])
        >>> _ = trainer.train()
        >>> "l2sp_penalty" in trainer.state.log_history[0]
        True
    """

    scalar_name: str
    reaches_parameters = True

    @checked_arguments(own_words_first=True)
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
        log_distances: bool = False,
        name: str | None = None,
        example_inputs: Any = None,
    ) -> None:
        check_scalar_name(type(self).__name__, name)
        given = {"alpha": alpha, "beta": beta, **{f"groups[{k!r}]": v for k, v in pairs(groups)}}
        check_strength(type(self).__name__, **given)
        if norm not in NORMS:
            raise SettingsError(f"norm={norm!r} is unknown; choose {', '.join(NORMS)}.{did_you_mean(norm, NORMS)}")
        if decoupled and clipped:
            raise SettingsError("decoupled=True moves the weights without a gradient, so clipped=True means nothing.")
        self.alpha = alpha
        self.beta = beta
        self.groups = groups
        self.norm = norm
        self.decoupled = decoupled
        self.clipped = clipped
        self.anchor = anchor
        self.log_distances = log_distances
        self.name = name
        self.scalar_name = name or "l2sp_penalty"
        self.example_inputs = example_inputs
        self.fingerprint: str | None = None
        self._keeper = AnchorKeeper(type(self).__name__, anchor)
        self._penalties: list[AnchorPenalty | LoRAAnchorPenalty] = []
        self._held: dict[str, tuple[list[nn.Parameter], list[Tensor], list[LoRAPair]]] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._pulled = False

    def __getstate__(self) -> dict:
        # What belongs to a run stays with its model: in another process there is another one.
        return {**vars(self), "_penalties": [], "_held": {}, "_handles": []}

    def state(self) -> dict:
        """What a checkpoint keeps: the arguments and the fingerprint of w0."""
        args = {
            "alpha": self.alpha,
            "beta": self.beta,
            "groups": [list(pair) for pair in pairs(self.groups)],
            "norm": self.norm,
            "decoupled": self.decoupled,
            "clipped": self.clipped,
            "log_distances": self.log_distances,
            "name": self.name,
            "anchor": None if self.anchor is None or isinstance(self.anchor, Mapping) else str(self.anchor),
        }
        return {"args": args, "attributes": {"fingerprint": self.fingerprint}}

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        super().on_init_end(args, state, control, model=model, **kwargs)
        guard_run()
        layer_groups(model, example_inputs=self.example_inputs)
        self.fingerprint = self._keeper.at_init(model).fingerprint

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        optimizer: torch.optim.Optimizer = GIVEN,
        train_dataloader: DataLoader = GIVEN,
        **kwargs: Any,
    ) -> None:
        super().on_train_begin(args, state, control, model=model, **kwargs)
        mend_loss_scale(calling_trainer(), train_dataloader)
        self.detach()
        self._start(model, inner_optimizer(optimizer, type(self).__name__), state)
        # A checkpoint of a run without this callback has no entry, and Trainer would fail to save the next one.
        stateful_callbacks(state).setdefault(type(self).__name__, self.state())

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: torch.optim.Optimizer = GIVEN,
        **kwargs: Any,
    ) -> None:
        self._pulled = False  # also after a step that raised an error
        if self.clipped:
            scaler = getattr(optimizer, "scaler", None)
            with torch.no_grad():
                preload_gradients(self._penalties, 1.0 if scaler is None else scaler.get_scale())

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
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
        """The penalty and, where asked for, the distance from w0 of each layer group that may move."""
        with torch.no_grad():
            values = [penalty.value() for penalty in self._penalties]
            result = {self.scalar_name: sum(values, start=torch.zeros(()))}
            for group, (parameters, anchors, lora) in self._held.items() if self.log_distances else ():
                squares = [distance_squared(parameters, anchors)] if parameters else []
                squares += [pair.squared() for pair in lora]
                result[self._of_several(f"distance/{group}")] = cast(Tensor, sum(squares)).sqrt()
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
        if self.norm == "group" and (cut := cut_in_groups(model, anchors)):
            raise SettingsError(
                f"norm='group' takes the norm of all that leads to one output, and {cut} is sharded along another axis "
                "than that of its outputs. Shard along the first axis, as FSDP2 does by itself, or choose 'l2' or 'l1'."
            )
        held = set(anchors) | without_pretrained_value(model)
        self._penalties = make_penalties(
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

    def _of_several(self, name: str) -> str:
        return name if self.name is None else f"{self.name}/{name}"

    def _importances(self, model: nn.Module, anchors: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        return None

    @torch.no_grad()
    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        # The step of a subclass may call its parent's, whose hooks are the same ones.
        if self._pulled:
            return
        self._pulled = True
        # A fused optimizer is called also when gradients are infinite, and gets them scaled outside Trainer.
        found_inf, scale = (getattr(optimizer, name, None) for name in ("found_inf", "grad_scale"))
        if found_inf is not None and float(found_inf):
            return
        for penalty in self._penalties:
            if self.decoupled:
                penalty.apply_decoupled(optimizer.param_groups)
            else:
                penalty.add_gradients(1.0 if scale is None else float(scale))

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._pulled = False
