"""Values of flags, looked at as soon as they are read: whatever cannot be is refused before anything is loaded."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import Linear
from torch.optim import SGD, Optimizer
from transformers import Trainer, TrainingArguments, get_scheduler
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations
from transformers.utils import is_liger_kernel_available

from hf_transfer_kit.commands.edge.foreign_errors import is_foreign
from hf_transfer_kit.data.images import LEAST_SIDE, MOST_SIDE
from hf_transfer_kit.errors import SettingsError, first_line
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.real_numbers import is_finite

_LARGEST = 2**31 - 1


class Range(NamedTuple):
    """Numbers from ``low`` to ``high``, and the same in words."""

    low: float
    high: float
    words: str


_ANY = Range(-_LARGEST, _LARGEST, f"a number from -{_LARGEST} to {_LARGEST}")
_SEED = Range(0, 2**32 - 1, "a whole number from 0 to 4294967295")  # numpy's
_COUNT = Range(1, _LARGEST, "a whole number of 1 or more")
_NUMBER = Range(0, _LARGEST, "a whole number of 0 or more")
_STRENGTH = Range(0, _LARGEST, "a number of 0 or more")
_POSITIVE = Range(math.ulp(0.0), _LARGEST, "a number above 0")
_PART = Range(0, math.nextafter(1.0, 0.0), "a number of 0 or more and below 1")
_SHARE = Range(math.ulp(0.0), math.nextafter(1.0, 0.0), "a share of the rows, above 0 and below 1, such as 0.2")
RANGES: dict[str, Range] = {
    **dict.fromkeys(["seed", "seeds", "data_seed", "split_seed"], _SEED),
    **dict.fromkeys(["batch_size", "max_steps", "evaluations", "patience"], _COUNT),
    **dict.fromkeys(["gradient_accumulation_steps", "eval_accumulation_steps"], _COUNT),
    **dict.fromkeys(
        ["per_device_train_batch_size", "per_device_eval_batch_size", "dataloader_prefetch_factor"],
        _COUNT,
    ),
    **dict.fromkeys(
        ["save_total_limit", "torch_empty_cache_steps", "max_length", "replay_rows", "unseen_count", "workers"], _COUNT
    ),
    **dict.fromkeys(
        ["num_train_epochs", "learning_rate", "adam_epsilon", "max_seconds", "max_minutes", "ddp_timeout"], _POSITIVE
    ),
    **dict.fromkeys(["logging_steps", "eval_steps", "save_steps"], _POSITIVE),
    **dict.fromkeys(["weight_decay", "max_grad_norm", "neftune_noise_alpha", "warmup_steps", "eval_delay"], _STRENGTH),
    **dict.fromkeys(["unlabelled_rows", "shared_from", "depths", "splits", "train_network"], _NUMBER),
    **dict.fromkeys(["adam_beta1", "adam_beta2", "label_smoothing_factor"], _PART),
    **dict.fromkeys(["validation_size", "test_size"], _SHARE),
    "image_size": Range(LEAST_SIDE, MOST_SIDE, f"a side from {LEAST_SIDE} to {MOST_SIDE} pixels"),
    "dataloader_num_workers": Range(0, 4096, "a whole number from 0 to 4096"),
    "reduction_factor": Range(2, _LARGEST, "a whole number of 2 or more"),
    "rank_rows": Range(2, _LARGEST, "a whole number of 2 or more"),
    "share": Range(math.ulp(0.0), 1, "a part, above 0 and at most 1"),
}
"""Flag -> what it may be; a default may lie outside and stands for none."""
_STEPS_OR_SHARE = ("warmup_steps", "logging_steps", "eval_steps", "save_steps")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
_OF_OPTIMIZERS = ("adam_beta1", "adam_beta2", "adam_epsilon", "optim_args")
_FOR_LAYERS = ("galore", "apollo")
"""Beginnings of the names of optimizers that treat some modules in a way of their own."""
_FOLDERS = ("output_dir", "cache_dir", "store")


def check_values(given: Mapping[str, object]) -> None:
    """Refuses values that no run could use.

    Args:
        given: Flag -> value, of those that are not at their default.

    Raises:
        SettingsError: When a number is not finite or out of range, a text cannot be, or a list is empty or names
            one twice.
    """
    for name, value in given.items():
        if name == "num_train_epochs" and value == 0 and given.get("max_steps", 0) > 0:
            continue  # steps count, and a run that was counted in steps has noted no epochs
        for one in value if isinstance(value, list) else [value]:
            _check_value(name, one)
        if isinstance(value, list):
            _check_list(name, value)


def check_machine(*arguments: object) -> None:
    """Refuses what this machine does not have, or cannot write.

    Args:
        arguments: The dataclasses of a script's flags, as parsed.

    Raises:
        SettingsError: When a folder cannot be written, or a device, a package or an optimizer cannot be had.
    """
    for argument in arguments:
        for name in _FOLDERS:
            if getattr(argument, name, None) is not None:
                _check_folder(name, getattr(argument, name))
        if isinstance(argument, TrainingArguments):
            _check_trackers(argument)
            _check_half_precision(argument)
            _check_optimizer(argument)


def _check_value(name: str, value: object) -> None:
    if isinstance(value, str) and "\0" in value:
        raise SettingsError(f"--{name} {value!r} holds a NUL character. Leave it out.")
    if value == "":
        raise SettingsError(f"--{name} is empty. Give it a value, or leave it out.")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if not is_finite(value):
        raise SettingsError(f"--{name} {value} is no finite number. Give one.")
    allowed = RANGES.get(name, _ANY)
    if not allowed.low <= value <= allowed.high:
        raise SettingsError(f"--{name} {value} is out of range: give {allowed.words}.")
    if name in _STEPS_OR_SHARE and value > 1 and value != int(value):
        raise SettingsError(f"--{name} {value} is no number of steps: give a whole one, or a share of them below 1.")


def _check_list(name: str, values: list) -> None:
    if not values or len(set(values)) < len(values):
        raise SettingsError(f"--{name} {' '.join(map(str, values))}: give one or more, and none twice.")


def _check_folder(name: str, folder: str) -> None:
    """Refuses what cannot become a folder, and a folder in which nothing can be written."""
    path = Path(folder).expanduser()
    try:
        nearest = next(place for place in (path, *path.resolve().parents) if place.exists())
        if not nearest.is_dir():
            what = "is a file" if nearest == path else f"lies in {nearest}, which is a file"
            raise SettingsError(f"--{name} {folder} {what}; give a folder.")
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        raise SettingsError(
            f"--{name} {folder} cannot be written: {error.strerror or error}. Give a folder on a disk with room for "
            "which you have the permission."
        ) from error


def _check_trackers(args: TrainingArguments) -> None:
    for tracker in args.report_to:
        if tracker not in INTEGRATION_TO_CALLBACK:
            raise SettingsError(
                f"--report_to {tracker} is unknown; choose none, all or of {', '.join(INTEGRATION_TO_CALLBACK)}."
                f"{did_you_mean(tracker, INTEGRATION_TO_CALLBACK)}"
            )
        if tracker not in get_available_reporting_integrations() and tracker != "flyte":
            raise SettingsError(f"--report_to {tracker}: its package is not installed. Install it, or choose another.")


def _check_half_precision(args: TrainingArguments) -> None:
    for flag in ("fp16", "fp16_full_eval"):
        if getattr(args, flag) and args.device.type == "cpu":
            raise SettingsError(
                f"--{flag} needs a GPU, and this run is on the CPU. Leave it out, or give --bf16 --use_cpu."
            )


def _check_optimizer(args: TrainingArguments) -> None:
    """Builds optimizer and scheduler once for one weight: what they refuse, they refuse before training."""
    for name in args._VALID_DICT_FIELDS:
        if name.endswith("_kwargs") and isinstance(getattr(args, name), str):
            raise SettingsError(f'--{name} {getattr(args, name)} is no mapping: write it as JSON, {{"name": value}}.')
    if args.torch_compile:
        backends = torch._dynamo.list_backends(exclude_tags=())
        for flag, known in (("torch_compile_mode", COMPILE_MODES), ("torch_compile_backend", backends)):
            value = getattr(args, flag)
            if value is not None and value not in known:
                raise SettingsError(
                    f"--{flag} {value} is unknown; choose {', '.join(known)}.{did_you_mean(value, known)}"
                )
    if args.use_liger_kernel and not is_liger_kernel_available():
        raise SettingsError("--use_liger_kernel needs the package liger-kernel, which is not installed.")
    model = Linear(1, 1)
    if args.optim_target_modules and not args.optim.value.startswith(_FOR_LAYERS):
        raise SettingsError(f"--optim_target_modules does nothing with --optim {args.optim.value}. Leave it out.")
    if not args.optim_target_modules:  # which this one weight does not have
        with _refused(f"--optim {args.optim.value} cannot be used with --optim_args {args.optim_args}"):
            kind, options = Trainer.get_optimizer_cls_and_kwargs(args, model)
            if issubclass(kind, Optimizer):
                kind(model.parameters(), **{**options, "lr": 1e-3})
        _refuse_idle_options(args, model, options)
    kind, options = args.lr_scheduler_type, args.lr_scheduler_kwargs
    with _refused(f"--lr_scheduler_type {kind.value} cannot be used with --lr_scheduler_kwargs {options}"):
        optimizer = SGD(model.parameters(), lr=1e-3)
        get_scheduler(kind, optimizer, num_warmup_steps=0, num_training_steps=10, scheduler_specific_kwargs=options)


def _refuse_idle_options(args: TrainingArguments, model: Linear, options: Mapping[str, object]) -> None:
    """An option of optimizers that this one does not read leaves what is built as it is."""
    defaults = {field.name: field.default for field in fields(TrainingArguments)}
    for name in _OF_OPTIMIZERS:
        if getattr(args, name) == defaults[name]:
            continue
        without = copy.copy(args)
        setattr(without, name, defaults[name])
        if Trainer.get_optimizer_cls_and_kwargs(without, model)[1] == options:
            raise SettingsError(f"--{name} does nothing with --optim {args.optim.value}. Leave it out.")


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """Turns whatever other people's code raises inside into a sentence."""
    try:
        yield
    except Exception as error:
        if not is_foreign(error):
            raise
        raise SettingsError(f"{what}: {first_line(error)}") from error


def check_choice(flag: str, value: str, known: Sequence[str]) -> None:
    """Refuses a value that is none of those that a flag takes, with the one that was probably meant."""
    if value not in known:
        raise SettingsError(f"{flag} {value} is unknown; choose {', '.join(known)}.{did_you_mean(value, known)}")
