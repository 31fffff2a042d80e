"""Methods for several sources written as text: ``joint``, ``joint:average=swad``, ``coral:weight=0.1,view=1``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from hf_transfer_kit.adaptation import SOURCES_OBJECTIVES, SWAD
from hf_transfer_kit.adaptation.objectives.strong_view import strong_view
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.options import check_choice, check_number
from hf_transfer_kit.selection.contest.option_texts import check_known, check_option_types, read_text

JOINT = "joint"
PER_DOMAIN = "per_domain_bn"

METHODS: dict[str, str] = {
    JOINT: SOURCES_OBJECTIVES[JOINT].summary,
    PER_DOMAIN: "BatchNorm statistics of each source apart in training, pooled afterwards",
    **{name: method.summary for name, method in SOURCES_OBJECTIVES.items() if name != JOINT},
}
"""Name -> one line for people."""

_SWAD = ("start_patience", "end_patience", "tolerance")
_OF_EVERY_METHOD = ("view", "invert", "average", *_SWAD)


@dataclass(frozen=True)
class GeneralisationMethod:
    """A method and how it is trained.

    Args:
        text: As typed.
        name: A key of ``METHODS``.
        options: Of the objective.
        view: Amount of ``strong_view`` on the training rows; 0 leaves them as they are.
        invert: Whether that view inverts every second image.
        average: ``"swad"``: the mean of the weights over the flat region of the validation loss is kept; ``"none"``.
        averaging: Options of ``SWAD``.
    """

    text: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    view: float = 0.0
    invert: bool = False
    average: str = "none"
    averaging: Mapping[str, Any] = field(default_factory=dict)

    @property
    def objective(self) -> str:
        """A key of ``SOURCES_OBJECTIVES``."""
        return JOINT if self.name == PER_DOMAIN else self.name

    @property
    def batch_norm(self) -> str:
        """``"per_domain"`` or ``"joint"``."""
        return "per_domain" if self.name == PER_DOMAIN else "joint"

    @property
    def change(self) -> Callable[[Tensor], Tensor] | None:
        """What is done to training rows, or None."""
        return partial(strong_view, amount=self.view, invert=self.invert) if self.view else None

    @property
    def with_one_source(self) -> tuple[Any, ...]:
        """What is left of it where there is one source: no pair of sources, one weight, one set of statistics."""
        return (self.view, self.invert and bool(self.view), self.average, tuple(sorted(self.averaging.items())))


def make_generalisation_method(specification: str, *, invert: bool = False) -> GeneralisationMethod:
    """Reads a method from its name and, after a colon, its options: ``"name:option=value,option=value"``.

    Args:
        specification: The text. Options are those of the objective and, for every method, ``view``, ``invert``,
            ``average`` and, where that is ``swad``, ``start_patience``, ``end_patience`` and ``tolerance``.
        invert: Whether strong views invert every second image where the text does not say.

    Raises:
        SettingsError: When the name or an option is unknown or out of range.

    Example:
        >>> make_generalisation_method("coral:weight=0.1,average=swad").text
        'coral:weight=0.1,average=swad'
    """
    name, given = read_text(specification)
    if name not in METHODS:
        raise SettingsError(
            f"There is no method {name!r} for several sources; choose from {', '.join(METHODS)}."
            f"{did_you_mean(name, METHODS)}"
        )
    objective = SOURCES_OBJECTIVES[JOINT if name == PER_DOMAIN else name]
    allowed = set(inspect.signature(objective).parameters) - {"count"}
    average = check_choice(name, "average", given.get("average", "none"), ("none", "swad"))
    general = [option for option in _OF_EVERY_METHOD if average == "swad" or option not in _SWAD]
    check_known(specification, given, [*sorted(allowed), *general], owner=name)
    check_option_types(specification, given, GeneralisationMethod, objective, *([SWAD] if average == "swad" else []))
    options = {key: value for key, value in given.items() if key in allowed}
    averaging = {key: value for key, value in given.items() if key in _SWAD}
    objective(count=2, **options)  # trials: both know the range of their options
    SWAD(**averaging)
    return GeneralisationMethod(
        specification,
        name,
        options,
        view=check_number(name, "view", given.get("view", 0.0), low=0),
        invert=bool(given.get("invert", invert)),
        average=average,
        averaging=averaging,
    )
