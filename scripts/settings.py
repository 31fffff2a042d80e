"""Settings read and written: `--config file.yaml`, over which flags win, and what a run leaves of both."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import torch
import transformers
import yaml
from idle_flags import refuse_idle, typed_flags
from transformers import HfArgumentParser, TrainingArguments

from hf_transfer_kit.disk import is_full
from hf_transfer_kit.errors import FullDiskError, SettingsError, TransferKitError
from hf_transfer_kit.hub import without_tokens
from hf_transfer_kit.registering import load_plugins
from hf_transfer_kit.selection.contest.store import RunStore

# Settings that are about one run on one machine.
_OF_ONE_RUN = (
    "output_dir", "overwrite_output_dir", "local_rank", "cache_dir", "store",
    "push_to_hub", "hub_model_id", "hub_private_repo", "hub_revision", "hub_strategy", "hub_always_push",
)  # fmt: skip
_PATHS = (
    "model_name_or_path",
    "dataset",
    "source",
    "source_model",
    "target",
    "unseen",
    "tasks",
    "inputs",
    "other_sources",
    "replay",
)


def parse_arguments(*kinds: type, recipe: str | None = None, argv: list[str] | None = None) -> tuple:
    """Instances of the given dataclasses from ``--config file.yaml`` and the command line, flags winning.

    Args:
        *kinds: The dataclasses.
        recipe: Name of the script, whose idle flags are refused.
        argv: The command line; default: that of the process.

    Raises:
        SettingsError: When the file cannot be read or holds a name that is no flag, or a flag would do nothing.
    """
    argv = _with_plugins(list(sys.argv[1:] if argv is None else argv))
    parser = HfArgumentParser(kinds)
    if "--config" in argv:
        position = argv.index("--config")
        if position + 1 == len(argv):
            raise SettingsError("--config needs the path of a YAML file after it.")
        known = {f.name for kind in kinds for f in dataclasses.fields(kind)}
        argv = [*_flags_of(argv[position + 1], known), *argv[:position], *argv[position + 2 :]]
    given = typed_flags(kinds, argv)
    refuse_idle(recipe, given)
    _TYPED[:] = given
    return parser.parse_args_into_dataclasses(argv, look_for_args_file=False)


_TYPED: list[str] = []


def typed() -> frozenset[str]:
    """Fields that the user gave a value, on the command line or in ``--config``."""
    return frozenset(_TYPED)


def sentences_for_errors(main: Callable[[], None]) -> None:
    """Runs a script; what the kit raises on purpose ends it with the sentence alone and exit status 2."""
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    try:
        main()
    except TransferKitError as error:
        _leave_where_full(error)
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        _leave_where_full(error)
        raise
    except KeyboardInterrupt:
        print(f"\n{Path(sys.argv[0]).name}: stopped.{_how_to_go_on()}", file=sys.stderr)
        sys.exit(130)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # Threads of a process group that outlive Python's last step abort the process; a model that was wrapped for
        # several processes holds the group as well.
        gc.collect()
        torch.distributed.destroy_process_group()


def _leave_where_full(error: Exception) -> None:
    """Ends the script with a sentence and exit status 1 where a disk is full; else returns."""
    if not is_full(error):
        return
    sentence = str(error)
    if not isinstance(error, FullDiskError):
        place = f" to write {portable(str(error.filename), cut=True)}" if getattr(error, "filename", None) else ""
        sentence = (
            f"No space is left on a disk{place}. What was written before is as it was: free some space, or name other "
            "disks (--output_dir, --cache_dir), and give the same command again."
        )
    print(f"{Path(sys.argv[0]).name}: {sentence}{_how_to_go_on()}", file=sys.stderr)
    sys.exit(1)


def _with_plugins(argv: list[str]) -> list[str]:
    """The command line without ``--plugin FILE``, whose files have been run: on it alone, never in a shared file."""
    files, rest = [], []
    words = iter(argv)
    for word in words:
        if word != "--plugin":
            rest.append(word)
            continue
        path = next(words, None)
        if path is None:
            raise SettingsError("--plugin needs the path of a Python file after it.")
        files.append(path)
    load_plugins(files)
    _PLUGINS[:] = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in files]
    return rest


_PLUGINS: list[str] = []


def plugins() -> list[str]:
    """What the plugin files of this command hold, as hashes: what their members gave hangs on it."""
    return list(_PLUGINS)


_STORES: list[RunStore] = []


def kept_in(store: RunStore) -> None:
    """Notes where finished runs lie, for the sentence after an interruption."""
    _STORES[:] = [store]


def _how_to_go_on() -> str:
    if not _STORES:
        return ""
    store = _STORES[0]
    return (
        f" {len(store)} finished runs are kept in {portable(str(store.folder))}; the same command goes on with what is "
        "missing."
    )


def _flags_of(path: str, known: set[str]) -> list[str]:
    if not Path(path).is_file():
        raise SettingsError(f"--config {path}: there is no such file.")
    try:
        values = yaml.safe_load(Path(path).read_text()) or {}
    except yaml.YAMLError as error:
        raise SettingsError(f"--config {path} is not valid YAML: {error}") from error
    if not isinstance(values, dict) or (unknown := sorted(set(map(str, values)) - known)):
        what = f"names no flag has: {', '.join(unknown)}" if isinstance(values, dict) else "no names with values"
        raise SettingsError(f"--config {path} holds {what}. --help lists the flags.")
    flags = []
    for name, value in values.items():
        if value is None or value == []:
            continue
        entries = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        flags += [f"--{name}", *map(str, entries)]
    return flags


def resolved_config(*arguments: object) -> dict[str, object]:
    """All settings that ``--config`` can read back: the kit's own, and Trainer's where they differ from the default.

    Tokens are left out, and so is what only this run is about (its output folder).
    """
    config: dict[str, object] = {}
    for argument in arguments:
        training = isinstance(argument, TrainingArguments)
        default = type(argument)()
        for f in dataclasses.fields(argument):
            value = getattr(argument, f.name)
            private = "token" in f.name or f.name in _OF_ONE_RUN
            if private or value is None or (training and value == getattr(default, f.name)):
                continue
            value = getattr(value, "value", value)
            if isinstance(value, (bool, int, float, str, list, dict)):
                config[f.name] = _portable(value) if f.name in _PATHS else value
    return config


def _portable(value: object) -> object:
    """A path, or paths wherever they stand in a mapping or list, as seen from the working folder."""
    if isinstance(value, dict):
        return {key: _portable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_portable(inner) for inner in value]
    return portable(value) if isinstance(value, str) else value


def portable(text: str, *, cut: bool = False) -> str:
    """A path as seen from the working folder; other text as it is.

    Args:
        text: Any argument.
        cut: Of a path outside the working folder and its neighbours keep the last part only.
    """
    if not os.path.isabs(text):
        return text
    relative = os.path.relpath(text)
    return Path(text).name if cut and relative.startswith("../..") else relative


def command_line() -> str:
    """The command as typed, without the places of files on this machine and without tokens."""
    return shlex.join(["python", *(portable(argument, cut=True) for argument in without_tokens(sys.argv))])
