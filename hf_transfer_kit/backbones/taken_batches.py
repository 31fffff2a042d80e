"""Batches that a network does not take, told in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from hf_transfer_kit.errors import DataError, TransferKitError, first_line


@contextmanager
def misfits_told(model: nn.Module, batch: Mapping[str, Any]) -> Iterator[None]:
    """Raises DataError, with the shapes of the batch, where a forward inside the block fails on it.

    What memory and disks say goes on as it is, and so do the kit's own errors.

    Args:
        model: The network.
        batch: What it is called with.

    Example:
        >>> with misfits_told(model, {"pixel_values": torch.zeros(2, 3)}):
        ...     model(pixel_values=torch.zeros(2, 3))
        Traceback (most recent call last):
            ...
        hf_transfer_kit.errors.DataError: ResNetForImageClassification does not take the batch ...
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError | TransferKitError) or "memory" in str(error):
            raise
        shapes = ", ".join(f"{name} {tuple(getattr(value, 'shape', ()))}" for name, value in batch.items())
        raise DataError(
            f"{type(model).__name__} does not take the batch ({shapes}): {first_line(error)}. Give rows prepared for "
            "this network."
        ) from error
