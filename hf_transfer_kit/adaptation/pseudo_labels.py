"""Labels that a network gives the target's rows itself, anew from time to time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hf_transfer_kit.adaptation.domain_pairs import unlabelled_batch
from hf_transfer_kit.adaptation.modeling import DomainAdversarialModel
from hf_transfer_kit.adaptation.objectives.shot import centroid_labels
from hf_transfer_kit.adaptation.refreshed_buffer import RefreshedBuffer
from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.data.collating import on_device
from hf_transfer_kit.data.labels import LABEL_COLUMNS
from hf_transfer_kit.options import check_int
from hf_transfer_kit.tuning.all_rows import Part
from hf_transfer_kit.values import MapRows

Rows = MapRows
Collator = Callable[[list[Any]], Mapping[str, Any]]


@torch.no_grad()
def target_outputs(
    model: DomainAdversarialModel, target: Rows, collator: Collator, *, batch_size: int = 256, together: bool = False
) -> tuple[Tensor, Tensor]:
    """Logits (N, C) and features (N, D) of target rows, float32 on the CPU, as in evaluation; labels are not read.

    Args:
        model: Which reads them.
        target: Map-style rows.
        collator: Rows -> batch.
        batch_size: Rows a forward.
        together: Whether all processes call it, so that each reads a part; all get everything.

    Example:
        >>> adapted = DomainAdversarialModel.from_classifier(model, method="tent")
        >>> logits, features = target_outputs(adapted, target, collator)
        >>> logits.shape, features.shape
        (torch.Size([8, 3]), torch.Size([8, 16]))
    """
    labels = [name for name in target[0] if name in LABEL_COLUMNS]
    device = next(model.parameters()).device
    part = Part(len(target), together=together)
    found: list[tuple[Tensor, Tensor]] = []
    with seeded_eval_mode(model, seed=0):
        for places in part.batches(batch_size):
            batch = unlabelled_batch(collator, [target[row] for row in places], labels=labels)
            found.append(model.read(on_device(batch, device), domain="target"))
    logits, features = (part.whole(torch.cat(tensors).float()).cpu() for tensors in zip(*found, strict=True))
    return logits, features


class PseudoLabels(RefreshedBuffer):
    """Gives every target row the class of the nearest centre (``centroid_labels``) before training and every so often.

    Checkpoints hold the labels as ``pseudo_labels.safetensors``; a resumed run goes on with them.

    Args:
        target: The rows that are trained on, in the order of their numbers.
        collator: Rows -> batch.
        every: Steps between two labellings, at least 1; None: each epoch.
        batch_size: Rows a forward.

    Example:
        >>> rows = TargetRows(target)
        >>> adapted = DomainAdversarialModel.from_classifier(model, method="shot")
        >>> callbacks = [AdversarialSchedule("constant"), PseudoLabels(target, collator)]
        >>> trainer = Trainer(
        ...     adapted, args, train_dataset=rows, data_collator=DomainCollator(collator), callbacks=callbacks
        ... )
        >>> _ = trainer.train()
    """

    file: ClassVar[str] = "pseudo_labels.safetensors"

    @checked_arguments(own_words_first=True)
    def __init__(self, target: Rows, collator: Collator, *, every: int | None = None, batch_size: int = 256) -> None:
        super().__init__(every)
        self.target = target
        self.collator = collator
        self.batch_size = check_int("PseudoLabels", "batch_size", batch_size, low=1)

    def place(self, model: DomainAdversarialModel) -> tuple[nn.Module, str]:
        """``pseudo_labels`` of the objective."""
        return model.objective, "pseudo_labels"

    def value(self, model: DomainAdversarialModel) -> Tensor:
        """The class of each row, int64 (N,)."""
        logits, features = target_outputs(model, self.target, self.collator, batch_size=self.batch_size, together=True)
        return centroid_labels(features, logits.softmax(dim=1))
