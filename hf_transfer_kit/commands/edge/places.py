"""Which settings name files: an output folder apart from them, and as a saved settings file keeps them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hf_transfer_kit.data import EMBEDDED
from hf_transfer_kit.hub import check_output_dir
from hf_transfer_kit.hub.command import DATA_SETTINGS, MODEL_SETTINGS, OTHER_SETTINGS
from hf_transfer_kit.hub.output_folder import RESULTS
from hf_transfer_kit.selection import FRESH_NETWORKS

# Of mappings the entries that name files.
_NESTED = {"tasks": ("dataset",), "inputs": ("processor",)}


def checked_output(args, *arguments: object, names: Sequence[str] = RESULTS) -> None:
    """Refuses an output folder that holds what others made, or that is the data's or the model's.

    Args:
        args: With ``output_dir`` and ``overwrite_output_dir``.
        arguments: The other dataclasses of flags.
        names: What the script writes.

    Raises:
        SettingsError: As ``check_output_dir``.
    """
    kinds = (DATA_SETTINGS, MODEL_SETTINGS)
    data, models = ({f"--{name}": _named(name, arguments) for name in settings} for settings in kinds)
    data["--tasks"], models["--inputs"] = (_nested(name, arguments) for name in ("tasks", "inputs"))
    check_output_dir(args.output_dir, overwrite=args.overwrite_output_dir, names=names, data=data, models=models)


def absolute(name: str, value: object) -> object:
    """A setting as a saved file keeps it: what is a path here is absolute, so that it is found from any folder.

    What is pushed names the last part of such a path only (``settings_without_local_paths``).
    """
    if name in _NESTED and isinstance(value, Mapping):
        return {key: _absolute_entries(entry, _NESTED[name]) for key, entry in value.items()}
    if name == "unseen" and isinstance(value, list):  # classes of zero_shot.py
        return value
    if name in (*DATA_SETTINGS, *MODEL_SETTINGS, *OTHER_SETTINGS):
        return [_absolute(text) for text in value] if isinstance(value, list) else _absolute(value)
    return value


def _absolute_entries(entry: object, keys: Sequence[str]) -> object:
    if not isinstance(entry, Mapping):
        return entry
    return {key: _absolute(value) if key in keys else value for key, value in entry.items()}


def _absolute(value: object) -> object:
    if not isinstance(value, str) or value in EMBEDDED or value in FRESH_NETWORKS or not os.path.exists(value):
        return value
    return os.path.abspath(value)


def _named(name: str, arguments: Sequence[object]) -> list[str]:
    """What the flag of this name holds, in whichever dataclass it is."""
    values = [getattr(argument, name) for argument in arguments if name in _fields(argument)]
    if name == "unseen":
        values = [value for value in values if isinstance(value, str)]
    texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
    return [text for text in texts if isinstance(text, str) and text not in EMBEDDED and text not in FRESH_NETWORKS]


def _nested(name: str, arguments: Sequence[object]) -> list[str]:
    mappings = [getattr(argument, name) or {} for argument in arguments if name in _fields(argument)]
    entries = [entry for mapping in mappings for entry in mapping.values() if isinstance(entry, Mapping)]
    return [
        str(entry[key]) for entry in entries for key in _NESTED[name] if entry.get(key) and entry[key] not in EMBEDDED
    ]


def _fields(argument: object) -> set[str]:
    return {field.name for field in dataclasses.fields(argument)}


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
