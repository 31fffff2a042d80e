"""AdaMatch: sure predictions on target rows as they are teach the strongly changed rows."""

from __future__ import annotations

import math
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hf_transfer_kit.adaptation.objectives.input_perturbation import changed_class_loss, changed_features
from hf_transfer_kit.adaptation.objectives.objective import DomainBatch, Objective
from hf_transfer_kit.adaptation.objectives.strong_view import strong_view
from hf_transfer_kit.options import check_number


def aligned(target: Tensor, source: Tensor) -> Tensor:
    """Target probabilities, their class shares moved to the source's: normalise(q * mean(p) / mean(q)).

    Args:
        target: q, (T, C), rows sum to 1.
        source: p, (S, C), rows sum to 1.

    Returns:
        (T, C), rows sum to 1.
    """
    moved = target * source.mean(0) / target.mean(0).clamp_min(1e-6)
    return moved / moved.sum(-1, keepdim=True)


def relative_threshold(source: Tensor, share: float) -> Tensor:
    """Confidence that a pseudo-label needs: ``share`` times the mean confidence on source rows.

    Args:
        source: Probabilities, (S, C).
        share: tau, in [0, 1].

    Returns:
        One element in [0, 1].
    """
    return share * source.max(-1).values.mean()


def warm_up(progress: Tensor | float) -> Tensor:
    """mu = 1/2 - cos(min(pi, 2 pi p)) / 2: from 0 to 1 in the first half of training, then 1.

    Args:
        progress: p, in [0, 1].
    """
    return 0.5 - torch.cos((2 * math.pi * torch.as_tensor(progress)).clamp(max=math.pi)) / 2


def pseudo_label_loss(strong: Tensor, probabilities: Tensor, threshold: Tensor | float) -> Tensor:
    """Mean over all rows of cross entropy with soft pseudo-labels, rows below the threshold counting 0.

    Args:
        strong: Logits of the changed rows, (T, C).
        probabilities: Pseudo-labels, (T, C), taken as given.
        threshold: Least confidence, in [0, 1].

    Returns:
        One element >= 0.
    """
    sure = probabilities.max(-1).values >= threshold
    return (functional.cross_entropy(strong, probabilities.detach(), reduction="none") * sure).mean()


class AdaMatch(Objective):
    """AdaMatch (Berthelot et al. 2022) without the interpolation of logits.

    Rows as the loader gives them are the weak view; ``strong_view`` makes the other one (in texts only dropout does).
    With ``source_weight=1`` source rows are learnt in both views, as in the paper. The paper evaluates a moving average
    of the weights: add ``MeanTeacher(finish="teacher")`` to the callbacks.

    Args:
        width: D, number of features.
        num_labels: C, number of classes.
        threshold: tau, share of the source's mean confidence that a pseudo-label needs, in [0, 1]; the paper's 0.9.
        align: Whether class shares of pseudo-labels are moved to the source's (distribution alignment).
        amount: Strength of the strong view, >= 0.
        invert: Whether the strong view inverts every second image.
        source_weight: Of the class loss on strongly changed source rows, >= 0; 0 (the default) saves their forward.
        weight: Of the term, >= 0; it grows to its full value in the first half of training.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "adamatch"
    summary: ClassVar[str] = "sure target predictions teach strongly changed target rows"
    usual_teacher: ClassVar[float] = 0.999

    def __init__(
        self,
        *,
        width: int,
        num_labels: int,
        threshold: float = 0.9,
        align: bool = True,
        amount: float = 1.0,
        invert: bool = True,
        source_weight: float = 0.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__(width=width, num_labels=num_labels)
        self.threshold = check_number(self.name, "threshold", threshold, low=0, high=1)
        self.align = align
        self.amount = check_number(self.name, "amount", amount, low=0)
        self.invert = invert
        self.source_weight = check_number(self.name, "source_weight", source_weight, low=0)
        self.weight = check_number(self.name, "weight", weight, low=0)

    def compute_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``pseudo_label_loss``: cross entropy of the strong view with the weak view's aligned predictions;
        ``strong_class_loss`` (where it has a weight): cross entropy of the source's strong view."""
        batch.memo["pseudo_labels"] = probabilities, threshold = self._pseudo_labels(batch)
        view = partial(strong_view, amount=self.amount, invert=self.invert)
        strong = batch.classify(changed_features(batch, self.name, view))
        value = pseudo_label_loss(strong, probabilities, threshold)
        return {
            "pseudo_label_loss": self.weight * warm_up(batch.progress).to(value) * value,
            **changed_class_loss(batch, self.name, view, self.source_weight),
        }

    @torch.no_grad()
    def diagnostics(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``pseudo_labelled``: share of target rows above the threshold, in [0, 1]."""
        probabilities, threshold = batch.memo["pseudo_labels"]
        return {
            **super().diagnostics(batch),
            "pseudo_labelled": (probabilities.max(-1).values >= threshold).float().mean(),
        }

    def _pseudo_labels(self, batch: DomainBatch) -> tuple[Tensor, Tensor]:
        source = batch.source_logits.detach().softmax(-1)
        target = batch.target_logits.detach().softmax(-1)
        return aligned(target, source) if self.align else target, relative_threshold(source, self.threshold)
