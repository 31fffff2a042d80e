"""LoRA+: the two factors of a low-rank change learn at rates of their own (Hayou et al. 2024)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.options import check_number
from hf_transfer_kit.tuning.calling import owners_frame
from hf_transfer_kit.tuning.layouts import check_layout
from hf_transfer_kit.tuning.logged_rates import log_rates
from hf_transfer_kit.tuning.rates import optimizer_class_of, rate_groups

_SECOND = (".lora_B.", ".lora_embedding_B.")


@checked_arguments(own_words_first=True)
def lora_plus_optimizer(
    model: nn.Module, args: TrainingArguments, *, ratio: float = 16
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """For ``Trainer(optimizer_cls_and_kwargs=...)``: LoRA's B learns at ``ratio`` times the rate of all else.

    B begins at zero, and at the rate of A learns too slowly in wide layers. Weight decay is Trainer's; peft's own
    ``create_loraplus_optimizer`` raises the rate of a new head's bias too.

    Args:
        model: With LoRA's adapters.
        args: The Trainer's; they give the optimizer, the rate of A and the weight decay.
        ratio: At least 1; the paper finds 16 a good start, with a rate about half of plain LoRA's.

    Raises:
        SettingsError: When ``ratio`` is below 1, the model has no such adapter, or ``args.optim`` builds its own
            parameter groups.

    Example:
        >>> from peft import LoraConfig, get_peft_model
        >>> adapted = get_peft_model(text_model, LoraConfig(target_modules=["query"]))
        >>> optimizer = lora_plus_optimizer(adapted, args)
        >>> trainer = Trainer(adapted, args, train_dataset=train, optimizer_cls_and_kwargs=optimizer)
        >>> _ = trainer.create_optimizer()
        >>> sorted({group["lr"] / args.learning_rate for group in trainer.optimizer.param_groups})
        [1.0, 16.0]
    """
    check_number("lora_plus_optimizer", "ratio", ratio, low=1)
    if not any(_is_second(name) for name, _ in model.named_parameters()):
        raise SettingsError(
            f"{type(model).__name__} has no LoRA adapter, whose B lora_plus_optimizer gives a rate of its own: put one "
            "on it with peft first."
        )
    optimizer_class_of(model, args)
    return cast(type[torch.optim.Optimizer], LoraPlusRates), {"args": args, "ratio": ratio}


class LoraPlusRates:
    """Makes the optimizer of ``lora_plus_optimizer`` for the model that it is called with."""

    def __call__(self, model: nn.Module, *, args: TrainingArguments, ratio: float) -> torch.optim.Optimizer:
        """The optimizer, with parameter groups for B and for the rest of what learns.

        Args:
            model: The model that is about to be trained.
            args: As in ``lora_plus_optimizer``.
            ratio: As in ``lora_plus_optimizer``.
        """
        frame = owners_frame(Trainer)
        trainer = None if frame is None else frame.f_locals["self"]
        check_layout("lora_plus_optimizer", model, trainer, also_with=("DeepSpeed",))
        learning = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        first = {name: parameter for name, parameter in learning.items() if not _is_second(name)}
        second = {name: parameter for name, parameter in learning.items() if _is_second(name)}
        optimizer_class, kwargs = optimizer_class_of(model, args)
        log_rates(trainer)
        return optimizer_class(rate_groups(model, [(first, 1.0), (second, ratio)], args), **kwargs)


def _is_second(name: str) -> bool:
    return any(part in name for part in _SECOND)
