"""Labels that a network gives the target's rows itself, anew from time to time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import broadcast
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback

from hf_transfer_kit.adaptation.beside_checkpoints import to_read, to_write
from hf_transfer_kit.adaptation.domain_pairs import unlabelled_batch
from hf_transfer_kit.adaptation.modeling import DomainAdversarialModel
from hf_transfer_kit.adaptation.objectives.shot import centroid_labels
from hf_transfer_kit.backbones.undisturbed import undisturbed
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.data.collating import on_device
from hf_transfer_kit.data.labels import LABEL_COLUMNS
from hf_transfer_kit.options import whole

FILE = "pseudo_labels.safetensors"

Rows = Sequence[Mapping[str, Any]]
Collator = Callable[[list[Mapping[str, Any]]], Mapping[str, Any]]


@torch.no_grad()
def target_outputs(
    model: DomainAdversarialModel, target: Rows, collator: Collator, *, batch_size: int = 256
) -> tuple[Tensor, Tensor]:
    """Logits (N, C) and features (N, D) of target rows, float32 on the CPU, as in evaluation; labels are not read."""
    labels = [name for name in target[0] if name in LABEL_COLUMNS]
    device = next(model.parameters()).device
    found: list[tuple[Tensor, Tensor]] = []
    with undisturbed(model, seed=0):
        for start in range(0, len(target), batch_size):
            rows = [target[row] for row in range(start, min(start + batch_size, len(target)))]
            batch = unlabelled_batch(collator, rows, labels=labels)
            found.append(tuple(v.float().cpu() for v in model.read(on_device(batch, device), domain="target")))
    logits, features = zip(*found, strict=True)
    return torch.cat(logits), torch.cat(features)


class PseudoLabels(TrainerCallback):
    """Gives every target row the class of the nearest centre (``centroid_labels``) before training and every so often.

    Checkpoints hold the labels as ``pseudo_labels.safetensors``; a resumed run goes on with them.

    Args:
        target: The rows that are trained on, in the order of their numbers.
        collator: Rows -> batch.
        every: Steps between two labellings, at least 1; None: each epoch.
        batch_size: Rows a forward.
    """

    def __init__(self, target: Rows, collator: Collator, *, every: int | None = None, batch_size: int = 256) -> None:
        self.target = target
        self.collator = collator
        self.every = None if every is None else whole("PseudoLabels", "every", every, low=1)
        self.batch_size = whole("PseudoLabels", "batch_size", batch_size, low=1)

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        if not state.global_step:
            self._label(model)
            return
        inner, _ = plain_model(model)
        labels = load_file(to_read(args, state, FILE, "PseudoLabels"))["labels"]
        inner.objective.pseudo_labels = labels.to(inner.device)

    def on_save(self, args, state, control, model=None, **kwargs):
        if state.is_world_process_zero:
            labels = plain_model(model)[0].objective.pseudo_labels
            save_file({"labels": labels.cpu()}, to_write(args, state, FILE))

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        if self.every is None and state.global_step < state.max_steps:
            self._label(model)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if self.every is not None and state.global_step % self.every == 0:
            self._label(model)

    def _label(self, model: nn.Module) -> None:
        inner, _ = plain_model(model)
        logits, features = target_outputs(inner, self.target, self.collator, batch_size=self.batch_size)
        labels = centroid_labels(features, logits.softmax(dim=1)).to(inner.device)
        # Every process must teach the same, though rounding may differ.
        inner.objective.pseudo_labels = broadcast(labels)
