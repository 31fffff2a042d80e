"""Strategies written as text: ``head_only``, ``freeze_first:k=3``, ``small_lr:factor=0.01``."""

from __future__ import annotations

from dataclasses import fields

import yaml

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.strategies import STRATEGIES, Strategy
from hf_transfer_kit.selection.strategies.freeze_first import AUTO


def make_strategy(specification: str | Strategy) -> Strategy:
    """Builds a strategy from its name and, after a colon, its options: ``"name:option=value,option=value"``.

    ``freeze_first:auto`` is short for ``freeze_first:k=auto``.

    Args:
        specification: The text; a Strategy is returned as it is. Values are read as YAML (3, 0.5, true, text).

    Raises:
        SettingsError: When the name or an option is unknown, or the text cannot be read.

    Example:
        >>> make_strategy("freeze_first:k=3")
        FreezeFirst(k=3)
    """
    if isinstance(specification, Strategy):
        return specification
    name, _, options = specification.partition(":")
    if name not in STRATEGIES:
        raise SettingsError(f"There is no strategy {name!r}; choose from {', '.join(STRATEGIES)}.")
    allowed = [field.name for field in fields(STRATEGIES[name])]
    values = {}
    if options == AUTO and "k" in allowed:
        options = f"k={AUTO}"
    for option in filter(None, options.split(",")):
        key, equals, value = option.partition("=")
        if not equals or key not in allowed:
            known = f"its options are {', '.join(allowed)}" if allowed else "it has no options"
            raise SettingsError(
                f"{specification!r}: {option!r} is no option of {name}; {known}. Write name:option=value."
            )
        values[key] = yaml.safe_load(value)
    return STRATEGIES[name](**values)


def strategy_text(strategy: Strategy) -> str:
    """The text that ``make_strategy`` turns into this strategy; options at their default are left out.

    Example:
        >>> strategy_text(make_strategy("freeze_first:k=3"))
        'freeze_first:k=3'
    """
    options = [
        f"{field.name}={value}"
        for field in fields(strategy)
        if (value := getattr(strategy, field.name)) != field.default
    ]
    return strategy.name + (":" + ",".join(options) if options else "")
