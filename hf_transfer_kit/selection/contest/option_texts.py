"""Methods written as text: a name and, after a colon, options: ``"name:option=value,option=value"``."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from hf_transfer_kit.argument_types import check_types, hints_of
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.yaml_texts import read_yaml

_EXPONENT = re.compile(r"[+-]?\d+[eE][+-]?\d+")


def read_text(specification: str) -> tuple[str, dict[str, Any]]:
    """Name and options; values are read as YAML (3, 0.5, true, text).

    Raises:
        SettingsError: When it is no text, an option has no value, stands twice, or its value cannot be read.
    """
    if not isinstance(specification, str):
        raise SettingsError(f"{specification!r} is no text: write name:option=value,option=value.")
    name, _, text = specification.partition(":")
    return name, read_options(specification, text)


def read_options(specification: str, text: str) -> dict[str, Any]:
    """The options of ``"option=value,option=value"``.

    Args:
        specification: All that was written, for the message.
        text: The options.

    Raises:
        SettingsError: As in ``read_text``.
    """
    options: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise SettingsError(f"{specification!r}: {part!r} is no option. Write name:option=value,option=value.")
        if key in options:
            raise SettingsError(f"{specification!r} gives {key} twice. Leave one out.")
        read = read_yaml(value, what=f"{specification!r}: the value of {key}")
        # YAML takes 1e-3 for a text, for it has no dot.
        options[key] = float(read) if isinstance(read, str) and _EXPONENT.fullmatch(read) else read
        if options[key] is None:
            raise SettingsError(f"{specification!r}: {key} has no value. Write {key}=value, or leave it out.")
    return options


def check_option_types(specification: str, given: Mapping[str, Any], *owners: Callable[..., Any]) -> None:
    """Refuses values of another kind than an option has: ``yes`` for a number, ``maybe`` for true or false.

    Args:
        specification: As typed.
        given: Its options.
        owners: Classes and functions whose arguments or fields they are; what these do not tell is let pass.

    Raises:
        SettingsError: With what the option should be.
    """
    check_types(repr(specification), given, {name: hint for owner in owners for name, hint in hints_of(owner).items()})


def check_known(specification: str, given: Iterable[str], allowed: Collection[str], *, owner: str) -> None:
    """Refuses options that nothing reads.

    Args:
        specification: As typed.
        given: Names of its options.
        allowed: Those there are.
        owner: Whose they are, for the message.

    Raises:
        SettingsError: With those there are, and the one that was probably meant.
    """
    if unknown := sorted(set(given) - set(allowed)):
        there = f"its options are {', '.join(allowed)}" if allowed else "it has no options"
        raise SettingsError(
            f"{specification!r}: {', '.join(unknown)} is no option of {owner}; {there}. Write name:option=value."
            f"{did_you_mean(unknown[0], allowed)}"
        )
