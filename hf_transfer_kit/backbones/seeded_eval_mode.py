"""Running a network beside its training: modes and random numbers stay as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hf_transfer_kit.backbones.shards import shard_again


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """What the block draws from Python, NumPy, torch and the GPUs changes nothing for what comes after."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def seeded_eval_mode(model: nn.Module, seed: int) -> Iterator[None]:
    """Evaluation mode and seeded random numbers inside; outside, modes, random states and shards are as before."""
    modes = {module: module.training for module in model.modules()}
    try:
        with preserved_random_state():
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            for module in modes:
                module.training = False
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        shard_again(model)


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Torch's random numbers come from ``seed`` inside and are untouched outside; None leaves them as they are."""
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        yield


@contextmanager
def still_batch_norms(model: nn.Module) -> Iterator[None]:
    """BatchNorms normalise by their running statistics inside, and do not change them."""
    moving = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    try:
        for module in moving:
            module.training = False
        yield
    finally:
        for module in moving:
            module.training = True
