"""Self-training: a moving average of the network teaches it the target."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hf_transfer_kit.adaptation.objectives.entropy import prediction_diversity
from hf_transfer_kit.adaptation.objectives.input_perturbation import changed_class_loss, changed_features
from hf_transfer_kit.adaptation.objectives.objective import DomainBatch, Objective
from hf_transfer_kit.adaptation.objectives.strong_view import strong_view
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.options import check_number


def taught(student: Tensor, teacher: Tensor, threshold: float) -> Tensor:
    """Mean over all rows of cross entropy with the teacher's class, rows it is unsure of counting 0.

    Args:
        student: Logits, (T, C).
        teacher: Logits, (T, C), taken as given.
        threshold: Least probability of the teacher's class, in [0, 1].

    Returns:
        One element >= 0.
    """
    confidence, classes = teacher.detach().softmax(-1).max(-1)
    return (functional.cross_entropy(student, classes, reduction="none") * (confidence >= threshold)).mean()


class SelfTraining(Objective):
    """Mean teacher with a confidence threshold (French et al. 2018; Tarvainen and Valpola 2017).

    The callback ``MeanTeacher`` keeps the teacher and runs it on target rows as they are; the student sees them
    changed by ``strong_view`` (texts: by dropout alone). Started from an adapted network with a small rate and
    ``diversity=0`` it is a refinement stage in the spirit of DIRT-T.

    Args:
        width: D, number of features.
        num_labels: C, number of classes.
        threshold: Least confidence of the teacher, in [0, 1]; 0.9 by default.
        amount: Strength of the strong view, >= 0.
        invert: Whether the strong view inverts every second image.
        source_weight: Of the class loss on strongly changed source rows, >= 0; 0 (the default) saves their forward.
        weight: Of the term, >= 0.
        diversity: Weight of the entropy of the mean prediction, >= 0, against one class that takes all (the class
            balance of French et al.).

    Raises:
        SettingsError: When an option is out of range; at the first step when nobody teaches.
    """

    name: ClassVar[str] = "self_training"
    summary: ClassVar[str] = "a moving average of the network teaches it the target"
    usual_teacher: ClassVar[float] = 0.999

    needs_source: ClassVar[bool] = False

    teacher_logits: Tensor | None = None
    """What the teacher says of the step's target rows, (T, C); ``MeanTeacher`` writes it before each forward."""

    def __init__(
        self,
        *,
        width: int,
        num_labels: int,
        threshold: float = 0.9,
        amount: float = 1.0,
        invert: bool = True,
        source_weight: float = 0.0,
        weight: float = 1.0,
        diversity: float = 0.1,
    ) -> None:
        super().__init__(width=width, num_labels=num_labels)
        self.threshold = check_number(self.name, "threshold", threshold, low=0, high=1)
        self.amount = check_number(self.name, "amount", amount, low=0)
        self.invert = invert
        self.source_weight = check_number(self.name, "source_weight", source_weight, low=0)
        self.weight = check_number(self.name, "weight", weight, low=0)
        self.diversity = check_number(self.name, "diversity", diversity, low=0)

    def compute_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``taught_loss``: cross entropy with the teacher; ``diversity_loss``: minus the entropy of the mean; and, of
        source rows and where it has a weight, ``strong_class_loss``."""
        teacher = self._teacher(batch)
        view = partial(strong_view, amount=self.amount, invert=self.invert)
        student = batch.classify(changed_features(batch, self.name, view))
        return {
            "taught_loss": self.weight * taught(student, teacher, self.threshold),
            "diversity_loss": -self.diversity * prediction_diversity(student),
            **changed_class_loss(batch, self.name, view, self.source_weight),
        }

    @torch.no_grad()
    def diagnostics(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``pseudo_labelled``: share of target rows that the teacher is sure of, in [0, 1]."""
        confidence = self._teacher(batch).softmax(-1).max(-1).values
        watched = super().diagnostics(batch) if len(batch.source_logits) else {}
        return {**watched, "pseudo_labelled": (confidence >= self.threshold).float().mean()}

    def _teacher(self, batch: DomainBatch) -> Tensor:
        if self.teacher_logits is None or len(self.teacher_logits) != len(batch.target_logits):
            raise SettingsError(
                "self_training has no teacher for this step: add hf_transfer_kit.adaptation.MeanTeacher() to the "
                "callbacks of Trainer."
            )
        return self.teacher_logits
