"""BatchNorm and several sources: in training each row is normalised by its own source's batch.

Each source has running statistics of its own (per-domain BatchNorm, Chang et al. 2019; Seo et al. 2020 for domains
never seen). The ordinary ones, which evaluation and the exported classifier use for a domain of which nothing is known,
are pooled: those of a union in which every source counts alike.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from hf_transfer_kit.adaptation.batch_norm import STATISTICS
from hf_transfer_kit.adaptation.subclassing import override_forward, restore_forward
from hf_transfer_kit.backbones.batch_norms import batch_norms
from hf_transfer_kit.errors import ModelError

_OF_SOURCES = "sources_"


class SourcesReading:
    """What passes through the network now; shared by all its normalisations.

    ``rows`` is how many rows of each source stand one after the other, or None for rows as they are.
    """

    def __init__(self) -> None:
        self.rows: list[int] | None = None


def pooled_statistics(means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the union of K sources that count alike: mean_k m_k, mean_k v_k + mean_k (m_k - m)^2.

    Args:
        means: m, (K, C).
        variances: v, (K, C).
    """
    return means.mean(0), variances.mean(0) + means.var(0, correction=0)


@cache
def _of_sources(base: Any) -> type[nn.Module]:
    class OfSources(base):
        """Normalises the rows of each source by themselves in training."""

        def forward(self, inputs: Tensor) -> Tensor:
            rows = self._reading.rows
            if rows is None or not self.training:
                return base.forward(self, inputs)
            if len(inputs) != sum(rows):
                raise ModelError(
                    f"A {base.__name__} of this network is given {len(inputs)} rows for {sum(rows)} inputs, so it "
                    "cannot be told which are of which source. Use method='joint'."
                )
            own = {name: getattr(self, name) for name in STATISTICS}
            outputs = []
            for source, part in enumerate(inputs.split(rows)):
                if len(part):
                    for name in STATISTICS:
                        setattr(self, name, getattr(self, f"{_OF_SOURCES}{name}")[source])
                    outputs.append(base.forward(self, part))
            for name, value in own.items():
                setattr(self, name, value)
            pool(self)
            return torch.cat(outputs)

    return OfSources


def separate_sources(network: nn.Module, count: int) -> SourcesReading:
    """Gives the BatchNorms of ``network`` running statistics for each of ``count`` sources, in place.

    They begin as copies of the ordinary ones. Convert to SyncBatchNorm before, not afterwards.

    Returns:
        What to tell how many rows of each source are read.
    """
    reading = SourcesReading()
    for norm in batch_norms(network):
        override_forward(norm, _of_sources)
        vars(norm)["_reading"] = reading
        for name in STATISTICS:
            value = getattr(norm, name)
            norm.register_buffer(f"{_OF_SOURCES}{name}", torch.stack([value.clone() for _ in range(count)]))
    return reading


@torch.no_grad()
def pool(norm: Any) -> None:
    """Writes the pooled statistics of all sources into the ordinary ones, in place."""
    mean, variance = pooled_statistics(*(getattr(norm, f"{_OF_SOURCES}{name}") for name in STATISTICS[:2]))
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.num_batches_tracked.copy_(getattr(norm, f"{_OF_SOURCES}{STATISTICS[2]}").sum())


@torch.no_grad()
def keep_as_source(network: nn.Module, source: int) -> None:
    """Copies the ordinary statistics, as they are now, into those of one source."""
    for norm in batch_norms(network):
        for name in STATISTICS:
            getattr(norm, f"{_OF_SOURCES}{name}")[source].copy_(getattr(norm, name))


def join_sources(network: nn.Module) -> None:
    """Undoes ``separate_sources`` in place: ordinary BatchNorms with the pooled statistics."""
    for norm in batch_norms(network):
        restore_forward(norm)
        vars(norm).pop("_reading", None)
        for name in STATISTICS:
            norm._buffers.pop(f"{_OF_SOURCES}{name}", None)
