"""How an encoder of sentences makes one vector of a text, as the files beside its weights say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

from hf_transfer_kit.errors import ModelError
from hf_transfer_kit.logs import get_logger

logger = get_logger(__name__)

_MODULES = "modules.json"
_KNOWN = {"mean": "mean", "cls": "first", "lasttoken": "last", "max": "max"}
"""sentence-transformers' word -> ``backbones.pooling``'s."""


def own_pooling(name: str, *, revision: str | None = None) -> str | None:
    """The pooling that an encoder of sentences was trained with.

    Args:
        name: A Hub name or a local folder.
        revision: Branch, tag or commit on the Hub.

    Returns:
        One of ``POOLINGS``; None where no file says it, or it is one that these do not give.

    Raises:
        ModelError: When the files cannot be read.
    """
    parts = _read(name, _MODULES, revision)
    if not isinstance(parts, list):
        return None
    places = [part.get("path") for part in parts if str(part.get("type", "")).rpartition(".")[2] == "Pooling"]
    if len(places) != 1 or not isinstance(places[0], str):
        return None
    said = _read(name, f"{places[0]}/config.json", revision)
    modes = _modes(said) if isinstance(said, Mapping) else []
    known = [_KNOWN[mode] for mode in modes if mode in _KNOWN]
    if len(modes) == len(known) == 1:
        return known[0]
    logger.warning(f"{name} pools its texts by {', '.join(modes) or 'no way that its files name'}, which is not known.")
    return None


def _modes(said: Mapping[str, Any]) -> list[str]:
    """Names of the poolings that a file turns on, of sentence-transformers before and since its version 5."""
    mode = said.get("pooling_mode")
    if isinstance(mode, str):
        return [mode]
    if isinstance(mode, list):
        return list(map(str, mode))
    beginning = "pooling_mode_"
    return [name.removeprefix(beginning).removesuffix("_tokens").removesuffix("_token")
            for name, on in said.items() if name.startswith(beginning) and on]  # fmt: skip


def _read(name: str, file: str, revision: str | None) -> Any:
    """What a json file of a checkpoint holds; None where there is none."""
    if Path(name).is_dir():
        path: Path | None = Path(name, file)
    else:
        try:
            found = cached_file(
                name, file, revision=revision, _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_gated_repo=False, _raise_exceptions_for_connection_errors=False,
            )  # fmt: skip
        except OSError:
            return None
        path = Path(found) if found else None
    if path is None or not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} of {name} cannot be read: {error}. Copy or download it anew.") from error
