"""A transferred model to call on files, folders, tables, texts, pictures and waves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from torch import nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.data.collating import on_device
from hf_transfer_kit.errors import SettingsError, first_line
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.options import check_choice, check_int
from hf_transfer_kit.predicting.answers import Answer
from hf_transfer_kit.predicting.batches import OTHER_KIND, Batch, batches
from hf_transfer_kit.predicting.given_rows import RowReader
from hf_transfer_kit.predicting.meaning import Meaning, finite_rows
from hf_transfer_kit.predicting.predictions import Predictions, SkippedRow
from hf_transfer_kit.predicting.saved_folders import model_folder
from hf_transfer_kit.predicting.saved_models import Reading, saved_network
from hf_transfer_kit.zero_shot import AttributeTable, ZeroShotModel

DTYPES = ("float32", "bfloat16", "float16")
_NOT_FINITE = "what the network says of it is no finite number"


@checked_arguments()
def load_transferred(
    name_or_path: str | Path,
    *,
    classes: AttributeTable | str | Path | Dataset | Mapping[str, Any] | None = None,
    device: str | torch.device | None = None,
    dtype: str = "float32",
    revision: str | None = None,
) -> TransferredModel:
    """Loads what a recipe has left (a classifier, adapters merged or not, several tasks, classes never seen, an adapted
    network) with what makes its inputs, to be called on new rows.

    Args:
        name_or_path: A run's folder, a snapshot of the Hub, or a Hub name.
        classes: Further classes of a zero-shot network: a table of their attributes (see ``AttributeTable.of``).
        device: Such as ``"cpu"`` or ``"cuda:1"``; None: an accelerator where there is one.
        dtype: Of the network's arithmetic: ``"float32"``, as it was measured, or half precision through autocast.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ModelError: When the folder is not there, or holds no transferred model; near names are told.
        SettingsError: When an argument is none of what it may be, or classes are given to a network with its own.
        DataError: When the table of classes does not fit.

    Example:
        >>> from PIL import Image
        >>> model = load_transferred(finished, device="cpu")
        >>> answer = model(Image.new("RGB", (40, 30), "red"), top=2)[0]
        >>> answer.label == answer.top[0][0], len(answer.top)
        (True, 2)
    """
    check_choice("load_transferred", "dtype", dtype, DTYPES)
    chosen = _device(device)
    folder = model_folder(name_or_path, revision=revision)
    network, readings = saved_network(folder)
    model = TransferredModel(network, readings, name=folder.absolute().name, dtype=dtype)
    if classes is not None:
        model.set_classes(classes)
    try:
        cast(nn.Module, network).to(chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingsError(f"device={device!r} cannot be used: {first_line(error)}. Give 'cpu'.") from error
    return model


class TransferredModel:
    """A network that is asked as it was measured; ``load_transferred`` makes it.

    Args:
        network: In evaluation mode.
        readings: How its tasks read rows.
        name: For people.
        dtype: Of its arithmetic.

    Attributes:
        network: The network.
        kinds: What it reads: some of ``"image"``, ``"audio"``, ``"text"``.
        tasks: Names of its tasks; empty for a network of one.

    Example:
        >>> isinstance(load_transferred(finished), TransferredModel)
        True
    """

    def __init__(
        self, network: PreTrainedModel, readings: tuple[Reading, ...], *, name: str, dtype: str = "float32"
    ) -> None:
        self.network = network
        self.name = name
        self.dtype = dtype
        self._readings = readings
        self.kinds = tuple(dict.fromkeys(reading.kind for reading in readings))
        asked = {meaning.task for reading in readings for meaning in reading.meanings}
        # In the order in which they were trained; readings keep those together that are read alike.
        self.tasks: tuple[str, ...] = tuple(task for task in getattr(network.config, "tasks", ()) if task in asked)

    @property
    def readings(self) -> tuple[Reading, ...]:
        """How its tasks read rows."""
        return self._readings

    @property
    def classes(self) -> dict[str | None, tuple[str, ...]]:
        """Task -> names of its classes or numbers; under None those of a network of one task."""
        return {task: meaning.names for task, meaning in self._meanings().items()}

    @checked_arguments()
    def __call__(
        self,
        inputs: Any,
        *,
        task: str | None = None,
        top: int = 3,
        batch_size: int = 32,
        input_column: str | None = None,
        sampling_rate: int | None = None,
        progress: bool | None = None,
    ) -> Predictions:
        """What the network says of rows.

        Args:
            inputs: One or a list of: paths of pictures or sounds, folders of them (with all below), tables (csv,
                parquet, json) that hold rows or name files, ``.txt`` with a text a line, a ``datasets.Dataset``, PIL
                pictures, arrays (of pictures (H, W) or (H, W, 3), of waves (samples,)), what ``datasets`` decodes.
                Of a network that reads texts a text in a list is a text and a ``Path`` a file; pairs of texts are
                tuples, lists of words lists. Or task -> its own inputs.
            task: Of several the one that is asked; None: all, each through its own input.
            top: Classes that are told of each row.
            batch_size: Rows at once.
            input_column: Of tables; None: the one that was trained on, or the only one that fits. Two names joined by a
                comma for pairs of texts.
            sampling_rate: In Hz, of arrays of waves.
            progress: Whether a bar is shown; None: on a terminal.

        Returns:
            Answers in the order of the rows; rows that cannot be read are in ``skipped`` with the reasons.

        Raises:
            SettingsError: When there is no such task, or a number is out of range.
            DataError: When a table has no column to read, or what is given is nothing that holds rows.
        """
        check_int("predict", "top", top, low=1)
        check_int("predict", "batch_size", batch_size, low=1)
        if sampling_rate is not None:
            check_int("predict", "sampling_rate", sampling_rate, low=1)
        options: dict[str, Any] = {"top": top, "batch_size": batch_size, "progress": progress}
        reading: dict[str, Any] = {"input_column": input_column, "sampling_rate": sampling_rate}
        if task is None and isinstance(inputs, Mapping) and inputs and set(inputs) <= set(self.tasks):
            return _joined([self(given, task=name, **options, **reading) for name, given in inputs.items()])
        asked = self._asked(task)
        found: dict[int, list[Answer]] = {}
        problems: dict[int, list[tuple[str | int, str]]] = {}
        given = list(inputs) if hasattr(inputs, "__next__") else inputs  # a generator is read once
        for each in asked:
            reader = RowReader(self.kinds, each.words, each.columns, **reading)
            rows = reader.rows(given)
            with tqdm(total=len(rows), unit="row", desc=self.name, disable=_hidden(progress)) as bar:
                for batch in batches(rows, each, batch_size):
                    answers, lost = self._answers(batch, each, top)
                    not_finite = {place: (batch.names[batch.places.index(place)], _NOT_FINITE) for place in lost}
                    for place, problem in {**batch.problems, **not_finite}.items():
                        problems.setdefault(place, []).append(problem)
                    for place, said in answers.items():
                        found.setdefault(place, []).extend(said)
                    bar.update(len(batch.places) + len(batch.problems))
        return self._collected(found, problems)

    def set_classes(
        self, rows: AttributeTable | str | Path | Dataset | Mapping[str, Any], *, replace: bool = False
    ) -> TransferredModel:
        """Adds classes to a zero-shot network, without training, or gives classes other attributes.

        Args:
            rows: A table of the same attributes.
            replace: Whether these are all classes from now on.

        Returns:
            Itself.

        Raises:
            SettingsError: When the network is no zero-shot network.
            DataError: When the table does not fit.
        """
        if not isinstance(self.network, ZeroShotModel):
            raise SettingsError(
                f"Classes can be added to a network of zero_shot.py alone, and {self.name} learned its own. Leave the "
                "table out, or train it with zero_shot."
            )
        self.network.set_classes(rows, replace=replace)
        (reading,), names = self._readings, self.network.table.classes
        meanings = tuple(dataclasses.replace(meaning, names=names) for meaning in reading.meanings)
        self._readings = (dataclasses.replace(reading, meanings=meanings),)
        return self

    def __repr__(self) -> str:
        told = []
        for task, meaning in self._meanings().items():
            names = ", ".join(meaning.names[:5]) + ", ..." * (len(meaning.names) > 5)
            several = f" ({len(meaning.names)}: {names})" if len(meaning.names) > 1 else ""
            told.append(f"{'' if task is None else f'{task}: '}{meaning.type}{several}")
        return f"TransferredModel({self.name}, reads {' and '.join(self.kinds)}; {'; '.join(told)})"

    def _meanings(self) -> dict[str | None, Meaning]:
        by_task = {meaning.task: meaning for reading in self._readings for meaning in reading.meanings}
        return {task: by_task[task] for task in self.tasks or (None,)}

    def _asked(self, task: str | None) -> tuple[Reading, ...]:
        if task is None:
            return self._readings
        if task not in self.tasks:
            there = f"it has {', '.join(self.tasks)}" if self.tasks else "it has one task, which needs no name"
            raise SettingsError(f"{self.name} has no task {task!r}; {there}.{did_you_mean(task, self.tasks)}")
        of_task = [(r, m) for r in self._readings for m in r.meanings if m.task == task]
        return tuple(dataclasses.replace(reading, meanings=(meaning,)) for reading, meaning in of_task)

    @torch.no_grad()
    def _answers(self, batch: Batch, reading: Reading, top: int) -> tuple[dict[int, list[Answer]], list[int]]:
        """Place -> answers, and the places of rows of which the network says nothing finite."""
        if batch.tensors is None:
            return {}, []
        device = self.network.device
        half = torch.autocast(device.type, getattr(torch, self.dtype), enabled=self.dtype != "float32")
        with seeded_eval_mode(self.network, 0), half:
            logits = reading.logits(self.network, on_device(batch.tensors, device))
        finite = finite_rows(logits)
        kept = [row for row, whole in enumerate(finite) if whole]
        found: dict[int, list[Answer]] = {batch.places[row]: [] for row in kept}
        if kept:
            names, values = ([of[row] for row in kept] for of in (batch.names, batch.values))
            for meaning in reading.meanings:
                said = meaning.answers(logits[meaning.task][kept], names, values, reading.inputs, top)
                for row, answer in zip(kept, said, strict=True):
                    found[batch.places[row]].append(answer)
        return found, [batch.places[row] for row, whole in enumerate(finite) if not whole]

    def _collected(
        self, found: Mapping[int, list[Answer]], problems: Mapping[int, list[tuple[str | int, str]]]
    ) -> Predictions:
        """Rows in their order, of each the tasks in theirs; a row that no task answers was skipped."""
        order = {task: place for place, task in enumerate(self.tasks)}
        answers = [
            answer
            for place in sorted(found)
            for answer in sorted(found[place], key=lambda answer: order.get(answer.task or "", 0))
        ]
        skipped = []
        for place in sorted(problems):
            # What one input does not read, another may; anything else that is wrong with a row is told.
            wrong = [told for told in problems[place] if told[1] != OTHER_KIND]
            if wrong or place not in found:
                skipped.append(SkippedRow(*(wrong or problems[place])[0]))
        return Predictions(tuple(answers), tuple(skipped))


def _joined(parts: list[Predictions]) -> Predictions:
    return Predictions(tuple(a for part in parts for a in part), tuple(s for part in parts for s in part.skipped))


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return found or torch.device("cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise SettingsError(f"device={device!r} is no device ({first_line(error)}). Give 'cpu' or 'cuda'.") from error


def _hidden(progress: bool | None) -> bool | None:
    """As tqdm has it: None hides the bar where the output is no terminal."""
    return None if progress is None else not progress
