"""Settings files that a command line names by ``--config``, as the flags that stand for them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import get_type_hints

from hf_transfer_kit.commands.edge.named_commands import PROGRAM, program
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.yaml_texts import read_yaml_file

# What runs somebody's code, replaces files, or lets something leave this machine: said on the command line alone, for a
# settings file may be somebody else's. None of them is saved.
COMMAND_LINE_ONLY = ("trust_remote_code", "plugin", "overwrite_output_dir", "push_to_hub", "hub_token")
_EITHER = (("max_steps", "num_train_epochs"), ("batch_size", "per_device_train_batch_size"))
EITHER = {**dict(_EITHER), **{other: name for name, other in _EITHER}}
"""Flags that say the same in two ways: of both, one would do nothing."""


def merged_settings(kinds: Sequence[type], argv: Sequence[str]) -> list[str]:
    """The command line with the flags of its settings files before its own, so that its own win.

    Of two files the later wins. What is typed also displaces the other way of saying it in a file: epochs typed over a
    file's steps are meant.

    Args:
        kinds: The dataclasses that are parsed.
        argv: The command line.

    Raises:
        SettingsError: When a file cannot be read, holds a name that is no flag, that only the command line may give or
            that has no value; when a list is typed twice.
    """
    names, hints = {}, {}
    for kind in kinds:
        types = get_type_hints(kind)
        for field in dataclasses.fields(kind):
            for name in (field.name, *(alias.strip("-") for alias in field.metadata.get("aliases", ()))):
                names[name], hints[name] = field.name, str(types[field.name])
    typed, values = [], {}
    words = iter(word for text in argv for word in (text.split("=", 1) if text.startswith("--config=") else [text]))
    for word in words:
        if word != "--config":
            typed.append(word)
        elif (path := next(words, None)) is None:
            raise SettingsError("--config needs the path of a YAML file after it.")
        else:
            values.update({name: (path, value) for name, value in _values_of(path, hints).items()})
    flags = [word[2:].partition("=")[0].replace("-", "_") for word in typed if word[:2] == "--"]
    given = [names.get(flag, flag) for flag in flags]
    _refuse_repeated(given, hints)
    _refuse_several(typed, names, hints)
    for name in given:
        values.pop(EITHER.get(name, ""), None)
    return [flag for name, (path, value) in values.items() for flag in _flags_of(path, name, value, hints)] + typed


def _refuse_repeated(typed: Sequence[str], hints: Mapping[str, str]) -> None:
    """A list that is typed twice: the parser would keep the last one alone."""
    for name in dict.fromkeys(typed):
        if typed.count(name) > 1 and "list" in hints.get(name, ""):
            raise SettingsError(f"--{name} stands twice. Give all its values behind one --{name}.")


def _refuse_several(typed: Sequence[str], names: Mapping[str, str], hints: Mapping[str, str]) -> None:
    """Several values behind a flag that bears the name of a list in other recipes."""
    for place, flag in enumerate(typed):
        name = flag[2:] if flag[:2] == "--" else ""
        if name in names and name != names[name] and "list" not in hints[name]:
            given = list(takewhile(lambda word: word[:2] != "--", typed[place + 1 :]))
            if len(given) > 1:
                raise SettingsError(
                    f"{flag} {' '.join(given)}: {program()} takes one value, so give one; {PROGRAM} run compares "
                    "several strategies and seeds."
                )


def _values_of(path: str, hints: Mapping[str, str]) -> dict[str, object]:
    values = read_yaml_file(path, what=f"--config {path}")
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"--config {path} holds no names with values. --help lists the flags.")
    _refuse_switches(path, values)
    if unknown := [str(name) for name in values if name not in hints]:
        raise SettingsError(
            f"--config {path} holds names no flag has: {', '.join(sorted(unknown))}. --help lists the flags."
            f"{did_you_mean(unknown[0], hints)}"
        )
    if empty := [name for name, value in values.items() if value is None]:
        raise SettingsError(f"--config {path}: {empty[0]} has no value. Give it one, or leave the line out.")
    return {name: value for name, value in values.items() if value != []}


def _flags_of(path: str, name: str, value: object, hints: Mapping[str, str]) -> list[str]:
    if isinstance(value, dict) and "dict" not in hints[name]:
        raise SettingsError(f"--config {path}: {name} is a mapping, but its flag takes no mapping. Give a value.")
    several = isinstance(value, list) and "list" in hints[name]
    if isinstance(value, list) and (not several or any(isinstance(entry, dict | list) for entry in value)):
        what = "a list of lists or mappings" if several else "a list"
        raise SettingsError(f"--config {path}: {name} is {what}, which its flag does not take. Give a value.")
    entries = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
    for entry in entries:
        if isinstance(entry, str) and entry.startswith("-") and not _is_number(entry):
            # It would be read as a flag of its own, one of those that a file cannot give among them.
            raise SettingsError(f"--config {path}: {name} is {entry!r}, but no value begins with a dash.")
    if not several or (len(entries) == 1 and str(entries[0]).startswith("-")):
        return [f"--{name}={entries[0]}"]  # argparse takes -1e-05 for a flag otherwise
    return [f"--{name}", *map(str, entries)]


def _refuse_switches(path: str, values: object) -> None:
    if not isinstance(values, dict):
        return
    names = [str(name).strip("-").replace("-", "_") for name, value in values.items() if value not in (None, False)]
    if given := [name for name in COMMAND_LINE_ONLY if name in names]:
        raise SettingsError(
            f"--config {path} sets {', '.join(given)}, which only the command line may: a settings file may be "
            f"somebody else's, and this runs code, replaces files or sends something away. If you want it, type "
            f"--{given[0]}."
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
