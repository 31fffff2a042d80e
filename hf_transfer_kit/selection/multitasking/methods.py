"""Ways of training several tasks written as text: ``single``, ``multitask:balancing=pcgrad``, ``replay:rows=50``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask import BALANCERS, MIXINGS, Balancer
from hf_transfer_kit.multitask.balancing import GradientBalancer
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.options import check_choice, check_number
from hf_transfer_kit.selection.contest.option_texts import check_known, check_option_types, read_text

SINGLE = "single"
MULTITASK = "multitask"

METHODS: dict[str, str] = {
    SINGLE: "each task alone, in a network of its own",
    MULTITASK: "all tasks together on one trunk, from the start",
    "sequential": "the source task first, then the others in its network, which may forget",
    "lwf": "the same, held to what the source's network said of the others' rows (learning without forgetting)",
    "replay": "the same, with a few rows of the source task among the others'",
}
"""Name -> one line for people."""

CONTINUING = ("sequential", "lwf", "replay")
"""Those that begin with the network of the source task."""

_OF_ALL = ("balancing", "mixing", "temperature", "shared_from")


@dataclass(frozen=True)
class MultiTaskMethod:
    """A way of training.

    Args:
        text: As typed.
        name: A key of ``METHODS``.
        balancing: A key of ``BALANCERS``.
        balancing_options: Of the balancer.
        mixing: ``MultiTaskDataset``'s rule.
        temperature: Of ``mixing="temperature"``.
        shared_from: First layer groups that each input has for itself; None takes the comparison's.
        rows: Rows of the source task that ``replay`` keeps.
        weight: Weight of the source task's loss in ``lwf``.
    """

    text: str
    name: str
    balancing: str = "fixed"
    balancing_options: Mapping[str, Any] = field(default_factory=dict)
    mixing: str = "equal"
    temperature: float = 2.0
    shared_from: int | None = None
    rows: int = 100
    weight: float = 1.0

    @property
    def continues(self) -> bool:
        """Whether it begins with the network of the source task."""
        return self.name in CONTINUING

    def balancer(self, tasks: Sequence[str], weights: Mapping[str, float], *, own_rows: bool = False) -> Balancer:
        """What makes one loss of those of ``tasks``.

        Args:
            tasks: Their names.
            weights: Task -> fixed weight.
            own_rows: Whether tasks label different rows: gradients are then compared summed over rows, unless the
                method's ``sum_rows`` says otherwise.

        Raises:
            SettingsError: When an option is out of range, or a balancer that finds its own weights is given some.
        """
        if self.balancing == "fixed":
            return cast(Any, BALANCERS["fixed"])(tasks, weights=weights)
        own = {name: weight for name, weight in weights.items() if weight != 1}
        if own:
            raise SettingsError(
                f"{self.text}: {self.balancing} finds the weights itself, but {', '.join(own)} has a weight of "
                "its own. Leave weight out of the tasks, or balance by fixed weights."
            )
        kind, options = BALANCERS[self.balancing], dict(self.balancing_options)
        if own_rows and issubclass(kind, GradientBalancer):
            options.setdefault("sum_rows", True)
        return kind(tasks, **options)


def make_method(specification: str) -> MultiTaskMethod:
    """Reads a method from its name and, after a colon, its options: ``"name:option=value,option=value"``.

    Options of all but ``single`` are ``balancing``, the balancer's own, ``mixing`` and ``temperature``; of all
    ``shared_from``; of ``replay`` also ``rows`` and of ``lwf`` ``weight``.

    Raises:
        SettingsError: When the name or an option is unknown or out of range.

    Example:
        >>> make_method("multitask:balancing=uncertainty").balancing
        'uncertainty'
    """
    name, given = read_text(specification)
    if name not in METHODS:
        raise SettingsError(
            f"There is no method {name!r}; choose from {', '.join(METHODS)}.{did_you_mean(name, METHODS)}"
        )
    balancing = check_choice(repr(specification), "balancing", given.get("balancing", "fixed"), tuple(BALANCERS))
    of_balancer = set(inspect.signature(BALANCERS[balancing]).parameters) - {"tasks", "weights"}
    own = {"replay": ("rows",), "lwf": ("weight",)}.get(name, ())
    allowed = ("shared_from",) if name == SINGLE else (*_OF_ALL, *own, *sorted(of_balancer))
    owner = name if name == SINGLE else f"{name} with balancing={balancing}"
    check_known(specification, given, allowed, owner=owner)
    check_option_types(specification, given, MultiTaskMethod, BALANCERS[balancing])
    found = MultiTaskMethod(
        specification,
        name,
        balancing=balancing,
        balancing_options={key: value for key, value in given.items() if key in of_balancer},
        **{key: given[key] for key in ("mixing", "temperature", "shared_from", "rows", "weight") if key in given},
    )
    _check(found)
    # Trial: the balancer itself knows the range of its options.
    found.balancer(("a", "b"), {})
    return found


def _check(method: MultiTaskMethod) -> None:
    check_choice(repr(method.text), "mixing", method.mixing, tuple(MIXINGS))
    check_number(repr(method.text), "temperature", method.temperature, low=0, above=True)
    check_number(repr(method.text), "weight", method.weight, low=0, above=True)
    whole = {"rows": (method.rows, 1), "shared_from": (method.shared_from or 0, 0)}
    for name, (value, least) in whole.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise SettingsError(f"{method.text!r}: {name}={value!r} must be a whole number, at least {least}.")
