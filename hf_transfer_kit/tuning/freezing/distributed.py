"""What distributed training and activation checkpointing ask of freezing, checked before training.

DistributedDataParallel synchronises the parameters that were trainable when it wrapped the model, and waits for all of
them unless ``find_unused_parameters`` is set; reentrant checkpointing gives no gradient behind a frozen input. The
first trains processes apart, the last trains nothing, both in silence: here they are errors.
"""

from __future__ import annotations

import functools
from collections.abc import Collection

import torch
from torch import nn
from transformers import PreTrainedModel, TrainingArguments
from transformers.training_args import ParallelMode

from hf_transfer_kit.compat import argument_name, asks_for_reentrant_checkpointing, training_argument
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.calling import calling_trainer
from hf_transfer_kit.tuning.layouts import WHOLE, check_layout, layout_of

_ATTRIBUTE = "_trainable_when_wrapped"


def check_freezing(model: nn.Module, args: TrainingArguments) -> None:
    """Refuses reentrant checkpointing, behind which frozen first layers leave the others without a gradient.

    Raises:
        SettingsError: Naming the argument to set.
    """
    asked = asks_for_reentrant_checkpointing(args)
    module = next((name for name, inner in model.named_modules() if _is_reentrant(inner)), None)
    if asked or (module is not None and not training_argument(args, "activation_checkpointing")):
        where = "" if asked else f" (switched on in {module or type(model).__name__})"
        raise SettingsError(
            f"Freezing needs non-reentrant activation checkpointing{where}: with use_reentrant=True, layers behind "
            f"frozen ones silently get no gradient. Set {argument_name('activation_checkpointing_kwargs')}="
            "{'use_reentrant': False}."
        )


def check_late_freezing(model: nn.Module, args: TrainingArguments, *, asked_by: str) -> None:
    """Refuses settings under which parameters cannot be frozen or thawed after the model was wrapped.

    Args:
        model: The model, not wrapped.
        args: The Trainer's arguments.
        asked_by: Subject of the error's sentence.

    Raises:
        SettingsError: Naming the argument to set.
    """
    check_layout(asked_by, model)
    if not is_data_parallel(model, args):
        return
    if training_argument(args, "ddp_static_graph"):
        raise SettingsError(
            f"{asked_by} freezes and thaws parameters while training, and a static graph cannot change. "
            "Set ddp_static_graph=False."
        )
    if args.auto_find_batch_size:
        raise SettingsError(
            f"{asked_by} cannot be used with auto_find_batch_size=True in several processes: after a smaller batch "
            "size is found the model is wrapped again, without what is frozen then. Set auto_find_batch_size=False."
        )
    if not finds_unused_parameters(model, args):
        checkpointing = training_argument(args, "activation_checkpointing") or _is_checkpointing(model)
        raise SettingsError(
            f"{asked_by} leaves parameters without a gradient in some steps, for which DistributedDataParallel would "
            "wait. Set ddp_find_unused_parameters=True"
            + (
                " (Trainer leaves it off with activation checkpointing) and "
                f"{argument_name('activation_checkpointing_kwargs')}={{'use_reentrant': False}}."
                if checkpointing
                else "."
            )
        )


def finds_unused_parameters(model: nn.Module, args: TrainingArguments) -> bool:
    """Whether Trainer sets ``find_unused_parameters`` when it wraps this model."""
    if args.ddp_find_unused_parameters is not None:
        return args.ddp_find_unused_parameters
    if isinstance(model, PreTrainedModel):
        return not (training_argument(args, "activation_checkpointing") or _is_checkpointing(model))
    return True


def is_data_parallel(model: nn.Module, args: TrainingArguments) -> bool:
    """Whether Trainer wraps the model in DistributedDataParallel, as a launcher makes it do even for one process.

    FSDP2, which lays out parameters in place, looks at each of them in every step: there is nothing to wait for.
    """
    return args.parallel_mode == ParallelMode.DISTRIBUTED and layout_of(model, calling_trainer()) == WHOLE


def remember_trainable(model: nn.Module, optimizer: torch.optim.Optimizer | None, args: TrainingArguments) -> None:
    """Call in ``on_train_begin`` before freezing anything: refuses what would silently not be trained (in step).

    A second ``trainer.train()`` neither makes the optimizer nor wraps the model again. So what may be trained is noted
    beside the optimizer, and parameters thawed since are refused: all where the model is wrapped, else those that the
    optimizer does not hold.

    Raises:
        SettingsError: Naming the parameters.
    """
    inner = getattr(optimizer, "optimizer", optimizer)
    if inner is None:
        return
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    late = trainable - vars(inner).setdefault(_ATTRIBUTE, trainable)
    if not late:
        return
    if is_data_parallel(model, args):
        raise SettingsError(
            f"{len(late)} parameters ({_some(sorted(late))}) were frozen when this Trainer first wrapped the model, so "
            "their gradients would not be synchronised between processes. Make a new Trainer for the next stage."
        )
    check_in_optimizer(model, inner, late, asked_by="This Trainer")


def check_in_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, names: Collection[str], *, asked_by: str
) -> None:
    """Refuses parameters that shall be trained and are in no group of the optimizer.

    Raises:
        SettingsError: Naming the parameters.
    """
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    missing = [name for name, parameter in model.named_parameters() if name in names and id(parameter) not in known]
    if not known & {id(parameter) for parameter in model.parameters()}:
        inner = getattr(optimizer, "optimizer", optimizer)
        raise SettingsError(
            f"{asked_by} cannot reach what is trained: {type(inner).__name__} holds none of the model's parameters. "
            "Choose an optimizer that steps all parameters at once, such as adamw_torch."
        )
    if missing:
        raise SettingsError(
            f"{asked_by} is to train {len(missing)} parameters that the optimizer does not hold ({_some(missing)}): "
            "they were frozen when it was made. Make a new Trainer, and let everything that shall ever be trained "
            "require gradients until then."
        )


def _is_checkpointing(model: nn.Module) -> bool:
    return any(getattr(module, "gradient_checkpointing", False) is True for module in model.modules())


def _is_reentrant(module: nn.Module) -> bool:
    if getattr(module, "gradient_checkpointing", False) is not True:
        return False
    function = getattr(module, "_gradient_checkpointing_func", None)
    return isinstance(function, functools.partial) and function.keywords.get("use_reentrant", True) is not False


def _some(names: list[str], limit: int = 4) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
