"""Strategies written as text: ``head_only``, ``freeze_first:k=3``, ``small_lr:factor=0.01``."""

from __future__ import annotations

from dataclasses import fields

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.contest.option_texts import read_text
from hf_transfer_kit.selection.strategies import STRATEGIES, Strategy
from hf_transfer_kit.selection.strategies.freeze_first import AUTO


def make_strategy(specification: str | Strategy) -> Strategy:
    """Builds a strategy from its name and, after a colon, its options: ``"name:option=value,option=value"``.

    ``freeze_first:auto`` is short for ``freeze_first:k=auto``.

    Args:
        specification: The text; a Strategy is returned as it is. Values are read as YAML (3, 0.5, true, text).

    Raises:
        SettingsError: When the name or an option is unknown, or the text cannot be read.
    """
    if isinstance(specification, Strategy):
        return specification
    name, _, options = specification.partition(":")
    if name not in STRATEGIES:
        raise SettingsError(f"There is no strategy {name!r}; choose from {', '.join(STRATEGIES)}.")
    allowed = [field.name for field in fields(STRATEGIES[name])]
    short = options == AUTO and "k" in allowed
    _, values = read_text(f"{name}:k={AUTO}" if short else specification)
    if unknown := sorted(set(values) - set(allowed)):
        known = f"its options are {', '.join(allowed)}" if allowed else "it has no options"
        raise SettingsError(
            f"{specification!r}: {', '.join(unknown)} is no option of {name}; {known}. Write name:option=value."
        )
    return STRATEGIES[name](**values)


def strategy_text(strategy: Strategy) -> str:
    """The text that ``make_strategy`` turns into this strategy; options at their default are left out."""
    options = [
        f"{field.name}={value}"
        for field in fields(strategy)
        if (value := getattr(strategy, field.name)) != field.default
    ]
    return strategy.name + (":" + ",".join(options) if options else "")
