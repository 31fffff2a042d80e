"""SHOT: features of the target move to where a frozen label head is sure of them."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from hf_transfer_kit.adaptation.objectives.entropy import conditional_entropy, prediction_diversity
from hf_transfer_kit.adaptation.objectives.input_perturbation import changed_features
from hf_transfer_kit.adaptation.objectives.labelled_rows import labelled_loss
from hf_transfer_kit.adaptation.objectives.objective import DomainBatch
from hf_transfer_kit.adaptation.objectives.source_free import SourceFreeObjective
from hf_transfer_kit.adaptation.objectives.strong_view import strong_view
from hf_transfer_kit.options import check_number


def centroid_labels(features: Tensor, probabilities: Tensor) -> Tensor:
    """Class of each row by the nearest centre, centres of soft predictions first, then of the labels they give.

    c_k = sum_i p_ik f_i / sum_i p_ik; label_i = argmin_k of the cosine distance between f_i and c_k; once more with
    these labels in place of p (Liang et al. 2020, equations 4 to 6). Classes that no row is predicted to be get none.

    Args:
        features: (N, D); a 1 is appended, as the authors do, for a head with a bias.
        probabilities: Predictions, (N, C).

    Returns:
        int64 (N,).
    """
    rows = functional.normalize(torch.cat([features, torch.ones_like(features[:, :1])], dim=1), dim=1)
    named = torch.zeros(probabilities.shape[1], dtype=torch.bool, device=features.device)
    named[probabilities.argmax(dim=1)] = True
    weights, labels = probabilities, probabilities.argmax(dim=1)
    for _ in range(2):
        centres = functional.normalize((weights.T @ rows) / weights.sum(dim=0).clamp_min(1e-8)[:, None], dim=1)
        labels = (rows @ centres.T).masked_fill(~named, -torch.inf).argmax(dim=1)
        weights = functional.one_hot(labels, probabilities.shape[1]).to(rows)
    return labels


class SHOT(SourceFreeObjective):
    """Source hypothesis transfer (Liang et al. 2020, ICML): information maximisation and labels of nearest centres.

    The label head stays as it is. ``PseudoLabels`` writes each row's label from time to time. With ``view`` the row is
    also taught strongly changed, which carries a network further than the paper's method alone where the change of
    domain is one that views can make.

    Args:
        width: D, number of features.
        num_labels: C, number of classes.
        weight: Of information maximisation, >= 0: mean entropy minus the entropy of the mean.
        label_weight: Of the cross entropy with pseudo-labels, >= 0; the paper's 0.3.
        diversity: Of the entropy of the mean, >= 0; 0 where the target lacks classes.
        view: Amount of ``strong_view`` in a second look at the rows, taught with the same labels; 0 leaves it out.
        invert: Whether that view inverts every second image.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "shot"
    summary: ClassVar[str] = "features move to where the frozen label head is sure"

    def __init__(
        self,
        *,
        width: int,
        num_labels: int,
        weight: float = 1.0,
        label_weight: float = 0.3,
        diversity: float = 1.0,
        view: float = 0.0,
        invert: bool = True,
    ) -> None:
        super().__init__(width=width, num_labels=num_labels)
        self.weight = check_number(self.name, "weight", weight, low=0)
        self.label_weight = check_number(self.name, "label_weight", label_weight, low=0)
        self.diversity = check_number(self.name, "diversity", diversity, low=0)
        self.view = check_number(self.name, "view", view, low=0)
        self.invert = invert

    def freeze(self, network: nn.Module, head: nn.Module) -> None:
        """The label head."""
        head.requires_grad_(False)

    def target_labels(self, features: Tensor, probabilities: Tensor) -> Tensor:
        """``centroid_labels``."""
        return centroid_labels(features, probabilities)

    def compute_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``information_loss``, and with labels ``pseudo_label_loss``; with ``view`` the latter of both looks."""
        logits = batch.target_logits
        information = conditional_entropy(logits) - self.diversity * prediction_diversity(logits)
        terms = {"information_loss": self.weight * information}
        if not self.label_weight or self.pseudo_labels is None or batch.row_numbers is None:
            return terms
        labels = self.pseudo_labels[batch.row_numbers]
        loss = labelled_loss(logits, labels)
        if self.view:
            change = partial(strong_view, amount=self.view, invert=self.invert)
            loss = loss + labelled_loss(batch.classify(changed_features(batch, self.name, change)), labels)
        return {**terms, "pseudo_label_loss": self.label_weight * loss}
