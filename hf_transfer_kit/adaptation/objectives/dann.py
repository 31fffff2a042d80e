"""Domain-adversarial training: features from which no head can tell the domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from hf_transfer_kit.adaptation.objectives.domain_head import DomainHead, domain_accuracy, domain_loss, told_apart
from hf_transfer_kit.adaptation.objectives.objective import DomainBatch, Objective
from hf_transfer_kit.adaptation.reversal import reverse_gradient
from hf_transfer_kit.options import check_number, check_widths


class DANN(Objective):
    """Domain head behind a gradient reversal (Ganin et al. 2016, JMLR 17:59).

    The head learns at full strength; the features receive minus lambda times its gradient.

    Args:
        width: D, number of features.
        num_labels: C, number of classes.
        hidden: Hidden layers of the domain head: the paper's (100,) for small networks, (1024, 1024) for large ones.
        dropout: In the domain head, in [0, 1).
        weight: Of the domain loss, >= 0.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "dann"
    summary: ClassVar[str] = "domain head behind a gradient reversal"
    weighs_source: ClassVar[bool] = True

    def __init__(
        self,
        *,
        width: int,
        num_labels: int,
        hidden: Sequence[int] = (100,),
        dropout: float = 0.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__(width=width, num_labels=num_labels)
        self.weight = check_number(self.name, "weight", weight, low=0)
        dropout = check_number(self.name, "dropout", dropout, low=0, high=0.999)
        self.domain_head = DomainHead(width, check_widths(self.name, "hidden", hidden), dropout)

    def compute_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``domain_loss``: what the head still gets wrong, log 2 = 0.69 when it knows nothing."""
        features = (batch.source_features, batch.target_features)
        logits = told_apart(self.domain_head, *(reverse_gradient(rows, batch.strength) for rows in features))
        batch.memo["domain_logits"] = [rows.detach() for rows in logits]
        return {"domain_loss": self.weight * domain_loss(*logits, batch.source_weights)}

    @torch.no_grad()
    def diagnostics(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``domain_accuracy``: in [0, 1], 0.5 when the head knows nothing."""
        return {
            **super().diagnostics(batch),
            "domain_accuracy": domain_accuracy(*batch.memo["domain_logits"]),
        }
