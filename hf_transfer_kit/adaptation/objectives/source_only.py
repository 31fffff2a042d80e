"""No adaptation: the baseline every method must beat."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from hf_transfer_kit.adaptation.objectives.objective import DomainBatch, Objective


class SourceOnly(Objective):
    """Adds nothing to the source's cross entropy.

    Target rows of a batch pass through the network, so that BatchNorm may gather their statistics where it is asked to;
    a batch without them trains on the source as if there were no target.
    """

    name: ClassVar[str] = "source_only"
    summary: ClassVar[str] = "trained on the source alone"
    needs_target: ClassVar[bool] = False

    def compute_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        return {}
