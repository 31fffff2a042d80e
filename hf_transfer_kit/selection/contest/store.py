"""Finished runs in a folder: the same command, begun again, goes on with what is missing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainingArguments

from hf_transfer_kit.data.contents import contents_hash
from hf_transfer_kit.errors import NotFiniteError
from hf_transfer_kit.features.body_fingerprint import versions
from hf_transfer_kit.features.fingerprints import combined, weights_fingerprint
from hf_transfer_kit.features.ranks import Ranks
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.values.reading import read_value

R = TypeVar("R")
FOLDER = "runs"
"""Where finished runs lie in the folder of a comparison."""
_RECORD, _ARRAYS, _WEIGHTS = "record.json", "arrays.npz", "changed.safetensors"
_INSIDE = "/"
"""Between a field and an entry of it, where the field maps names to arrays."""
_NOT_RESULTS = (
    "output_dir", "run_name", "report_to", "disable_tqdm", "project", "trackio_space_id", "hub_token", "push_to_hub",
    "hub_model_id", "hub_private_repo", "hub_revision", "hub_strategy", "hub_always_push", "resume_from_checkpoint",
    "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers", "dataloader_prefetch_factor",
    "max_steps", "num_train_epochs", "learning_rate", "seed", "data_seed", "include_for_metrics", "log_level",
    "log_level_replica", "local_rank",
)  # fmt: skip
"""Trainer's arguments that say where files go and what is told, or that the budget and the seed stand for."""


class RunStore:
    """One record a run, told by what it depends on, each written whole or not at all.

    A record holds the run's figures and, while the comparison lasts, the weights that training changed; of a run that
    broke, why. Only the first process writes; all read.

    Args:
        folder: Made when the first run is kept.
        facts: Plain values that every run's figures depend on beside what ``run_key`` knows, such as a rounding.
        tell: Called with a sentence for each run that is taken from the store; None says nothing.

    Example:
        >>> store = RunStore("runs")
        >>> found = compare_strategies(make_model, data, ["head_only"], args, budget, store=store)
        >>> again = compare_strategies(make_model, data, ["head_only"], args, budget, store=store)  # trains nothing
        >>> again.results[0].validation == found.results[0].validation
        True
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        facts: Mapping[str, Any] | None = None,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.facts = dict(facts or {})
        self.tell = tell
        self._ranks = Ranks()

    def __len__(self) -> int:
        return len(list(self.folder.glob(f"*/{_RECORD}")))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "tell": None}  # a worker process keeps runs there and says nothing

    def has(self, key: str) -> bool:
        """Whether a run was finished before."""
        return self._ranks.broadcast_from_main(lambda: (self.folder / key / _RECORD).is_file())

    def read(self, key: str, kind: type[R], rebuild: Callable[[], nn.Module], more: Mapping[str, Any]) -> R | None:
        """A run that was kept, with the model that it trained; None where there is none.

        Where its weights are gone, as after the end of a comparison, or it had none, its ``model`` is None.

        Args:
            key: What it depends on: ``run_key``.
            kind: The run's dataclass.
            rebuild: The model as it was before training.
            more: Fields that no file holds, such as the Trainer's arguments.

        Raises:
            NotFiniteError: When it broke, as it did then.
        """
        folder = self.folder / key
        if not self.has(key):
            return None
        record = json.loads((folder / _RECORD).read_text())
        if "failed" in record:
            raise NotFiniteError(record["failed"], record["step"])
        values = record["run"]
        hints = get_type_hints(kind)
        found = {name: read_value(hints[name], value) for name, value in values.items()}
        with np.load(folder / _ARRAYS) as arrays:
            for name in arrays.files:
                field, inside, entry = name.partition(_INSIDE)
                if inside:
                    found.setdefault(field, {})[entry] = arrays[name]
                else:
                    found[name] = arrays[name]
        model = None
        if self._ranks.broadcast_from_main(lambda: (folder / _WEIGHTS).is_file()):
            model = rebuild()
            state = model.state_dict()
            model.load_state_dict({**state, **load_file(folder / _WEIGHTS)})
        return cast(Callable[..., R], kind)(**found, **more, model=model)

    def keep(self, key: str, run: Any, rebuild: Callable[[], nn.Module], facts: Mapping[str, Any]) -> None:
        """Keeps a run.

        Args:
            key: What it depends on.
            run: A dataclass with ``model``; arrays, mappings of arrays and plain values beside it.
            rebuild: The model as it was before training: weights that are as they were are not stored.
            facts: What the key was made of that people may read.
        """

        def write(folder: Path) -> None:
            values, arrays = _plain(run)
            if run.model is not None:
                save_file(_changed(run.model, rebuild()), folder / _WEIGHTS)
            np.savez(folder / _ARRAYS, **cast(dict[str, Any], arrays))
            (folder / _RECORD).write_text(json.dumps({**facts, "run": values}))

        self._write(key, write)

    def keep_failure(self, key: str, error: NotFiniteError, facts: Mapping[str, Any]) -> None:
        """Keeps that a run broke, so that it is not trained again to break again: ``read`` raises the same.

        Args:
            key: What it depends on.
            error: With the sentence, which begins with "not finite", and the step.
            facts: As for ``keep``.
        """
        record = json.dumps({**facts, "failed": str(error), "step": error.step})
        self._write(key, lambda folder: (folder / _RECORD).write_text(record))

    def _write(self, key: str, fill: Callable[[Path], object]) -> None:
        """A record's folder, filled beside its place and moved there whole."""

        def write() -> None:
            self.folder.mkdir(parents=True, exist_ok=True)
            staged = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=self.folder))
            fill(staged)
            shutil.rmtree(self.folder / key, ignore_errors=True)
            os.replace(staged, self.folder / key)

        self._ranks.broadcast_from_main(write)

    def forget_weights(self, keys: Collection[str]) -> None:
        """Drops the weights of these runs, and what was written by half: figures are small, weights are not."""

        def drop() -> None:
            for key in keys:
                (self.folder / key / _WEIGHTS).unlink(missing_ok=True)
            for path in self.folder.glob(".unfinished-*"):
                shutil.rmtree(path, ignore_errors=True)

        self._ranks.broadcast_from_main(drop)


