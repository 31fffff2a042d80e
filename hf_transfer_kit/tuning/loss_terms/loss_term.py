"""Terms added to the loss of an untouched model in any Trainer.

Trainer lets no callback change the loss. So a term is joined to the model's outputs where they are made: a forward hook
on the model itself, inside DistributedDataParallel and under autograd, sees to it that whatever loss is computed from
these outputs, the model's own or one of a Trainer with a ``compute_loss`` of its own, has the term beside it in the
backward. In evaluation there is no term.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import nn
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments
from transformers.loss.loss_utils import LOSS_MAPPING, ForCausalLMLoss
from transformers.utils.generic import find_labels

from hf_transfer_kit.backbones.feature_maps import FeatureMaps
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.compat import argument_name
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.all_rows import check_together
from hf_transfer_kit.tuning.calling import calling_trainer
from hf_transfer_kit.tuning.loss_scale import mend_loss_scale
from hf_transfer_kit.tuning.loss_terms.grafting import Graft
from hf_transfer_kit.tuning.networks import GIVEN
from hf_transfer_kit.tuning.runs import RunPart, guard_run
from hf_transfer_kit.tuning.scalars import ScalarCallback, check_scalar_name
from hf_transfer_kit.tuning.shared_batches import row_share

_NOT_LEARNED = "{name} joins its term to what the model returns, and {finding}, so the term would teach nothing. {way}"


class LossTerm(RunPart, ScalarCallback):
    """A callback that adds a differentiable term to the model's loss; its mean is logged as ``scalar_name``.

    A subclass says what to watch in ``watch`` and computes the term, a mean over the rows of the batch, in ``term``.
    Where the model's own loss is trained on, it contains the term, also in the log; beside a loss that the Trainer
    computes from other outputs (own ``compute_loss``, ``compute_loss_func``, label smoothing) the term is trained and
    logged under its own name, but not in ``loss``. A term that no backward reaches ends training before the first
    step. Under gradient accumulation the term of each micro-batch is weighted as Trainer weights its loss, so that
    accumulating equals one big batch.
    """

    scalar_name: str
    reaches_parameters = True
    needs_every_map: bool = True
    """Whether a forward in which a watched module did not run is an error; else ``term`` sees to it."""
    of_all_processes: bool = False
    """Whether ``term`` is that of all processes' rows (``all_rows``), where it is no mean over rows."""

    def __init__(self, *, name: str | None = None) -> None:
        check_scalar_name(type(self).__name__, name)
        if name is not None:
            self.scalar_name = name

    _maps: FeatureMaps
    _totals: tuple[torch.Tensor | float, torch.Tensor | float] = (0.0, 0.0)

    def watch(self, model: nn.Module) -> FeatureMaps:
        """Hooks for the maps that the term needs. Called when training begins."""
        raise NotImplementedError

    def term(self, model: nn.Module, maps: Mapping[str, torch.Tensor], inputs: Mapping[str, Any]) -> torch.Tensor:
        """The term of one batch, one element, its strength included.

        Args:
            model: The model in training.
            maps: What ``watch`` asked for, from this forward, in the graph.
            inputs: Keyword arguments of this forward.
        """
        raise NotImplementedError

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

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        super().on_train_begin(args, state, control, model=model, **kwargs)
        check_trainer(type(self).__name__, args)
        self._take_off()
        trainer = calling_trainer()
        mend_loss_scale(trainer, kwargs.get("train_dataloader"))
        self._graft = Graft(partial(_backward_scale, trainer, args))
        self._totals = (0.0, 0.0)
        self._label_names = label_argument_names(model) | set(args.label_names or ())
        self._labels_shift = labels_shift(model)
        self._maps = self.watch(model)
        self._handles = (
            model.register_forward_pre_hook(self._before_forward),
            model.register_forward_hook(self._after_forward, with_kwargs=True),
        )

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        made, reached = self._graft.take_counts()
        if not made:
            finding = f"{type(model).__name__} was not called in this training step, but a part of it"
            way = "Call the model itself where the loss is computed."
            raise SettingsError(_NOT_LEARNED.format(name=type(self).__name__, finding=finding, way=way))
        if not reached:
            finding = "the loss that was back-propagated is made of none of it"
            way = "Compute the loss from the model's outputs, with their graph (no detach, no no_grad)."
            raise SettingsError(_NOT_LEARNED.format(name=type(self).__name__, finding=finding, way=way))

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
        """Takes the hooks off."""
        self._take_off()

    def sums_and_counts(self, model: nn.Module) -> dict[str, tuple[float, float]]:
        """Sum of the term over the label items since the last log, and their number."""
        total, count = self._totals
        self._totals = (0.0, 0.0)
        count = float(count)
        return {self.scalar_name: (float(total), count)} if count else {}

    def run_beside(self, network: nn.Module, inputs: Mapping[str, Any]) -> Any:
        """What a second network gives for what went into the model in this forward, labels left out."""
        left_out = self._label_names
        writes = (
            getattr(getattr(network, "config", None), "is_encoder_decoder", False) and cast(Any, network).can_generate()
        )
        if writes and not any(inputs.get(name) is not None for name in ("decoder_input_ids", "decoder_inputs_embeds")):
            left_out = left_out - {"labels"}  # of which the decoder's inputs are made
        return network(*self._positional, **{n: v for n, v in inputs.items() if n not in left_out})

    def _before_forward(self, model: nn.Module, args: tuple) -> None:
        # Copies, for a SentenceTransformer writes into the one dict that it reads.
        self._positional = tuple(dict(value) if isinstance(value, dict) else value for value in args)
        if model.training and torch.is_grad_enabled():
            self._maps.open()
        else:  # open still, when a forward was broken off
            self._maps.close()

    def _after_forward(self, model: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
        if not self._maps.is_open:
            return None
        maps = self._maps.close()
        if self._maps.outside_graph and _checkpoints(model):
            raise SettingsError(
                f"{type(self).__name__}: reentrant gradient checkpointing computes {self._maps.outside_graph!r} "
                "without a graph, so the term could not teach the model. Set "
                f"{argument_name('activation_checkpointing_kwargs')}={{'use_reentrant': False}}, or leave it out."
            )
        if self.needs_every_map and (unseen := [name for name in self._maps.names if name not in maps]):
            raise SettingsError(
                f"{type(self).__name__} reads {unseen[0]!r} where the head takes it, and the head did not run in this "
                f"forward of {type(model).__name__}: the Trainer multiplies by its weights itself, as TRL's do for "
                "language models. Use DELTA or L2SP there."
            )
        term = self.term(model, maps, kwargs)
        items, whole = batch_share(kwargs, labels_shift=self._labels_shift)
        total, count = self._totals
        # A new tuple of tensors on their device: nothing waits for it.
        self._totals = (total + term.detach() * items, count + items)
        try:
            share = torch.as_tensor(items, device=term.device).to(term.dtype) / whole
            if kwargs.get("num_items_in_batch") is None and not self.of_all_processes:
                share = share * row_share(args, kwargs)
            return self._graft.onto(output, term, share, loss_of(output))
        except ValueError:
            finding = f"the {type(output).__name__} of {type(model).__name__} has no tensor with a graph"
            way = "Let something that leads to its outputs be trained."
            raise SettingsError(_NOT_LEARNED.format(name=type(self).__name__, finding=finding, way=way)) from None

    def _take_off(self) -> None:
        for handle in vars(self).pop("_handles", ()):
            handle.remove()
        for of_this_run in ("_graft", "_positional"):
            vars(self).pop(of_this_run, None)
        if (maps := vars(self).pop("_maps", None)) is not None:
            maps.remove()


def batch_share(inputs: Mapping[str, Any], *, labels_shift: bool) -> tuple[torch.Tensor | float, torch.Tensor | float]:
    """What part of an optimizer step's batch one forward is, as far as Trainer leaves the weighting to the model.

    Models whose forward takes ``num_items_in_batch`` return the sum over their label items divided by that number, and
    Trainer divides by nothing afterwards: a mean over this forward's rows has to be weighted by (its label items) /
    ``num_items_in_batch``. All other models return a mean, which Trainer divides by the number of accumulation steps.

    Args:
        inputs: Keyword arguments of the forward.
        labels_shift: Whether label i belongs to the prediction at i - 1, so that each row's first is no target.

    Returns:
        Its label items and those of the step: the weight of a mean over this forward is their quotient; 1 and 1 where
        the weighting is Trainer's.
    """
    whole = inputs.get("num_items_in_batch")
    if whole is None or (inputs.get("labels") is None and inputs.get("shift_labels") is None):
        return 1.0, 1.0
    if inputs.get("shift_labels") is not None:
        labels = inputs["shift_labels"]
    else:
        labels = inputs["labels"][..., 1:] if labels_shift else inputs["labels"]
    return labels.ne(-100).sum(), whole


def labels_shift(model: nn.Module) -> bool:
    """Whether the model is a causal language model, whose labels Trainer counts without each row's first."""
    inner, _ = plain_model(model)
    causal = LOSS_MAPPING.get(getattr(inner, "loss_type", None) or "") is ForCausalLMLoss
    return causal and not getattr(getattr(inner, "config", None), "is_encoder_decoder", False)


def label_argument_names(model: nn.Module) -> set[str]:
    """Names of forward's arguments that belong to the loss."""
    inner, _ = plain_model(model)
    return {"labels", "shift_labels", "num_items_in_batch", *find_labels(type(inner))}


def loss_of(output: Any) -> torch.Tensor | None:
    """The loss in a model's output: ``output["loss"]``, or the first of a tuple; None when there is none."""
    if isinstance(output, Mapping):
        loss = output.get("loss")
    else:
        loss = output[0] if isinstance(output, (tuple, list)) and output else None
    is_loss = isinstance(loss, torch.Tensor) and loss.is_floating_point() and loss.numel() == 1
    return loss if is_loss else None


def _backward_scale(trainer: Trainer | None, args: TrainingArguments) -> float:
    """What a mean over a micro-batch is multiplied by in Trainer's backward."""
    if trainer is None:
        return 1 / args.gradient_accumulation_steps
    scaler = getattr(trainer.accelerator, "scaler", None)
    factor = scaler.get_scale() if scaler is not None and scaler.is_enabled() else 1.0
    return factor / trainer.current_gradient_accumulation_steps


def _checkpoints(model: nn.Module) -> bool:
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def check_trainer(name: str, args: TrainingArguments) -> None:
    """Refuses what is known, before training, to lead around the model's hooks.

    Raises:
        SettingsError: With several GPUs in one process, or processes that would each train by itself.
    """
    check_together(args)
    if args.n_gpu > 1:
        raise SettingsError(
            f"{name} cannot follow the copies of the model that DataParallel makes for {args.n_gpu} GPUs in one "
            "process. Start one process a GPU with accelerate launch or torchrun, or show one GPU with "
            "CUDA_VISIBLE_DEVICES=0."
        )
