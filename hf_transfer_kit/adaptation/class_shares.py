"""Classes that the target lacks are not aligned to it: source rows count by how often it shows their class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hf_transfer_kit.adaptation.domain_pairs import evenly_spread
from hf_transfer_kit.adaptation.modeling import DomainAdversarialModel
from hf_transfer_kit.adaptation.pseudo_labels import target_outputs
from hf_transfer_kit.adaptation.refreshed_buffer import RefreshedBuffer
from hf_transfer_kit.options import chosen, whole

Rows = Sequence[Mapping[str, Any]]

SHARES = ("mean", "em")
"""How the shares of the target's classes are estimated: ``share_weights``."""


def expected_shares(
    probabilities: Tensor, source_shares: Tensor, *, rounds: int = 200, tolerance: float = 1e-5
) -> Tensor:
    """Shares of the target's classes that make its rows likeliest, by expectation maximisation.

    Saerens et al. 2002 (Neural Computation 14:21): predictions are reweighted by the ratio of the shares, and their
    mean is the next estimate. Right where classes look alike in both domains and predictions are calibrated; a network
    that is often wrong on the target misleads it more than it does the mean.

    Args:
        probabilities: Predictions for target rows, (T, C).
        source_shares: Of the classes among the rows that the network learned from, (C,).
        rounds: At most so many.
        tolerance: It ends when no share changes by more.

    Returns:
        (C,), 0 for a class without source rows.
    """
    rows = probabilities.double()
    shares = source_shares.double()
    found = shares
    for _ in range(rounds):
        reweighted = rows * torch.where(shares > 0, found / shares.clamp_min(1e-12), 0.0)
        now = (reweighted / reweighted.sum(dim=1, keepdim=True).clamp_min(1e-300)).mean(dim=0)
        change, found = (now - found).abs().max(), now
        if change < tolerance:
            break
    return found.to(probabilities)


def share_weights(probabilities: Tensor, source_classes: Tensor, by: str = "mean") -> Tensor:
    """Weight of each class's source rows: its estimated share of the target over its share of the source.

    After Cao et al. 2018 (ECCV, "Partial adversarial domain adaptation"), where the weights are the mean probabilities
    alone; divided by the source's shares they are importance weights, a mean of 1 over the source's rows.

    Args:
        probabilities: Predictions for target rows, (T, C).
        source_classes: Class of each source row, int64 (S,).
        by: ``"mean"``: the mean probability is the share; ``"em"``: ``expected_shares``.

    Returns:
        (C,), 0 for a class without source rows.

    Raises:
        SettingsError: When ``by`` is neither.
    """
    chosen("share_weights", "by", by, SHARES)
    shares = torch.bincount(source_classes, minlength=probabilities.shape[1]).to(probabilities) / len(source_classes)
    found = expected_shares(probabilities, shares) if by == "em" else probabilities.mean(dim=0)
    expected = found * (shares > 0)
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
        by: As for ``share_weights``.
        every: Steps between two estimates; None: each epoch.
        rows: Target rows that an estimate looks at, at most.
    """

    file: ClassVar[str] = "target_shares.safetensors"

    def __init__(
        self,
        source_classes: Sequence[int],
        target: Rows,
        collator: Callable[[list[Mapping[str, Any]]], Mapping[str, Any]],
        *,
        by: str = "mean",
        every: int | None = None,
        rows: int = 2000,
    ) -> None:
        super().__init__(every)
        self.by = chosen("TargetShares", "by", by, SHARES)
        self.source_classes = torch.as_tensor(source_classes)
        self.target = target
        self.collator = collator
        self.rows = whole("TargetShares", "rows", rows, low=1)

    def place(self, model: DomainAdversarialModel) -> tuple[nn.Module, str]:
        """``source_weights`` of the model."""
        return model, "source_weights"

    def value(self, model: DomainAdversarialModel) -> Tensor:
        """``share_weights`` of what the model says now."""
        looked_at = [self.target[row] for row in evenly_spread(len(self.target), self.rows)]
        logits, _ = target_outputs(model, looked_at, self.collator)
        return share_weights(logits.softmax(dim=1), self.source_classes, self.by)
