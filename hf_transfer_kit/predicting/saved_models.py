"""A saved network with what makes its inputs and what its logits mean, for every kind that a recipe leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from hf_transfer_kit.adaptation.rejection import FILE as REJECTION
from hf_transfer_kit.adaptation.rejection import Rejection
from hf_transfer_kit.backbones.checkpoints import checkpoint_config, loaded_weights
from hf_transfer_kit.backbones.loading import load_model
from hf_transfer_kit.data import RawInputs
from hf_transfer_kit.errors import ModelError, TransferKitError
from hf_transfer_kit.hub.raw_inputs import load_inputs
from hf_transfer_kit.multitask import MultiTaskModel
from hf_transfer_kit.multitask.configuration import SEPARATOR
from hf_transfer_kit.predicting.meaning import Meaning
from hf_transfer_kit.selection.finetuning.transcripts import spell_no_padding
from hf_transfer_kit.task_types import CTC, TOKEN_CLASSIFICATION
from hf_transfer_kit.yaml_texts import read_yaml_file
from hf_transfer_kit.zero_shot import ZeroShotModel

_WORDS = TOKEN_CLASSIFICATION  # read word by word
_TYPES = {"regression": "regression", "multi_label_classification": "multi_label"}


@dataclass(frozen=True)
class Reading:
    """Tasks that read rows in one way.

    Args:
        inputs: What makes their batches.
        meanings: What the logits of each say.
        input: Their input in a network of several tasks.
        words: Whether a text is read as a list of words.
        columns: Input columns of the data that they were measured on, where they are known.
    """

    inputs: RawInputs
    meanings: tuple[Meaning, ...]
    input: str | None = None
    words: bool = False
    columns: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """What rows hold: ``"image"``, ``"audio"`` or ``"text"``."""
        return self.inputs.modality

    def logits(self, network: PreTrainedModel, batch: Mapping[str, Tensor]) -> dict[str | None, Tensor]:
        """Task -> its logits for the rows of a batch, float32 on the CPU."""
        names = [meaning.task for meaning in self.meanings]
        if self.input is None:
            found = network(**batch).logits
        elif len(names) == 1:
            found = network(task=names[0], **batch).logits
        else:
            found = network(**{f"{self.input}{SEPARATOR}{name}": value for name, value in batch.items()}).logits
        by_task = found if isinstance(found, Mapping) else {names[0]: found}
        return {name: by_task[name].float().cpu() for name in names}


def saved_network(folder: Path) -> tuple[PreTrainedModel, tuple[Reading, ...]]:
    """The network in evaluation mode, and how its tasks read rows.

    Raises:
        ModelError: When something there cannot be read, or is of a kind that cannot be asked.
    """
    config = checkpoint_config(str(folder))
    settings = _settings(folder)
    if config.model_type == MultiTaskModel.config_class.model_type:
        network = loaded_weights(AutoModel, str(folder), config).eval()
        return network, _of_tasks(folder, config, settings)
    inputs = load_inputs(folder)
    columns = _columns(settings)
    if config.model_type == ZeroShotModel.config_class.model_type:
        network = loaded_weights(AutoModel, str(folder), config).eval()
        meaning = Meaning("classification", _names(config), measure="score")
        return network, (Reading(inputs, (meaning,), columns=columns),)
    kind = _type_of(config)
    network = load_model(folder, modality=inputs.reads, trained_head=True, task_type=kind)
    if kind == CTC:
        spell_no_padding(network)
    meaning = Meaning(kind, _names(config), rejection=_rejection(folder))
    return network, (Reading(inputs, (meaning,), words=kind == _WORDS, columns=columns),)


def _of_tasks(folder: Path, config: PreTrainedConfig, settings: Mapping[str, Any]) -> tuple[Reading, ...]:
    """Tasks by their input and by whether they read lists of words, in the order of the tasks."""
    groups: dict[tuple[str, bool, tuple[str, ...]], list[Meaning]] = {}
    of_task = settings.get("tasks")
    for name, task in config.tasks.items():
        own = of_task.get(name) if isinstance(of_task, Mapping) else None
        columns = _columns(own if isinstance(own, Mapping) else {})
        known = task.get("id2label", {})
        names = tuple(str(known.get(index, index)) for index in range(task["num_labels"]))
        meaning = Meaning(task["type"], names, task=name, blank=task.get("blank", 0))
        groups.setdefault((task["input"], task["type"] == _WORDS, columns), []).append(meaning)
    inputs = {name: load_inputs(folder, input=name) for name in config.inputs}
    return tuple(
        Reading(inputs[name], tuple(meanings), name, words, columns)
        for (name, words, columns), meanings in groups.items()
    )


def _type_of(config: PreTrainedConfig) -> str:
    kind = next(iter(config.architectures or ()), "")
    if kind.endswith("ForTokenClassification"):
        return _WORDS
    if kind.endswith("ForCTC"):
        return CTC
    return _TYPES.get(str(config.problem_type), "regression" if config.num_labels == 1 else "classification")


def _names(config: PreTrainedConfig) -> tuple[str, ...]:
    names = cast(Mapping[int, str], config.id2label)
    return tuple(str(names[index]) for index in range(len(names)))


def _rejection(folder: Path) -> Rejection | None:
    if not (folder / REJECTION).is_file():
        return None
    try:
        return Rejection.load(folder)
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"{REJECTION} in {folder}, which says what is unknown to the network, cannot be read. Make the run anew, "
            "or remove the file to have every row named."
        ) from error


def _settings(folder: Path) -> Mapping[str, Any]:
    """Those of the run, where they are there and can be read: they only say which column was trained on."""
    try:
        found = read_yaml_file(folder / "config.yaml", what="config.yaml")
    except TransferKitError:
        return {}
    return found if isinstance(found, Mapping) else {}


def _columns(settings: Mapping[str, Any]) -> tuple[str, ...]:
    column = settings.get("input_column")
    return tuple(name.strip() for name in column.split(",")) if isinstance(column, str) else ()
