"""Methods written as text: a name and, after a colon, options: ``"name:option=value,option=value"``."""

from __future__ import annotations

from typing import Any

import yaml

from hf_transfer_kit.errors import SettingsError


def read_text(specification: str) -> tuple[str, dict[str, Any]]:
    """Name and options; values are read as YAML (3, 0.5, true, text).

    Raises:
        SettingsError: When an option has no value.
    """
    name, _, text = specification.partition(":")
    options = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise SettingsError(
                f"{specification!r}: {part!r} is no option of {name}. Write name:option=value,option=value."
            )
        options[key] = yaml.safe_load(value)
    return name, options
