"""multitask.py with --old_classes kept: a saved network of several tasks, its classes, and what is left of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from safetensors import SafetensorError

from hf_transfer_kit.backbones import checkpoint_config
from hf_transfer_kit.commands.flags.network_arguments import ModelArguments
from hf_transfer_kit.data import LoadedData
from hf_transfer_kit.data.class_balance import classes_of
from hf_transfer_kit.data.growing import classes_to_add, with_classes
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.errors import ModelError, SettingsError, first_line
from hf_transfer_kit.multitask import MultiTaskConfig, MultiTaskModel, record_logits
from hf_transfer_kit.selection.finetuning.growing import grown
from hf_transfer_kit.selection.multitasking import TaskData
from hf_transfer_kit.values import Growing


def trained_tasks(model_args: ModelArguments, tasks: Mapping[str, Any]) -> MultiTaskModel:
    """The saved network.

    Raises:
        ModelError: When it is no network of several tasks, or cannot be loaded.
        SettingsError: When no network is named, or one of its tasks is not to be learned on.
    """
    name = model_args.model_name_or_path
    if not model_args.pretrained or name is None:
        raise SettingsError("--old_classes kept needs the saved network whose classes stay: --model_name_or_path.")
    if not isinstance(checkpoint_config(name, revision=model_args.model_revision), MultiTaskConfig):
        raise ModelError(
            f"{name} is no network of several tasks, as multitask.py saves them. The classes of a plain classifier are "
            "kept by hf-transfer finetune --old_classes kept."
        )
    try:
        model = MultiTaskModel.from_pretrained(name, revision=model_args.model_revision, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, TypeError, SafetensorError) as error:
        raise ModelError(f"{name} cannot be loaded: {first_line(error)}") from error
    if lost := [task for task in model.config.tasks if task not in tasks]:
        raise SettingsError(
            f"{model_args.display_name} can do {', '.join(lost)}, which --tasks does not name, so that would be lost. "
            "Name all of its tasks, with data."
        )
    return model


def with_kept_classes(model: MultiTaskModel, name: str, data: LoadedData) -> LoadedData:
    """A task's data with its classes counted behind those that the network knows.

    Raises:
        DataError: When classes do not fit.
        ModelError: When the network has no names of the task's classes.
    """
    task = model.config.tasks.get(name)
    if task is None or data.task_type != CLASSIFICATION or task["type"] != CLASSIFICATION:
        return data
    if "id2label" not in task:
        raise ModelError(
            f"The task {name!r} of the network has no names of its {task['num_labels']} classes, so which of the data "
            "it knows cannot be told. Give it id2label in its config, and save it."
        )
    old = tuple(task["id2label"].values())
    return with_classes(data, (*old, *classes_to_add(old, data, needed=False)))


def growing_of_tasks(trained: MultiTaskModel, model: MultiTaskModel, tasks: Sequence[TaskData]) -> dict[str, Growing]:
    """Task that got classes -> its test accuracies before and after.

    Args:
        trained: The network as it came.
        model: The network with all classes.
        tasks: The tasks with their rows.
    """
    found = {}
    for task in tasks:
        had = trained.config.tasks.get(task.name)
        if had is None or len(task.loaded.label_names) == had["num_labels"]:
            continue
        rows, collator = task.prepared.test, task.prepared.collator
        true = np.array(classes_of(rows))
        is_old = true < had["num_labels"]
        came = record_logits(trained, rows, collator, task=task.name).argmax(axis=1) == true
        found[task.name] = grown(
            true,
            record_logits(model, rows, collator, task=task.name).argmax(axis=1),
            task.loaded.label_names[: had["num_labels"]],
            task.loaded.label_names[had["num_labels"] :],
            before=float(came[is_old].mean()) if is_old.any() else None,
        )
    return found
