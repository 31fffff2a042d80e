"""What all processes must agree on before they choose weights."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def number_of_processes() -> int:
    """How many processes train together; 1 outside distributed training."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


@torch.no_grad()
def averaged(values: Tensor) -> Tensor:
    """The mean of ``values`` over processes, detached; every process must call it, with the same shape."""
    values = values.detach()
    processes = number_of_processes()
    if processes == 1:
        return values
    total = values.clone()
    distributed.all_reduce(total)
    return total / processes
