"""Many positions into one row of features."""

from __future__ import annotations

import torch
from torch import Tensor

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean

POOLINGS = ("mean", "first", "last", "max")


def pooled_positions(positions: Tensor, mask: Tensor | None, *, how: str) -> Tensor:
    """One row of features from the positions of each row.

    Args:
        positions: Of shape (B, P, D).
        mask: Which of them count, bool of shape (B, P); None counts all. A row without any gives zeros.
        how: ``"mean"``, ``"first"``, ``"last"`` or ``"max"`` (of each feature) of those that count.

    Returns:
        Of shape (B, D), dtype of ``positions``.

    Raises:
        SettingsError: When ``how`` is unknown.
    """
    if mask is None:
        mask = positions.new_ones(positions.shape[:2], dtype=torch.bool)
    mask = mask.to(positions.device)
    counts = mask.sum(dim=1)  # (B,)
    if how == "mean":
        # Sums in float32 at least: thousands of positions are too many for half precision.
        dtype = torch.promote_types(positions.dtype, torch.float32)
        summed = positions.masked_fill(~mask[..., None], 0).sum(dim=1, dtype=dtype)  # (B, D)
        return (summed / counts.clamp(min=1)[:, None]).to(positions.dtype)
    if how == "max":
        return positions.masked_fill(~mask[..., None], -torch.inf).amax(dim=1).masked_fill((counts == 0)[:, None], 0)
    if how not in POOLINGS:
        raise SettingsError(
            f"pooling={how!r} is unknown; choose {', '.join(map(repr, POOLINGS))} or None.{did_you_mean(how, POOLINGS)}"
        )
    place = mask.int().argmax(dim=1)
    if how == "last":
        place = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
    chosen = positions[torch.arange(len(positions), device=positions.device), place]  # (B, D)
    return chosen * (counts > 0)[:, None]
