"""Weights in the precision that they will be stored in, before they are measured."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.shards import has_shards, local
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback
from hf_transfer_kit.tuning.shared_rows import sum_over_processes

logger = get_logger(__name__)

STORED = ("float32", "bfloat16", "float16")


class RoundWeights(NetworkCallback):
    """Rounds all float32 weights to what half precision can hold when training ends.

    What is evaluated afterwards is then, bit for bit, what a file of half the size gives when it is loaded in float32
    again. Where a weight is too large for the type, nothing is rounded, which is said. Checkpoints keep float32.

    Args:
        dtype: ``"float16"``, ``"bfloat16"``, or ``"float32"``, which rounds nothing.

    Raises:
        SettingsError: When ``dtype`` is another one.

    Example:
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[RoundWeights("bfloat16")])
        >>> _ = trainer.train()
        >>> weight = model.classifier[1].weight
        >>> bool((weight == weight.bfloat16().float()).all())
        True
    """

    reaches_parameters = True

    @checked_arguments(own_words_first=True)
    def __init__(self, dtype: str) -> None:
        if dtype not in STORED:
            raise SettingsError(
                f"dtype={dtype!r} is unknown; choose {', '.join(map(repr, STORED))}.{did_you_mean(dtype, STORED)}"
            )
        self.dtype = dtype

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        if self.dtype != "float32":
            round_weights(model, self.dtype)


@torch.no_grad()
def round_weights(model: nn.Module, dtype: str) -> bool:
    """Rounds the float32 tensors of a model's state in place; whether it was done (False where one would overflow)."""
    kind = getattr(torch, dtype)
    tensors = {n: local(t) for n, t in model.state_dict().items() if t.dtype is torch.float32}
    name = next((n for n, t in tensors.items() if bool((t.to(kind).isinf() & ~t.isinf()).any())), None)
    too_large = torch.tensor(float(name is not None), device=next(model.parameters()).device)
    if has_shards(model):  # the others' parts stay too
        sum_over_processes(too_large)
    if too_large:
        where = name or "a part of a weight that another process has"
        logger.warning(f"{where} holds values that are too large for {dtype}: the weights stay in float32.")
        return False
    for tensor in tensors.values():
        tensor.copy_(tensor.to(kind))
    return True


def stored_state(model: nn.Module, dtype: str) -> dict[str, Tensor] | None:
    """The model's state with its float32 tensors in ``dtype``; None where that would change a value."""
    kind = getattr(torch, dtype)
    state = model.state_dict()
    small = {n: t.to(kind) if t.dtype is torch.float32 else t for n, t in state.items()}
    return small if all(torch.equal(small[n].to(t.dtype), t) for n, t in state.items()) else None
