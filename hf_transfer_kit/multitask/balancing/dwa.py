"""Dynamic weight average: tasks whose loss falls slowly count more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from hf_transfer_kit.multitask.balancing.balancer import Balancer
from hf_transfer_kit.multitask.balancing.processes import averaged
from hf_transfer_kit.options import check_number


def dwa_weights(newer: Tensor, older: Tensor, temperature: float) -> Tensor:
    """T softmax(r / temperature) with r_t = newer_t / older_t (Liu et al. 2019, equation 7).

    Args:
        newer: Mean losses of the last epoch, (T,); NaN where a task had no rows.
        older: Those of the epoch before, likewise.
        temperature: Above 0; large ones make the weights equal.

    Returns:
        (T,), of sum T; a task without both losses counts as one whose loss stayed.
    """
    rates = (newer / older).nan_to_num(nan=1.0, posinf=1.0)
    return len(rates) * (rates / temperature).softmax(0)


class DWA(Balancer):
    """Dynamic weight average (Liu et al. 2019, CVPR): weights from the mean losses of the last two epochs.

    All are 1 in the first two epochs. ``end_epoch`` must be called after each: ``BalancingEpochs`` is the callback.

    Args:
        tasks: Names of all tasks.
        temperature: Above 0; the paper's 2 by default.

    Raises:
        SettingsError: When the temperature is not above 0.
    """

    name: ClassVar[str] = "dwa"
    summary: ClassVar[str] = "weights by how slowly each loss fell over the last two epochs"

    sums: Tensor
    counts: Tensor
    means: Tensor
    epochs: Tensor

    def __init__(self, tasks: Sequence[str], *, temperature: float = 2.0) -> None:
        super().__init__(tasks)
        self.temperature = check_number(self.name, "temperature", temperature, low=0, above=True)
        size = len(self.tasks)
        self.register_buffer("sums", torch.zeros(size))
        self.register_buffer("counts", torch.zeros(size))
        self.register_buffer("means", torch.full((2, size), torch.nan))  # of the epoch before the last, of the last
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    def combine(self, names: list[str], losses: list[Tensor], shared: Tensor | Sequence[Tensor] | None) -> Tensor:
        """sum_t w_t L_t; the losses are remembered."""
        values = torch.stack(losses)  # (K,)
        present = self.positions(names)
        # In every step, not once an epoch: DDP overwrites the buffers of all processes by those of the first.
        self.sums[present] += averaged(values).to(self.sums.dtype)
        self.counts[present] += 1
        weights = self._weights()[present].to(values.dtype)
        self.keep(names, weights)
        return (weights * values).sum()

    def end_epoch(self) -> None:
        """Turns this epoch's losses into means, and forgets those of the epoch before the last."""
        self.means.copy_(torch.stack([self.means[1], self.sums / self.counts]))
        self.sums.zero_()
        self.counts.zero_()
        self.epochs += 1

    def _weights(self) -> Tensor:
        if self.epochs < 2:
            return torch.ones_like(self.sums)
        return dwa_weights(self.means[1], self.means[0], self.temperature)