def run_key(
    candidate: str,
    seed: int,
    *,
    budget: Budget | None,
    args: TrainingArguments | None,
    data: str,
    weights: str,
    **more: Any,
) -> str:
    """32 hexadecimal digits for all that a run's figures depend on.

    Args:
        candidate: Its text, options and all.
        seed: Of the run.
        budget: What it may spend; None where it has none.
        args: The user's arguments; where files go and what is logged does not count. None where nothing is trained.
        data: ``data_key`` of its rows.
        weights: ``model_key`` of the network that it begins with.
        **more: Plain values that count as well.
    """
    known = {field.name for field in fields(TrainingArguments)} - set(_NOT_RESULTS)  # a script's own flags are not
    told = ("logging_", "save_", "eval_")
    given = args.to_dict() if args else {}
    settings = {name: value for name, value in given.items() if name in known and not name.startswith(told)}
    if budget is not None:  # whose rows a step are dealt to however many devices
        settings.pop("per_device_train_batch_size", None)
    spent = asdict(budget) if budget else {}
    return combined(candidate, {"seed": seed}, spent, contents_hash(settings), data, weights, versions(), more)


def data_key(*data: Any) -> str:
    """32 hexadecimal digits for rows, collators and what is done to them."""
    return contents_hash(list(data))


def model_key(model: nn.Module) -> str:
    """32 hexadecimal digits for all of a network's weights and buffers."""
    return weights_fingerprint(model.state_dict())


def _plain(run: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The run's plain values and its arrays, but the model and what only its own process can hold."""
    values, arrays = {}, {}
    for field in fields(run):
        value = getattr(run, field.name)
        if field.name == "model":
            continue
        if isinstance(value, np.ndarray):
            arrays[field.name] = value
        elif isinstance(value, Mapping) and value and all(isinstance(one, np.ndarray) for one in value.values()):
            arrays |= {f"{field.name}{_INSIDE}{entry}": one for entry, one in value.items()}
        elif not isinstance(value, nn.Module | TrainingArguments):
            values[field.name] = _jsonable(value)
    return values, arrays


def _jsonable(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _jsonable(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value


def _changed(model: nn.Module, before: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers that are not as they were, on the CPU; tied ones once under each of their names."""
    old = before.state_dict()
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
        if name not in old or not _same(tensor, old[name])
    }


def _same(tensor: Tensor, other: Tensor) -> bool:
    return tensor.shape == other.shape and tensor.dtype == other.dtype and torch.equal(tensor.cpu(), other.cpu())
