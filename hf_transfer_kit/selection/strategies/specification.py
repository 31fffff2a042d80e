"""Strategies written as text: ``head_only``, ``freeze_first:k=3``, ``small_lr:factor=0.01``."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.selection.contest.option_texts import check_known, check_option_types, read_options
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
    if not isinstance(specification, str):
        raise SettingsError(f"{specification!r} is no strategy: give a text such as 'freeze_first:k=3'.")
    name, _, options = specification.partition(":")
    if name not in STRATEGIES:
        raise SettingsError(
            f"There is no strategy {name!r}; choose from {', '.join(STRATEGIES)}.{did_you_mean(name, STRATEGIES)}"
        )
    allowed = sorted((field.name for field in fields(STRATEGIES[name])), key="head".__eq__)  # of all, so last
    if options == AUTO and "k" in allowed:
        options = f"k={AUTO}"
    # Options without a value are looked at as well, for their name may be what is wrong.
    check_known(specification, [o.partition("=")[0] for o in options.split(",") if o], allowed, owner=name)
    values = read_options(specification, options)
    check_option_types(specification, values, STRATEGIES[name])
    return STRATEGIES[name](**values)


def strategy_text(strategy: Strategy) -> str:
    """The text that ``make_strategy`` turns into this strategy; options at their default are left out.

    Example:
        >>> strategy_text(make_strategy("freeze_first:k=3"))
        'freeze_first:k=3'
    """
    defaults: dict[str, tuple[Any, ...]] = {field.name: (field.default,) for field in fields(strategy)}
    defaults["head"] = (None, strategy.begins_with)
    options = [f"{name}={value}" for name, usual in defaults.items() if (value := getattr(strategy, name)) not in usual]
    return strategy.name + (":" + ",".join(options) if options else "")
