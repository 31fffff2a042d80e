"""Methods that need no source rows: what they share."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from hf_transfer_kit.adaptation.objectives.entropy_of_rows import row_entropy
from hf_transfer_kit.adaptation.objectives.objective import DomainBatch, Objective


class SourceFreeObjective(Objective):
    """A method for a trained network and unlabelled target rows alone (``TargetRows``).

    Attributes:
        pseudo_labels: Class of each target row by its number, int64 (N,), or None; ``PseudoLabels`` writes it.
    """

    needs_source: ClassVar[bool] = False

    pseudo_labels: Tensor | None

    def __init__(self, *, width: int, num_labels: int) -> None:
        super().__init__(width=width, num_labels=num_labels)
        self.register_buffer("pseudo_labels", None, persistent=False)

    def freeze(self, network: nn.Module, head: nn.Module) -> None:
        """Freezes what the method does not train; nothing is unfrozen.

        Args:
            network: The classifier.
            head: Its label head.
        """

    @torch.no_grad()
    def diagnostics(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``target_entropy`` and ``target_diversity``, both over log C, in [0, 1]."""
        target = batch.target_logits.softmax(-1)
        largest = torch.log(torch.tensor(float(max(target.shape[1], 2))))
        return {
            "target_entropy": row_entropy(target).mean() / largest,
            "target_diversity": row_entropy(target.mean(0)) / largest,
        }
