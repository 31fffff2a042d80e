"""What all processes must agree on before they choose weights."""

from __future__ import annotations

import torch
from torch import Tensor, distributed

from hf_transfer_kit.tuning.all_rows import number_of_processes


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
