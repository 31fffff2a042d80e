"""Tasks and inputs as they stand in a YAML file, and their data loaded and prepared."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml
from transformers import PreTrainedModel

from hf_transfer_kit.backbones import load_processor, modality_of
from hf_transfer_kit.commands.edge.flag_values import check_choice
from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.flags.arguments import PreparationArguments, row_count
from hf_transfer_kit.commands.flags.kept_tasks import trained_tasks, with_kept_classes
from hf_transfer_kit.commands.flags.network_arguments import ModelArguments
from hf_transfer_kit.data import ClassBalance, LoadedData, PreparedData, load_data
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub import load_inputs
from hf_transfer_kit.multitask import DEFAULT_INPUT, MultiTaskModel
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.selection.multitasking import TaskData, TaskSet
from hf_transfer_kit.yaml_texts import read_yaml

_OF_ROWS = ("dataset", "config", "columns", "rows", "train_size", "input")
_OF_LABELS = ("label", "type", "classes")
_OF_HEAD = ("weight", "temperature")
_OF_BALANCE = ("class_weights", "sampler")
_OF_TASK = (*_OF_ROWS, *_OF_LABELS, *_OF_HEAD, *_OF_BALANCE, "metric")


@dataclass
class TaskArguments:
    """Which tasks, on which data, through which inputs; in YAML as mappings."""

    tasks: dict | str | None = field(
        default=None,
        metadata={"help": f"Name -> settings, as YAML: dataset, and of {', '.join(_OF_TASK[1:])}. Without it digits."},
    )
    inputs: dict | str | None = field(
        default=None, metadata={"help": "Name -> settings of separate inputs: channels, vocab_size, processor."}
    )

    train_size: list[str] = field(
        default_factory=list,
        metadata={"help": "Labelled rows of a task to train on, a number or a share: task=100 task=0.05."},
    )

    old_classes: str = field(
        default="replaced",
        metadata={
            "help": "kept: --model_name_or_path is a saved network of several tasks, whose tasks and classes stay; "
            "classes that a task does not know are learned beside them."
        },
    )

    def __post_init__(self) -> None:
        check_choice("--old_classes", self.old_classes, ("kept", "replaced"))
        self.tasks = _mapping("--tasks", self.tasks)
        self.inputs = _mapping("--inputs", self.inputs)
        for text in self.train_size:
            name, _, size = text.partition("=")
            if name not in (self.tasks or {}):
                raise SettingsError(
                    f"--train_size {text}: write task=100 or task=0.05, with the name of a task."
                    f"{did_you_mean(name, self.tasks or {})}"
                )
            self.tasks[name] = {**self.tasks[name], "train_size": row_count("--train_size", size)}
        self._by_name: dict[str | None, Any] = {}
        self.trained: MultiTaskModel | None = None

    def load(
        self, model_args: ModelArguments, preparation: PreparationArguments, balance: ClassBalance | None = None
    ) -> tuple[Callable[[int], PreTrainedModel], TaskSet]:
        """What makes a network from a seed, and the tasks with their rows.

        Raises:
            SettingsError: When a setting is unknown, or missing.
            DataError: When data cannot be read, or does not fit the network.
        """
        stage("Reading the tasks' data")
        self._check()
        self.trained = trained_tasks(model_args, self.tasks) if self.old_classes == "kept" else None
        if self.trained is None:
            make_network = model_args.network_maker(("0", "1"))  # heads are the tasks' own
            network = make_network(0)
        else:
            make_network, network = (lambda seed: self.trained), self.trained.trunk
        groups: dict[str, list[str]] = {}
        for name, settings in self.tasks.items():
            groups.setdefault(yaml.safe_dump([settings.get(key) for key in _OF_ROWS]), []).append(name)
        tasks: dict[str, TaskData] = {}
        seen: dict[str, PreparedData] = {}
        for names in groups.values():
            loaded = self._loaded(names, preparation)
            if self.trained is not None:
                loaded = {name: with_kept_classes(self.trained, name, data) for name, data in loaded.items()}
            given = self.tasks[names[0]].get("input") or self._default_input()
            model_args.check_modality(network, loaded[names[0]])
            prepared = preparation.prepare(
                loaded[names[0]],
                self._processor(given, model_args, network),
                channels=(self.inputs or {}).get(given, {}).get("channels"),
                like=seen.get(given),
            )
            seen.setdefault(given, prepared)
            for name in names:
                settings = self.tasks[name]
                tasks[name] = TaskData(
                    name=name,
                    loaded=loaded[name],
                    prepared=replace(
                        prepared if name == names[0] else prepared.relabelled(loaded[name]),
                        balance=_balance(settings, balance or ClassBalance()),
                    ),
                    group=names[0],
                    input=given,
                    settings={key: settings[key] for key in _OF_HEAD if key in settings},
                    metric=settings.get("metric"),
                )
        inputs = self.inputs and {
            name: {key: value for key, value in (settings or {}).items() if key != "processor"}
            for name, settings in self.inputs.items()
        }
        kept = () if self.trained is None else tuple(self.trained.config.tasks)
        ordered = [tasks[name] for name in self.tasks]
        for prepared in seen.values():
            make_network = model_args.fitted(make_network, prepared)
        return make_network, TaskSet(ordered, inputs, pretrained=model_args.pretrained, kept=kept)

    def _check(self) -> None:
        if not self.tasks:
            raise SettingsError("--tasks names no task; give name: {dataset: ...} for each.")
        for name, settings in (self.inputs or {}).items():
            if not isinstance(settings, Mapping | None):
                raise SettingsError(f"--inputs: {name} is {settings!r}; give it settings, such as {{channels: 1}}.")
        for name, settings in self.tasks.items():
            if not isinstance(settings, Mapping) or not isinstance(settings.get("dataset"), str):
                raise SettingsError(f"--tasks: {name} has no dataset; give it a Hub name, a folder or a file.")
            if unknown := sorted(map(str, set(settings) - set(_OF_TASK))):
                raise SettingsError(
                    f"--tasks: {name} has unknown settings {', '.join(unknown)}; known are {', '.join(_OF_TASK)}."
                    f"{did_you_mean(unknown[0], _OF_TASK)}"
                )
            given = settings.get("input") or self._default_input()
            if not isinstance(given, str) or not re.fullmatch(r"\w[\w .-]*", given):
                raise SettingsError(
                    f"--tasks: {name} reads the input {given!r}, but an input's processor is saved in a folder of its "
                    "name: write letters, digits, '-', '_', '.' and spaces."
                )
            if self.inputs and given not in self.inputs:
                raise SettingsError(
                    f"--tasks: {name} reads the input {given!r}, but the inputs are {', '.join(self.inputs)}. Give it "
                    f"input: one of them.{did_you_mean(given, self.inputs)}"
                )

    def _default_input(self) -> str:
        return next(iter(self.inputs)) if self.inputs and len(self.inputs) == 1 else DEFAULT_INPUT

    def _loaded(self, names: list[str], preparation: PreparationArguments) -> dict[str, LoadedData]:
        """The same rows with each task's labels."""
        first = self.tasks[names[0]]
        further = [self.tasks[name].get("label") for name in names[1:]]
        if None in further or len({self.tasks[name].get("label") for name in names}) < len(names):
            raise SettingsError(
                f"--tasks: {', '.join(names)} read the same rows, so each needs a label column of its own: label: NAME."
            )
        loaded = load_data(
            first["dataset"],
            config_name=first.get("config"),
            input_column=first.get("columns") or preparation.input_column,
            label_column=first.get("label") or preparation.label_column,
            task_type=first.get("type", "classification"),
            rename_classes=first.get("classes"),
            keep_columns=further,
            keep_rows=first.get("rows"),
            train_size=first.get("train_size"),
            validation_size=preparation.validation_size,
            test_size=preparation.test_size,
            missing_label=preparation.missing_label,
            skip_bad_rows=preparation.skip_bad_rows,
            seed=preparation.split_seed,
        )
        found = {names[0]: loaded}
        for name in names[1:]:
            settings = self.tasks[name]
            found[name] = loaded.relabelled(settings["label"], settings.get("type", "classification"))
        return found

    def _processor(self, name: str, model_args: ModelArguments, network: PreTrainedModel) -> Any:
        """The input's own, or the network's; one object where inputs have the same."""
        own = ((self.inputs or {}).get(name) or {}).get("processor")
        if own is None and self.trained is not None:
            return load_inputs(model_args.model_name_or_path, input=name, revision=model_args.model_revision).processor
        if own not in self._by_name:
            self._by_name[own] = (
                model_args.processor(network) if own is None else load_processor(own, modality_of(network))
            )
        return self._by_name[own]


def _balance(settings: Mapping[str, Any], of_all: ClassBalance) -> ClassBalance:
    """A task's own, else what the flags say of all tasks with classes."""
    own = {key: settings[key] for key in _OF_BALANCE if key in settings}
    if settings.get("type", CLASSIFICATION) != CLASSIFICATION:
        of_all = ClassBalance()
    return ClassBalance(own.get("class_weights", of_all.weights), own.get("sampler", of_all.sampler), of_all.metric)


def _mapping(flag: str, value: dict | str | None) -> dict[str, Any] | None:
    if value is None or isinstance(value, Mapping):
        return value
    read = read_yaml(value, what=flag)
    if not isinstance(read, Mapping):
        raise SettingsError(f"{flag} holds a {type(read).__name__}, but must map names to settings.")
    if unnamed := [name for name in read if not isinstance(name, str) or not name]:
        raise SettingsError(f"{flag}: {unnamed[0]!r} is no name. Begin it with a letter.")
    return dict(read)
