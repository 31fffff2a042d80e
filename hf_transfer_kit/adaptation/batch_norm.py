"""BatchNorm and two domains: whose statistics normalise which rows.

Per domain (Chang et al. 2019, domain-specific batch normalization, with the affine part shared): in training each row
is normalised by the batch of its own domain; the running statistics of the target are the ordinary ones, so that
evaluation, and the classifier that is exported, use them; those of the source lie beside them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from hf_transfer_kit.adaptation.subclassing import override_forward, restore_forward
from hf_transfer_kit.backbones.batch_norms import batch_norms

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_OF_SOURCE = "source_"


class DomainReading:
    """What passes through the network now; shared by all its normalisations.

    ``rows`` is ``"target"`` (the ordinary case), ``"source"``, ``"again"`` (batch statistics, nothing remembered), or
    the number of source rows that stand before the target's.
    """

    def __init__(self) -> None:
        self.rows: str | int = "target"


@cache
def _of_domains(base: Any) -> type[nn.Module]:
    class OfDomains(base):
        """Normalises rows by the statistics of the domain that is being read."""

        def forward(self, inputs: Tensor) -> Tensor:
            rows = self._reading.rows
            if rows == "target":
                return base.forward(self, inputs)
            if rows == "again":
                self.track_running_stats = False
                outputs = base.forward(self, inputs)
                self.track_running_stats = True
                return outputs
            if not self._per_domain:
                return base.forward(self, inputs)
            if rows == "source":
                return self._as_source(inputs)
            return torch.cat([self._as_source(inputs[:rows]), base.forward(self, inputs[rows:])])

        def _as_source(self, inputs: Tensor) -> Tensor:
            self._exchange()
            outputs = base.forward(self, inputs)
            self._exchange()
            return outputs

        def _exchange(self) -> None:
            for name in STATISTICS:
                mine, other = getattr(self, name), getattr(self, f"{_OF_SOURCE}{name}")
                setattr(self, name, other)
                setattr(self, f"{_OF_SOURCE}{name}", mine)

    return OfDomains


def separate_domains(network: nn.Module, *, per_domain: bool) -> DomainReading:
    """Makes the BatchNorms of ``network`` ask which domain they normalise, in place.

    The source's statistics begin as copies of the ordinary ones. Convert to SyncBatchNorm before, not afterwards.

    Args:
        network: Any network; without BatchNorm nothing changes.
        per_domain: Whether each domain has its own running statistics.

    Returns:
        What to tell which domain is being read.
    """
    reading = DomainReading()
    for norm in batch_norms(network):
        override_forward(norm, _of_domains)
        vars(norm).update(_reading=reading, _per_domain=per_domain)
        if per_domain:
            for name in STATISTICS:
                norm.register_buffer(f"{_OF_SOURCE}{name}", getattr(norm, name).clone())
    return reading


def join_domains(network: nn.Module) -> None:
    """Undoes ``separate_domains`` in place: ordinary BatchNorms with the target's statistics."""
    for norm in batch_norms(network):
        restore_forward(norm)
        for name in ("_reading", "_per_domain"):
            vars(norm).pop(name, None)
        for name in STATISTICS:
            norm._buffers.pop(f"{_OF_SOURCE}{name}", None)
