"""Conditional domain-adversarial training: the domain head sees features together with the class probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from hf_transfer_kit.adaptation.objectives.domain_head import DomainHead, domain_accuracy, domain_loss, told_apart
from hf_transfer_kit.adaptation.objectives.entropy_of_rows import certainty_weights
from hf_transfer_kit.adaptation.objectives.objective import DomainBatch, Objective
from hf_transfer_kit.adaptation.reversal import reverse_gradient
from hf_transfer_kit.options import check_int, check_number, check_widths


def multilinear(features: Tensor, probabilities: Tensor) -> Tensor:
    """All products of a feature and a probability, row by row: f (x) g (Long et al. 2018, equation 4).

    Args:
        features: f, (N, D).
        probabilities: g, (N, C).

    Returns:
        (N, C * D).
    """
    return (probabilities.unsqueeze(2) * features.unsqueeze(1)).flatten(1)


def random_multilinear(features: Tensor, probabilities: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """(R_f f) * (R_g g) / sqrt(M), whose inner products are those of f (x) g on average (equation 6).

    Args:
        features: f, (N, D).
        probabilities: g, (N, C).
        left: R_f, (D, M), entries of mean 0 and variance 1.
        right: R_g, (C, M), likewise.

    Returns:
        (N, M).
    """
    return (features @ left) * (probabilities @ right) / left.shape[1] ** 0.5


class CDAN(Objective):
    """Conditional adversarial adaptation, CDAN or CDAN+E (Long et al. 2018, NeurIPS).

    The probabilities are taken as given: through them no gradient reaches the label head.

    Args:
        width: D, number of features.
        num_labels: C, number of classes.
        entropy: Whether rows are weighted by certainty (CDAN+E, the default) or equally.
        random_width: M, used where D * C is larger: random products instead of all (equation 6); at least 1.
        hidden: Hidden layers of the domain head.
        dropout: In the domain head, in [0, 1).
        weight: Of the domain loss, >= 0.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "cdan"
    summary: ClassVar[str] = "domain head on features times class probabilities"
    weighs_source: ClassVar[bool] = True

    left: Tensor
    right: Tensor

    def __init__(
        self,
        *,
        width: int,
        num_labels: int,
        entropy: bool = True,
        random_width: int = 4096,
        hidden: Sequence[int] = (100,),
        dropout: float = 0.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__(width=width, num_labels=num_labels)
        self.entropy = entropy
        self.weight = check_number(self.name, "weight", weight, low=0)
        dropout = check_number(self.name, "dropout", dropout, low=0, high=0.999)
        products = check_int(self.name, "random_width", random_width, low=1)
        self.random = width * num_labels > products
        if self.random:
            # Kept in checkpoints: the domain head has learnt on these very products.
            self.register_buffer("left", torch.randn(width, products))
            self.register_buffer("right", torch.randn(num_labels, products))
        else:
            products = width * num_labels
        self.domain_head = DomainHead(products, check_widths(self.name, "hidden", hidden), dropout)

    def compute_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``domain_loss``: what the head still gets wrong, log 2 = 0.69 when it knows nothing."""
        logits = self._logits(batch)
        batch.memo["domain_logits"] = [rows.detach() for rows in logits]
        if not self.entropy:
            return {"domain_loss": self.weight * domain_loss(*logits, batch.source_weights)}
        weights = [certainty_weights(_probabilities(rows)) for rows in (batch.source_logits, batch.target_logits)]
        if batch.source_weights is not None:
            weights[0] = weights[0] * batch.source_weights
        return {"domain_loss": self.weight * domain_loss(*logits, *weights)}

    @torch.no_grad()
    def diagnostics(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``domain_accuracy``: in [0, 1], 0.5 when the head knows nothing."""
        return {
            **super().diagnostics(batch),
            "domain_accuracy": domain_accuracy(*batch.memo["domain_logits"]),
        }

    def _logits(self, batch: DomainBatch) -> tuple[Tensor, Tensor]:
        pairs = ((batch.source_features, batch.source_logits), (batch.target_features, batch.target_logits))
        products = [
            self._products(reverse_gradient(rows, batch.strength), _probabilities(logits)) for rows, logits in pairs
        ]
        return told_apart(self.domain_head, *products)

    def _products(self, features: Tensor, probabilities: Tensor) -> Tensor:
        if self.random:
            return random_multilinear(features, probabilities, self.left, self.right)
        return multilinear(features, probabilities)


def _probabilities(logits: Tensor) -> Tensor:
    return logits.detach().softmax(-1)
