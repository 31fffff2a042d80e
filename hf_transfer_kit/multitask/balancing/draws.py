"""Random numbers that every process draws alike and a resumed run draws again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from hf_transfer_kit.options import check_int


class Draws(nn.Module):
    """A seed for each step: a function of the first seed and of how many were asked for before.

    The count is a buffer, so that it is in checkpoints.

    Args:
        method: Whose draws these are, for error messages.
        seed: The first seed, at least 0.

    Raises:
        SettingsError: When the seed is no such number.
    """

    count: torch.Tensor

    def __init__(self, method: str, seed: int) -> None:
        super().__init__()
        self.seed = check_int(method, "seed", seed, low=0)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def next_seed(self) -> int:
        """The seed of this step; the next call gives another."""
        seed = (self.seed * 1_000_003 + int(self.count)) % 2**63
        self.count += 1
        return seed


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Lets torch's global CPU generator, which others draw from, begin at ``seed``, and puts it back afterwards."""
    state = torch.random.get_rng_state()
    # Not torch.manual_seed, which would also seed every accelerator.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.random.set_rng_state(state)
