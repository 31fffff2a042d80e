"""The configuration of one trunk with several tasks: a backbone's own, its heads, and its separate inputs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from torch import nn
from transformers import AutoConfig, PreTrainedConfig

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.held import held_config, refuse_near_settings
from hf_transfer_kit.backbones.new_heads import MOST_CLASSES, checked_labels
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask.heads import HEADS
from hf_transfer_kit.near_names import did_you_mean

DEFAULT_INPUT = "default"
"""Name of the input where all tasks share one."""
SEPARATOR = "__"
BATCH_NORMS = ("per_input", "joint")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TASK_SETTINGS = ("type", "num_labels", "input", "weight", "id2label")
_INPUT_SETTINGS = ("channels", "vocab_size")


class MultiTaskConfig(PreTrainedConfig):
    """A trunk, the tasks on it, and the inputs into it.

    Args:
        backbone_config: Configuration of the trunk's network: any architecture with a classifier for images, texts or
            sounds (or, where all tasks are of one kind of sequence, with that head); a dict is read back by its
            ``model_type``.
        tasks: Name -> settings of each task: ``type`` (a name in ``hf_transfer_kit.multitask.heads.HEADS``),
            ``num_labels`` (or ``id2label``; 1 for regression), ``input`` (the only one by default), ``weight`` of its
            loss (1.0), ``id2label`` (index -> name, or a list of names), for ``"ctc"`` ``blank`` (0, the
            tokenizer's padding token), for ``"classification"`` ``temperature`` (2.0, for labels that are logits),
            for ``"regression"`` ``mean`` and ``scale`` of the labels (0.0, 1.0; or one for each
            number). Or the same as pairs. Names are words of a-z, 0-9 and single ``_``.
        inputs: Name -> settings of each separate input; ``channels`` or ``vocab_size`` where it differs from the
            backbone's. Or the same as pairs. None is a single one, called ``"default"``.
        shared_from: Number of first layer groups that each input has for itself; the rest is shared.
        batch_norm: ``"per_input"`` (default): of several inputs each has all BatchNorms for itself, for what is shared
            sees them one after the other, and means over several kinds of rows fit none; ``"joint"``: those of shared
            layers are shared.

    Raises:
        SettingsError: When a name, a type or a setting is unknown, missing, out of range or contradicts another.

    Example:
        >>> tasks = {"topic": {"type": "classification", "num_labels": 4}, "score": {"type": "regression"}}
        >>> config = MultiTaskConfig(text_model.config, tasks)
        >>> config.tasks["score"]["type"], config.tasks["score"]["weight"]
        ('regression', 1.0)
    """

    model_type = "multi_task"
    sub_configs: ClassVar[dict[str, Any]] = {"backbone_config": AutoConfig}

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        backbone_config: PreTrainedConfig | Mapping[str, Any] | None = None,
        tasks: Mapping[str, Mapping[str, Any]] | Iterable[tuple[str, Mapping[str, Any]]] | None = None,
        inputs: Mapping[str, Mapping[str, Any] | None] | Iterable[tuple[str, Mapping[str, Any] | None]] | None = None,
        shared_from: int = 0,
        batch_norm: str = BATCH_NORMS[0],
        adapters: Mapping[str, Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        refuse_near_settings(type(self), kwargs)
        backbone_config = held_config(backbone_config)
        inputs = _checked_inputs(inputs, shared_from)
        if batch_norm not in BATCH_NORMS:
            raise SettingsError(
                f"batch_norm={batch_norm!r} is unknown; choose {' or '.join(map(repr, BATCH_NORMS))}."
                f"{did_you_mean(batch_norm, BATCH_NORMS)}"
            )
        tasks = _checked_tasks(tasks, inputs)
        unused = [name for name in inputs if tasks and all(task["input"] != name for task in tasks.values())]
        if unused:
            raise SettingsError(
                f"No task reads the input {', '.join(map(repr, unused))}. Give a task input={unused[0]!r}, or leave "
                "the input out."
            )
        super().__init__(**kwargs)
        self.backbone_config = backbone_config
        self.tasks = tasks
        self.inputs = inputs
        self.shared_from = shared_from
        self.batch_norm = batch_norm
        self.adapters = adapters

    def to_dict(self) -> dict[str, Any]:
        """As any configuration's, with tasks and inputs as pairs.

        A file sorts what stands under names, and the order of tasks and inputs is that of the parameters, by which an
        optimizer's state is resumed.
        """
        pairs = {key: [[name, dict(of)] for name, of in getattr(self, key).items()] for key in ("tasks", "inputs")}
        return {**super().to_dict(), **pairs}


def _checked_inputs(inputs: Any, shared_from: int) -> dict[str, dict]:
    if isinstance(shared_from, bool) or not isinstance(shared_from, int) or shared_from < 0:
        raise SettingsError(f"shared_from={shared_from!r}: give a number of layer groups, at least 0.")
    if inputs is None:
        inputs = {DEFAULT_INPUT: {}}
    pairs = isinstance(inputs, list | tuple) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in inputs
    )
    if not (isinstance(inputs, Mapping) or pairs):
        raise SettingsError(f"MultiTaskConfig: inputs={inputs!r} is not what it should be; give a mapping.")
    if not inputs:
        raise SettingsError("inputs is empty: name at least one input, or leave it out for a single one.")
    checked = {}
    for name, settings in inputs.items() if isinstance(inputs, Mapping) else inputs:
        settings = dict(settings or {})
        _check_name("input", name)
        _check_known(f"Input {name!r}", settings, _INPUT_SETTINGS)
        for key, value in settings.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SettingsError(f"Input {name!r} has {key}={value!r}: give a whole number, at least 1.")
        if settings and shared_from == 0:
            raise SettingsError(
                f"Input {name!r} has {', '.join(settings)} of its own, but shared_from=0 leaves it no layer of its "
                "own to hold them. Set shared_from to the number of first layer groups each input has for itself."
            )
        checked[name] = settings
    return checked


def _checked_tasks(tasks: Any, inputs: Mapping[str, dict]) -> dict[str, dict]:
    pairs = tasks.items() if isinstance(tasks, Mapping) else [] if tasks is None else tasks
    if isinstance(pairs, str) or not isinstance(pairs, Iterable):
        raise SettingsError(f"tasks={tasks!r} must map names to settings, such as {{'a': {{'type': ...}}}}.")
    checked: dict[str, dict] = {}
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[1], Mapping):
            raise SettingsError(f"tasks holds {pair!r:.200}, which is no name with a mapping of settings.")
        name, settings = pair
        _check_name("task", name)
        if name in checked:
            raise SettingsError(f"Two tasks are called {name!r}, so they would share one head. Give each its own name.")
        checked[name] = _checked_task(name, dict(settings), inputs)
    if checked and not any(task["weight"] for task in checked.values()):
        raise SettingsError("Every task has weight 0, so nothing would be learned. Give one a positive weight.")
    return checked


def _checked_task(name: str, settings: dict[str, Any], inputs: Mapping[str, dict]) -> dict[str, Any]:
    kind = settings.get("type")
    if kind not in HEADS:
        raise SettingsError(
            f"Task {name!r} has type={kind!r}, which is unknown; choose one of {', '.join(HEADS)}."
            f"{did_you_mean(kind, HEADS)}"
        )
    head = HEADS[kind]
    _check_known(f"Task {name!r}", settings, (*_TASK_SETTINGS, *head.options))
    given = settings.get("input")
    chosen = given if given is not None else next(iter(inputs)) if len(inputs) == 1 else DEFAULT_INPUT
    if chosen not in inputs:
        raise SettingsError(
            f"Task {name!r} reads the input {chosen!r}, but there is none of that name. Give it input= one of "
            f"{', '.join(map(repr, inputs))}, or add the input."
        )
    weight = settings.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
        raise SettingsError(f"Task {name!r} has weight={weight!r}: give a number, at least 0.")
    num_labels, id2label = _checked_labels(name, settings.get("num_labels", head.default_labels), settings)
    checked = {"type": kind, "num_labels": num_labels, "input": chosen, "weight": float(weight)}
    if id2label is not None:
        checked["id2label"] = id2label
    for option, default in head.options.items():
        value = settings.get(option, default)
        wanted, fits = head.wanted(option, num_labels)
        if not fits(value):
            raise SettingsError(f"Task {name!r} has {option}={value!r}: give {wanted}.")
        checked[option] = value
    return checked


def _checked_labels(
    name: str, num_labels: int | None, settings: Mapping[str, Any]
) -> tuple[int, dict[int, str] | None]:
    names = settings.get("id2label")
    if names is None:
        if isinstance(num_labels, bool) or not isinstance(num_labels, int) or not 1 <= num_labels <= MOST_CLASSES:
            raise SettingsError(
                f"Task {name!r} has num_labels={num_labels!r}: give a whole number, at least 1 and at most "
                f"{MOST_CLASSES:,}."
            )
        return num_labels, None
    listed = isinstance(names, Sequence) and not isinstance(names, str)
    try:
        id2label = checked_labels(None, dict(enumerate(names)) if listed else names)
    except SettingsError as error:
        raise SettingsError(f"Task {name!r}: {error}") from None
    if settings.get("num_labels") not in (None, len(id2label)):
        raise SettingsError(
            f"Task {name!r} has num_labels={settings['num_labels']} but {len(id2label)} label names "
            f"({', '.join(list(id2label.values())[:5])}). Make them agree, or give id2label alone."
        )
    return len(id2label), dict(sorted(id2label.items()))  # files have 10 before 2


def _check_name(what: str, name: Any) -> None:
    fits = isinstance(name, str) and _NAME.fullmatch(name) and SEPARATOR not in name and not name.endswith("_")
    if not fits or hasattr(nn.ModuleDict, name):
        raise SettingsError(
            f"{name!r} is no name for {'an' if what == 'input' else 'a'} {what}: names begin with a letter, are made "
            "of a-z, 0-9 and single _ between them, and are no word that torch's ModuleDict has for itself (as keys)."
        )


def _check_known(owner: str, settings: Mapping[str, Any], known: Iterable[str]) -> None:
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise SettingsError(
            f"{owner} has unknown settings {', '.join(unknown)}; known are {', '.join(known)}."
            f"{did_you_mean(unknown[0], known)}"
        )
