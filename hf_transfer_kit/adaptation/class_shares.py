"""Classes that the target lacks are not aligned to it: source rows count by how often it shows their class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import broadcast
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback

from hf_transfer_kit.adaptation.beside_checkpoints import to_read, to_write
from hf_transfer_kit.adaptation.domain_pairs import evenly_spread
from hf_transfer_kit.adaptation.pseudo_labels import target_outputs
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.options import whole

FILE = "target_shares.safetensors"
Rows = Sequence[Mapping[str, Any]]


def share_weights(probabilities: Tensor, source_classes: Tensor) -> Tensor:
    """Weight of each class's source rows: its mean probability on target rows over its share of the source.

    After Cao et al. 2018 (ECCV, "Partial adversarial domain adaptation"), where the weights are the mean probabilities
    alone; divided by the source's shares they are importance weights, a mean of 1 over the source's rows.

    Args:
        probabilities: Predictions for target rows, (T, C).
        source_classes: Class of each source row, int64 (S,).

    Returns:
        (C,), 0 for a class without source rows.
    """
    shares = torch.bincount(source_classes, minlength=probabilities.shape[1]).to(probabilities) / len(source_classes)
    expected = probabilities.mean(dim=0) * (shares > 0)
    weights = torch.where(shares > 0, expected / shares.clamp_min(1e-12), 0.0)
    return weights / (weights * shares).sum().clamp_min(1e-12)


class TargetShares(TrainerCallback):
    """Writes how much each class's source rows count into the model, before training and after every epoch.

    Objectives with a domain head (``dann``, ``cdan``, ``vada``) and the cross entropy of the source weigh rows by it.
    Checkpoints hold the weights as ``target_shares.safetensors``.

    Args:
        source_classes: Class of each source row that is trained on.
        target: Target rows; labels in them are not read.
        collator: Rows -> batch.
        every: Steps between two estimates; None: each epoch.
        rows: Target rows that an estimate looks at, at most.
    """

    def __init__(
        self,
        source_classes: Sequence[int],
        target: Rows,
        collator: Callable[[list[Mapping[str, Any]]], Mapping[str, Any]],
        *,
        every: int | None = None,
        rows: int = 2000,
    ) -> None:
        self.source_classes = torch.as_tensor(source_classes)
        self.target = target
        self.collator = collator
        self.every = None if every is None else whole("TargetShares", "every", every, low=1)
        self.rows = whole("TargetShares", "rows", rows, low=1)

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        if not state.global_step:
            self._estimate(model)
            return
        inner, _ = plain_model(model)
        inner.source_weights = load_file(to_read(args, state, FILE, "TargetShares"))["weights"].to(inner.device)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if self.every is not None and state.global_step % self.every == 0:
            self._estimate(model)

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        if self.every is None and state.global_step < state.max_steps:
            self._estimate(model)

    def on_save(self, args, state, control, model=None, **kwargs):
        if state.is_world_process_zero:
            weights = plain_model(model)[0].source_weights
            save_file({"weights": weights.cpu().contiguous()}, to_write(args, state, FILE))

    def _estimate(self, model: nn.Module) -> None:
        inner, _ = plain_model(model)
        chosen = [self.target[row] for row in evenly_spread(len(self.target), self.rows)]
        logits, _ = target_outputs(inner, chosen, self.collator)
        weights = share_weights(logits.softmax(dim=1), self.source_classes)
        inner.source_weights = broadcast(weights.to(inner.device))  # rounding may differ between processes
