"""A packed batch: rows of several tasks, those of one input in one tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.multitask.configuration import SEPARATOR, MultiTaskConfig

ROWS, LABELS = "rows", "labels"


@dataclass
class PackedBatch:
    """The tensors of a batch by input and by task.

    Args:
        inputs: Input -> name -> tensor of all its rows.
        rows: Task -> positions of its rows in its input's tensors, int64 of shape (R,). A task may lack them: all.
        labels: Task -> labels of these rows.
    """

    inputs: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    rows: dict[str, Tensor] = field(default_factory=dict)
    labels: dict[str, Tensor] = field(default_factory=dict)


def unpack(
    batch: Mapping[str, Tensor | None], config: MultiTaskConfig, *, task: str | None, labels: Tensor | None
) -> PackedBatch:
    """Sorts a flat batch: ``INPUT__NAME`` are inputs, ``TASK__rows`` and ``TASK__labels`` say what is whose.

    A name without ``__`` is one of the network's own and belongs to the only input, or to that of ``task``.

    Args:
        batch: Name -> tensor; what is None is left out.
        config: Says which inputs and tasks there are.
        task: The task whose rows all rows are, for names without ``__``.
        labels: Of ``task``, unless the batch names its own.

    Raises:
        DataError: When a name fits no input and no task, or a task's input is missing.
    """
    packed = PackedBatch()
    for key, value in batch.items():
        if value is None:
            continue
        owner, separator, name = key.partition(SEPARATOR)
        if not separator:
            packed.inputs.setdefault(_only_input(key, config, task), {})[key] = value
        elif name in (ROWS, LABELS) and owner in config.tasks:
            (packed.rows if name == ROWS else packed.labels)[owner] = value
        elif owner in config.inputs and name not in (ROWS, LABELS):
            packed.inputs.setdefault(owner, {})[name] = value
        else:
            raise DataError(
                f"{key!r} in the batch fits nothing the model has. Its inputs are {', '.join(config.inputs)} "
                f"(INPUT{SEPARATOR}NAME), its tasks {', '.join(config.tasks)} (TASK{SEPARATOR}{ROWS}, "
                f"TASK{SEPARATOR}{LABELS})."
            )
    if labels is not None and task is not None and not packed.labels:
        packed.labels[task] = labels
    if not packed.inputs:
        raise DataError(f"The batch holds no tensor of an input; the model reads {', '.join(config.inputs)}.")
    for name in {**packed.rows, **packed.labels}:
        if config.tasks[name]["input"] not in packed.inputs:
            raise DataError(
                f"The batch has rows of the task {name!r} but no tensor of the input {config.tasks[name]['input']!r} "
                "that it reads. Collate both together, with the MultiTaskCollator."
            )
    return packed


def _only_input(key: str, config: MultiTaskConfig, task: str | None) -> str:
    if task is not None:
        return config.tasks[task]["input"]
    if len(config.inputs) == 1:
        return next(iter(config.inputs))
    raise DataError(
        f"{key!r} does not say which input it is of; the model has {', '.join(config.inputs)}. Name it "
        f"{next(iter(config.inputs))}{SEPARATOR}{key}, or give task=."
    )
