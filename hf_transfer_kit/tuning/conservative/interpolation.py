"""The straight path between pretrained and fine-tuned weights, and its best point on the evaluation set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.backbones.shards import local
from hf_transfer_kit.backbones.taken_batches import misfits_told
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.data.collating import on_device
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.options import check_int
from hf_transfer_kit.tuning.calling import calling_trainer
from hf_transfer_kit.tuning.conservative.anchor import (
    Anchor,
    AnchorKeeper,
    Source,
    body_buffers,
    body_parameters,
    stateful_callbacks,
)
from hf_transfer_kit.tuning.conservative.anchor_penalty import learning_names, placed_like
from hf_transfer_kit.tuning.conservative.lora_delta import lora_pairs
from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback
from hf_transfer_kit.tuning.shared_rows import counted_batches, sum_over_processes
from hf_transfer_kit.values.rows import check_map_rows

METRICS = ("accuracy", "loss")


def interpolated(w0: Tensor, w: Tensor, alpha: float) -> Tensor:
    """w0 + alpha (w - w0), with w0 and w themselves at 0 and 1."""
    return torch.lerp(w0, w, alpha)


class WeightInterpolation(NetworkCallback, ExportableState):
    """After training, replaces the body's weights by the best of w0 + alpha (w - w0) on the evaluation set.

    WiSE-FT, Wortsman et al. 2022. Floating buffers (BatchNorm's statistics) go along, the head stays fine-tuned but
    with ``head``, a LoRA adapter's merged delta is scaled. Each point is measured on all evaluation rows, shared by the
    processes, and logged in ``state.log_history`` as ``interpolation/alpha``, ``interpolation/accuracy``,
    ``interpolation/loss``; the chosen one as ``interpolation/best_alpha``. w0 is taken as by ``L2SP``, also after a
    resume.

    Args:
        alphas: Points in [0, 1]; the one nearest 1 wins among equals.
        metric: ``"accuracy"`` (of the logits' largest entry, labels below 0 left out; of the next token where the
            model's loss is that of the next token) or ``"loss"``, which also chooses where there is no accuracy.
        eval_dataset: Rows to measure on, in the form of the training rows. By default the Trainer's
            ``eval_dataset``.
        batch_size: Rows a forward pass; ``args.per_device_eval_batch_size`` by default.
        anchor: Pretrained weights from elsewhere, as in ``L2SP``.
        head: Whether the head goes along too, from its weights when the Trainer is made: for a head that is none of
            chance, such as one of ``class_embeddings``. Not with ``anchor``.

    Raises:
        SettingsError: When an argument is out of range; before training, when there is nothing to evaluate on.

    Example:
        >>> callbacks = [WeightInterpolation([0.0, 0.5, 1.0])]
        >>> trainer = Trainer(model, args, train_dataset=train, eval_dataset=test, callbacks=callbacks)
        >>> _ = trainer.train()
        >>> [entry["interpolation/alpha"] for entry in trainer.state.log_history if "interpolation/alpha" in entry]
        [0.0, 0.5, 1.0]
    """

    reaches_parameters = True

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        alphas: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        metric: str = "accuracy",
        *,
        eval_dataset: Any = None,
        batch_size: int | None = None,
        anchor: Source | None = None,
        head: bool = False,
    ) -> None:
        if head and anchor is not None:
            raise SettingsError("head=True takes the head's start from the model itself; leave anchor away.")
        if not alphas or not all(0 <= alpha <= 1 for alpha in alphas):
            raise SettingsError(f"alphas={list(alphas)} must be one or more points in [0, 1].")
        if metric not in METRICS:
            raise SettingsError(
                f"metric={metric!r} is unknown; choose {' or '.join(METRICS)}.{did_you_mean(metric, METRICS)}"
            )
        self.alphas = alphas
        self.metric = metric
        if eval_dataset is not None:
            check_map_rows(eval_dataset)
            if len(eval_dataset) == 0:
                raise DataError("WeightInterpolation: eval_dataset has no rows to measure on. Give some, or None.")
        self.eval_dataset = eval_dataset
        if batch_size is not None:
            check_int(type(self).__name__, "batch_size", batch_size, low=1)
        self.batch_size = batch_size
        self.anchor = anchor
        self.head = head
        self.fingerprint: str | None = None
        self._keeper = AnchorKeeper(type(self).__name__, anchor, head=head)

    def state(self) -> dict:
        """What a checkpoint keeps: the arguments and the fingerprint of w0."""
        args = {
            "alphas": list(self.alphas),
            "metric": self.metric,
            "batch_size": self.batch_size,
            "anchor": None if self.anchor is None or isinstance(self.anchor, Mapping) else str(self.anchor),
            "head": self.head,
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
        self.fingerprint = self._keeper.at_init(model).fingerprint

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        optimizer: torch.optim.Optimizer = GIVEN,
        train_dataloader: DataLoader = GIVEN,
        eval_dataloader: DataLoader | None = None,
        **kwargs: Any,
    ) -> None:
        self._rows(train_dataloader, eval_dataloader)
        names = learning_names(model, optimizer)
        anchor = self._keeper.at_train_begin(model, state, learning=names, restored=self.fingerprint)
        self.fingerprint = anchor.fingerprint
        lora_pairs(model)  # refuses now what could not be scaled at the end
        if self.eval_dataset is not None:
            measured(model, [self.eval_dataset[0]], train_dataloader.collate_fn, batch_size=1)
        stateful_callbacks(state).setdefault(type(self).__name__, self.state())

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        train_dataloader: DataLoader = GIVEN,
        eval_dataloader: DataLoader | None = None,
        **kwargs: Any,
    ) -> None:
        dataset, collate = self._rows(train_dataloader, eval_dataloader)
        batch_size = self.batch_size or args.per_device_eval_batch_size
        starts, tensors = self._ends(model)
        tuned = [tensor.clone() for tensor in tensors]
        path = []
        for alpha in self.alphas:
            _move(tensors, starts, tuned, alpha)
            path.append(measured(model, dataset, collate, batch_size=batch_size))
            self._log(state, {"alpha": float(alpha), **path[-1]})
        # Numbers, several labels a row or boxes have no accuracy: there the loss chooses.
        metric = "loss" if any(math.isnan(point["accuracy"]) for point in path) else self.metric
        best = best_alpha(self.alphas, [point[metric] for point in path], larger=metric == "accuracy")
        _move(tensors, starts, tuned, best)
        self._log(state, {"best_alpha": float(best)})

    def _rows(self, train_dataloader: DataLoader, eval_dataloader: DataLoader | None) -> tuple[Any, Any]:
        """The rows to measure on, and what makes batches of them."""
        if self.eval_dataset is not None:
            return self.eval_dataset, train_dataloader.collate_fn
        trainer = calling_trainer()
        known = None if trainer is None else trainer.eval_dataset
        if isinstance(known, Mapping):
            raise SettingsError(
                f"WeightInterpolation chooses alpha on one evaluation set, and this Trainer has {len(known)} "
                f"({', '.join(known)}): name the rows with WeightInterpolation(eval_dataset=...)."
            )
        if eval_dataloader is None and known is None:
            raise SettingsError(
                "WeightInterpolation chooses alpha on an evaluation set, and this Trainer has none: give it an "
                "eval_dataset, or pass WeightInterpolation(eval_dataset=...)."
            )
        loader: Any = eval_dataloader if trainer is None or known is None else trainer.get_eval_dataloader()
        return loader.dataset, loader.collate_fn

    def _ends(self, model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        """w0, and the model's own tensors that move along the path."""
        _, prefix = plain_model(model)
        anchor = cast(Anchor, self._keeper.anchor)
        starts, tensors = [], []
        for own, kept in (
            (body_parameters(model, head=self.head), anchor.weights),
            (body_buffers(model), anchor.buffers),
        ):
            for name, tensor in own.items():
                if name.removeprefix(prefix) in kept:
                    starts.append(placed_like(kept[name.removeprefix(prefix)], tensor))
                    tensors.append(local(tensor.detach()))
        for pair in lora_pairs(model):
            starts.append(torch.zeros_like(pair.b.detach()))
            tensors.append(pair.b.detach())
        return starts, tensors

    def _log(self, state: TrainerState, values: Mapping[str, float]) -> None:
        entry = {f"interpolation/{name}": value for name, value in values.items()}
        state.log_history.append({**entry, "epoch": state.epoch, "step": state.global_step})


def best_alpha(alphas: Sequence[float], scores: Sequence[float], *, larger: bool) -> float:
    """The alpha of the best score, the one nearest 1 among equals; scores that are no number lose."""
    points = [(score if larger else -score, alpha) for alpha, score in zip(alphas, scores, strict=True)]
    return max([point for point in points if not math.isnan(point[0])] or [(0.0, max(alphas))])[1]


@torch.no_grad()
def measured(model: nn.Module, dataset: Any, collate: Any, *, batch_size: int) -> dict[str, float]:
    """Mean loss over rows and accuracy over labels, over all processes; NaN for what the model does not give."""
    device = next(model.parameters()).device
    # loss, rows; right, labels and batches whose loss is another one, read in place and shifted by one
    sums = torch.zeros(8, dtype=torch.float64, device=device)
    with seeded_eval_mode(model, 0):
        for batch, is_new in counted_batches(model, dataset, collate, batch_size=batch_size):
            inputs = on_device(batch, device)
            try:
                with misfits_told(model, inputs):
                    outputs = model(**inputs)
                loss = outputs.get("loss")
            except (DataError, AttributeError) as error:
                if not isinstance(error.__cause__ or error, TypeError | AttributeError):
                    raise
                raise SettingsError(
                    f"WeightInterpolation measures loss and accuracy by model(**batch), which {type(model).__name__} "
                    f"does not answer with a mapping ({error}). Interpolate between saved weights by your own measure."
                ) from error
            if not is_new:
                continue
            rows = len(next(value for value in inputs.values() if isinstance(value, Tensor)))
            if loss is not None:
                sums[:2] += torch.stack([loss.double().mean() * rows, sums.new_tensor(rows)])
            logits, labels = outputs.get("logits"), inputs.get("labels")
            if isinstance(logits, Tensor) and isinstance(labels, Tensor) and _names_classes(logits, labels):
                sums[2:5] += _counts(logits, labels, loss)
                if labels.dim() > 1:
                    sums[5:] += _counts(logits[:, :-1], labels[:, 1:], loss)
    loss, rows, *counts = sum_over_processes(sums).tolist()
    in_place, shifted = counts[:3], counts[3:]
    # Where the loss is of neither pairing (weighted, with auxiliary terms), the class says which one it is about.
    is_causal = any(word in type(plain_model(model)[0]).__name__ for word in ("CausalLM", "LMHead"))
    is_shifted = shifted[1] and in_place[2] and (not shifted[2] or is_causal)
    right, counted, _ = shifted if is_shifted else in_place
    accuracy = right / counted if counted else math.nan
    return {"loss": loss / rows if rows else math.nan, "accuracy": accuracy}


def _names_classes(logits: Tensor, labels: Tensor) -> bool:
    """Whether each label is one of several classes that the last axis of the logits scores."""
    return not labels.is_floating_point() and labels.shape == logits.shape[:-1] and logits.shape[-1] > 1


def _counts(logits: Tensor, labels: Tensor, loss: Tensor | None) -> Tensor:
    """Right ones, labels, and 1 where the model's loss over tokens is not the cross entropy of these pairs."""
    counted = labels >= 0
    right = (logits.argmax(-1) == labels) & counted
    other = counted.new_zeros(())
    if labels.dim() > 1 and loss is not None and counted.any():
        own = nn.functional.cross_entropy(logits[counted].float(), labels[counted])
        other = ~torch.isclose(own, loss.float().mean(), rtol=1e-2, atol=1e-4)
    return torch.stack([right.sum(), counted.sum(), other]).double()


def _move(tensors: Sequence[Tensor], starts: Sequence[Tensor], ends: Sequence[Tensor], alpha: float) -> None:
    for tensor, start, end in zip(tensors, starts, ends, strict=True):
        tensor.copy_(interpolated(start, end, alpha))
