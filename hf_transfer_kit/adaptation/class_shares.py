"""Classes that the target lacks are not aligned to it: source rows count by how often it shows their class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from hf_transfer_kit.adaptation.modeling import DomainAdversarialModel
from hf_transfer_kit.adaptation.pseudo_labels import target_outputs
from hf_transfer_kit.adaptation.refreshed_buffer import RefreshedBuffer
from hf_transfer_kit.options import check_int
from hf_transfer_kit.values import MapRows
from hf_transfer_kit.values.rows import evenly_spread

Rows = MapRows


def share_weights(probabilities: Tensor, source_classes: Tensor) -> Tensor:
    """Weight of each class's source rows: its mean probability on target rows over its share of the source.

    After Cao et al. 2018 (ECCV, "Partial adversarial domain adaptation"), where the weights are the mean probabilities
    alone; divided by the source's shares they are importance weights, a mean of 1 over the source's rows. Estimates
    that go further than the mean (expectation maximisation) feed on their own errors when a network that is trained
    with them makes the next: measured on digits, they ended with no weight on the right classes.

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


class TargetShares(RefreshedBuffer):
    """Writes how much each class's source rows count into the model, before training and after every epoch.

    Objectives with a domain head (``dann``, ``cdan``, ``vada``) and the cross entropy of the source weigh rows by it.
    Checkpoints hold the weights as ``target_shares.safetensors``.

    Args:
        source_classes: Class of each source row that is trained on.
        target: Target rows; labels in them are not read.
        collator: Rows -> batch.
        every: Steps between two estimates; None: each epoch.
        max_rows: Target rows that an estimate looks at, at most.

    Example:
        >>> pairs = DomainPairs(train, target)
        >>> adapted = DomainAdversarialModel.from_classifier(model, method="dann")
        >>> callbacks = [AdversarialSchedule(), TargetShares([row["labels"] for row in train], target, collator)]
        >>> trainer = Trainer(
        ...     adapted, args, train_dataset=pairs, data_collator=DomainCollator(collator), callbacks=callbacks
        ... )
        >>> _ = trainer.train()
        >>> adapted.source_weights.shape
        torch.Size([3])
    """

    file: ClassVar[str] = "target_shares.safetensors"

    def __init__(
        self,
        source_classes: Sequence[int] | np.ndarray,
        target: Rows,
        collator: Callable[[list[Mapping[str, Any]]], Mapping[str, Any]],
        *,
        every: int | None = None,
        max_rows: int = 2000,
    ) -> None:
        super().__init__(every)
        self.source_classes = torch.as_tensor(source_classes)
        self.target = target
        self.collator = collator
        self.max_rows = check_int("TargetShares", "max_rows", max_rows, low=1)

    def place(self, model: DomainAdversarialModel) -> tuple[nn.Module, str]:
        """``source_weights`` of the model."""
        return model, "source_weights"

    def value(self, model: DomainAdversarialModel) -> Tensor:
        """``share_weights`` of what the model says now."""
        chosen = [self.target[row] for row in evenly_spread(len(self.target), self.max_rows)]
        logits, _ = target_outputs(model, chosen, self.collator, together=True)
        return share_weights(logits.softmax(dim=1), self.source_classes)
