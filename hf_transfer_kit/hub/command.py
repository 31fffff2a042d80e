"""The command and the settings of a run as others may read them.

The rule for paths: in the folder of a run they are absolute, so that ``--config`` finds them from wherever it is given;
what leaves the machine names the last part only, in the command, the card and the settings alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import yaml

DATA_SETTINGS = ("dataset", "source", "target", "unseen", "replay", "source_data", "attributes")
"""Settings that may name files of data."""
MODEL_SETTINGS = ("model_name_or_path", "source_model", "other_sources", "models", "describe_with", "processor")
"""Settings that may name folders of networks."""
OTHER_SETTINGS = ("deepspeed", "fsdp_config", "accelerator_config")
"""Settings of Trainer that may name files."""
_NAMES = (*DATA_SETTINGS, *MODEL_SETTINGS, *OTHER_SETTINGS)


def without_local_paths(command: str) -> str:
    """The command with the folders of absolute and upward paths cut off: only their last part says something."""
    return re.sub(r"(?<![\w.])(?:~|\.{1,2}|(?=/))(?:/[^\s/'\"]+)*/([^\s/'\"]+)", r"\1", command)


def settings_without_local_paths(text: str) -> str:
    """A saved config.yaml with the absolute paths of its settings cut to their last part."""
    try:
        settings = yaml.safe_load(text)
    except yaml.YAMLError:
        return text  # not as a run wrote it; its paths are looked for like those of any text
    cut = _cut(settings)
    return text if cut == settings else yaml.safe_dump(cut, sort_keys=False, allow_unicode=True)


def _cut(settings: object) -> object:
    if not isinstance(settings, dict):
        return settings
    return {name: _last_part(name, value) if name in _NAMES else _cut(value) for name, value in settings.items()}


def _last_part(name: str, value: object) -> object:
    if isinstance(value, list):
        # Of zero_shot.py --unseen names classes.
        return value if name == "unseen" else [_last_part(name, entry) for entry in value]
    if isinstance(value, str) and re.match(r"[/~]|[A-Za-z]:\\", value):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return _cut(value)


def without_tokens(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command without ``--hub_token`` and its value, however short the flag was written.

    Example:
        >>> without_tokens(["--hub_token", "hf_secret", "--seed", "1"])
        ['--seed', '1']
    """
    kept, rest = [], iter(arguments)
    for argument in rest:
        name, equals, _ = argument.removeprefix("--").replace("-", "_").partition("=")
        if argument.startswith("--") and "hub_token".startswith(name) and len(name) > len("hub_"):
            if not equals:
                next(rest, None)
        else:
            kept.append(argument)
    return kept
