"""Clusters: labels that target rows get where centres and neighbours agree, beside minimum class confusion."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hf_transfer_kit.adaptation.objectives.adamatch import warm_up
from hf_transfer_kit.adaptation.objectives.labelled_rows import labelled_loss
from hf_transfer_kit.adaptation.objectives.mcc import class_confusion
from hf_transfer_kit.adaptation.objectives.objective import DomainBatch, Objective
from hf_transfer_kit.adaptation.objectives.shot import centroid_labels
from hf_transfer_kit.data.labels import NO_LABEL
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features.row_blocks import check_held
from hf_transfer_kit.options import check_number

_TABLES = 4
"""Numbers that are held for each pair of rows."""


def spread(features: Tensor, probabilities: Tensor, *, neighbours: int = 10, reach: float = 0.9) -> Tensor:
    """Predictions that rows share with their neighbours: (I - reach S)^-1 P (Zhou et al. 2004).

    S = D^-1/2 (A + A^T) D^-1/2, a_ij = max(cos(f_i, f_j), 0)^3 for the nearest neighbours j of i, else 0 (Iscen et al.
    2019), D the sums of its rows.

    Args:
        features: (N, D); a table of all pairs of rows is held.
        probabilities: P, (N, C).
        neighbours: Of each row, at least 1; all where there are fewer.
        reach: How much comes from further away, in [0, 1).

    Returns:
        (N, C), float64, not normalised.

    Raises:
        SettingsError: When ``memory_limit`` is too little for the table.
    """
    check_held(8 * _TABLES * len(features) ** 2, f"a table of {len(features)} x {len(features)} rows")
    rows = functional.normalize(features.double(), dim=1)
    near = (rows @ rows.T).fill_diagonal_(0)  # (N, N)
    values, places = near.topk(min(neighbours, len(rows)), dim=1)
    graph = torch.zeros_like(near).scatter_(1, places, values.clamp_min(0) ** 3)
    graph = graph + graph.T
    scale = graph.sum(1).clamp_min(1e-12).rsqrt()
    system = torch.eye(len(rows)).to(graph) - reach * scale[:, None] * graph * scale
    return torch.linalg.solve(system, probabilities.double())


def cluster_labels(features: Tensor, probabilities: Tensor) -> Tensor:
    """Class of each row that its nearest centre, its neighbours and the centres of these name alike, else ``NO_LABEL``.

    1. Centres: ``centroid_labels`` of the predictions; s_k is the share of rows that get class k.
    2. Neighbours: the largest of q_ik, proportional to z_ik s_k / sum_i z_ik, z of ``spread`` (class mass
       normalisation, Zhu et al. 2003, with the shares of step 1 instead of the source's).
    3. Centres of these: ``centroid_labels`` of q.

    Args:
        features: (N, D).
        probabilities: Predictions, (N, C).

    Returns:
        int64 (N,).
    """
    features, probabilities = features.double(), probabilities.double()
    nearest = centroid_labels(features, probabilities)
    masses = spread(features, probabilities)
    masses = masses * torch.bincount(nearest, minlength=masses.shape[1]) / masses.sum(0).clamp_min(1e-12)
    masses = masses / masses.sum(1, keepdim=True).clamp_min(1e-12)
    clusters = centroid_labels(features, masses)
    return torch.where((clusters == nearest) & (clusters == masses.argmax(1)), clusters, NO_LABEL)


class Clusters(Objective):
    """Labels from clusters of the target's features, and minimum class confusion (``mcc``).

    A pretrained network often holds a target's classes as clusters before a head can name them. ``PseudoLabels`` gives
    target rows the labels that centres and neighbours agree on (``cluster_labels``, after Liang et al. 2020 and Iscen
    et al. 2019), anew from time to time; at full weight they teach from the middle of training on. Begin with a head
    that is solved on the source's features (``solve_head``): the first labels are made with it. Pairs must tell the
    number of their target row: ``DomainPairs(source, target, numbered=True)``.

    Args:
        width: D, number of features.
        num_labels: C, number of classes.
        weight: Of the cross entropy with these labels, >= 0.
        confusion: Weight of the class confusion, >= 0.
        temperature: Of the class confusion, above 0.

    Attributes:
        pseudo_labels: Class of each target row by its number, int64 (N,), ``NO_LABEL`` for none; ``PseudoLabels``
            writes it.

    Raises:
        SettingsError: When an option is out of range; at the first step when nobody gives labels.
    """

    name: ClassVar[str] = "clusters"
    summary: ClassVar[str] = "labels on which centres and neighbours of target rows agree"
    usual_view: ClassVar[float] = 1.0
    usual_head: ClassVar[str] = "probe"
    usual_teacher: ClassVar[float] = 0.95

    pseudo_labels: Tensor | None

    def __init__(
        self, *, width: int, num_labels: int, weight: float = 1.0, confusion: float = 1.0, temperature: float = 2.5
    ) -> None:
        super().__init__(width=width, num_labels=num_labels)
        self.weight = check_number(self.name, "weight", weight, low=0)
        self.confusion = check_number(self.name, "confusion", confusion, low=0)
        self.temperature = check_number(self.name, "temperature", temperature, low=0, above=True)
        self.register_buffer("pseudo_labels", None, persistent=False)

    def target_labels(self, features: Tensor, probabilities: Tensor) -> Tensor:
        """``cluster_labels``."""
        return cluster_labels(features, probabilities)

    def compute_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``pseudo_label_loss``: cross entropy of target rows with their labels; ``confusion_loss``."""
        value = labelled_loss(batch.target_logits, self._labels(batch))
        return {
            "pseudo_label_loss": self.weight * warm_up(batch.progress).to(value) * value,
            "confusion_loss": self.confusion * class_confusion(batch.target_logits, self.temperature),
        }

    @torch.no_grad()
    def diagnostics(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``pseudo_labelled``: share of target rows that have a label, in [0, 1]."""
        return {**super().diagnostics(batch), "pseudo_labelled": (self._labels(batch) != NO_LABEL).float().mean()}

    def _labels(self, batch: DomainBatch) -> Tensor:
        if self.pseudo_labels is None or batch.row_numbers is None:
            raise SettingsError(
                "clusters has no labels for this step's target rows: add PseudoLabels(target, collator) to the "
                "callbacks of Trainer, and train on DomainPairs(source, target, numbered=True)."
            )
        return self.pseudo_labels[batch.row_numbers]
