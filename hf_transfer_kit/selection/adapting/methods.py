"""Methods of adaptation written as text: ``dann``, ``dann:view=1``, ``adamatch:source_weight=1,teacher=0.999``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from hf_transfer_kit.adaptation import ALIGNMENTS, OBJECTIVES, SOURCE_FREE
from hf_transfer_kit.adaptation.configuration import BATCH_NORMS
from hf_transfer_kit.adaptation.objectives.strong_view import mirrored, strong_view
from hf_transfer_kit.adaptation.target_style import in_style_of
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.options import check_choice, check_number
from hf_transfer_kit.registering import Summaries
from hf_transfer_kit.selection.contest.option_texts import check_known, check_option_types, read_text
from hf_transfer_kit.selection.strategies.strategy import PROBE

LAST = "last"
"""In place of a score: the weights at the end are kept."""
SELECT = "bnm"
"""The score that chooses by default: the best of those that Musgrave et al. (2022) compare for most methods."""
SHALLOW = "shallow"
SOURCE_ONLY = "source_only"
TARGET_SUPERVISED = "target_supervised"
SOURCE_MODEL = "source_model"

METHODS: Mapping[str, str] = Summaries(
    OBJECTIVES,
    last={
        "adabn": "trained on the source alone, BatchNorm statistics of the target",
        TARGET_SUPERVISED: "trained on the target with its labels",
        SHALLOW: "frozen features, aligned, and a logistic regression",
    },
)
"""Name -> one line for people."""

SOURCE_FREE_METHODS: Mapping[str, str] = Summaries(
    SOURCE_FREE,
    first={SOURCE_MODEL: "the network as it comes", "adabn": "BatchNorm statistics of the target"},
)
"""The same for methods that need no source rows."""

HEADS = ("random", PROBE)
"""How a fresh label head begins."""
_OF_EVERY_METHOD = ("view", "invert", "batch_norm", "reestimate", "teacher", "head", "mirror")
_OF_WEIGHING = ("shares",)
_OF_PAIRS = ("style", "source_view")
_OF_IMAGES = ("invert", "mirror")
_OF_VIEWS = ("view", "source_view", "amount", "style", *_OF_IMAGES)


@dataclass(frozen=True)
class AdaptationMethod:
    """A method and how it is trained.

    Args:
        text: As typed.
        name: A key of ``METHODS``.
        options: Of the objective (of the alignment, for ``shallow``).
        view: Amount of ``strong_view`` on the training rows of both domains; 0 leaves them as they are.
        invert: Whether that view inverts every second image.
        batch_norm: ``"per_domain"`` or ``"joint"``.
        reestimate: Whether BatchNorm statistics are gathered on the target's training rows at each evaluation and at
            the end.
        teacher: Decay of the moving average whose weights are kept; 0 keeps the network's own.
        shares: Whether source rows count by how often the target shows their class (``TargetShares``).
        style: How far, in [0, 1], source images take the amplitudes of target images (``in_style_of``).
        head: ``"random"``, or ``"probe"``: the label head begins solved on the source's features; None is the method's
            usual one, ``"probe"`` only where the network's head can be solved.
        source_view: Amount of ``strong_view`` on the source's training rows, in place of ``view``; None: the same.
        mirror: Whether every second training image of both domains is mirrored left to right (``mirrored``).
    """

    text: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    view: float = 0.0
    invert: bool = True
    batch_norm: str = "per_domain"
    reestimate: bool = True
    teacher: float = 0.0
    shares: bool = False
    style: float = 0.0
    head: str | None = None
    source_view: float | None = None
    mirror: bool = False

    @property
    def begins_solved(self) -> bool:
        """Whether the label head is to be solved before training."""
        return (self.head or OBJECTIVES[self.objective].usual_head) == PROBE

    @property
    def labels_target(self) -> bool:
        """Whether it gives labels to target rows by their number (``PseudoLabels``)."""
        return hasattr(OBJECTIVES[self.objective], "target_labels")

    @property
    def objective(self) -> str:
        """A key of ``OBJECTIVES``."""
        return self.name if self.name in OBJECTIVES else SOURCE_ONLY

    @property
    def uses_target_labels(self) -> bool:
        """Whether it learns from labels of the target."""
        return self.name == TARGET_SUPERVISED

    @property
    def reads_target(self) -> bool:
        """Whether training reads rows of the target beside those of the source."""
        return self.objective != SOURCE_ONLY

    def selected_by(self, select: str) -> str:
        """The score that keeps its weights: what does not adapt goes by accuracy on labelled validation rows."""
        return select if self.reads_target or select == LAST else "source_accuracy"

    @property
    def restyle(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """What is done to source images beside those of the target, or None."""
        return partial(in_style_of, amount=self.style) if self.style else None

    @property
    def change(self) -> Callable[[Tensor], Tensor] | None:
        """What is done to training rows, or None."""
        return partial(_changed, method=self, amount=self.view) if self.view or self.mirror else None

    @property
    def source_change(self) -> Callable[[Tensor], Tensor] | None:
        """What is done to the source's in place of that, or None."""
        return None if self.source_view is None else partial(_changed, method=self, amount=self.source_view)


def _changed(inputs: Tensor, *, method: AdaptationMethod, amount: float) -> Tensor:
    return strong_view(mirrored(inputs) if method.mirror else inputs, amount, invert=method.invert)


def refuse_idle_views(texts: Iterable[str], reads: str) -> None:
    """Refuses options that change inputs where what the network reads would stay as it is.

    Args:
        texts: Methods as typed.
        reads: ``PreparedData.reads``: ``"image"``, ``"text"`` or ``"audio"``; sounds may be read as images.

    Raises:
        SettingsError: With the first of them.
    """
    for text in texts:
        for option, value in read_text(text)[1].items():
            if value and reads == "text" and option in _OF_VIEWS:
                raise SettingsError(
                    f"{text}: {option} changes images and sounds, and the data holds texts. Leave it out."
                )
            if value and reads == "audio" and option in _OF_IMAGES:
                raise SettingsError(f"{text}: {option} changes images, and the network reads sounds. Leave it out.")


def make_source_free_method(specification: str, *, invert: bool = False) -> AdaptationMethod:
    """The same for methods that need no source rows: ``source_model``, ``adabn``, ``tent``, ``shot``, ...

    Args:
        specification: The text, such as ``"shot:view=1"``.
        invert: Whether strong views invert every second image where the text does not say.

    Raises:
        SettingsError: When the name or an option is unknown or out of range.
    """
    name, given = read_text(specification)
    if name not in SOURCE_FREE_METHODS:
        raise SettingsError(
            f"{name!r} is no method without source rows; choose from {', '.join(SOURCE_FREE_METHODS)}. With source "
            f"rows there are {', '.join(METHODS)}.{did_you_mean(name, SOURCE_FREE_METHODS)}"
        )
    method = SOURCE_FREE.get(name)
    check_option_types(specification, given, AdaptationMethod, *filter(None, [method]))
    allowed = set(inspect.signature(method).parameters) - {"width", "num_labels"} if method else set()
    general = ("reestimate", "teacher") if method else ()
    options = _of_objective(specification, given, allowed, general)
    if "invert" in allowed:
        options.setdefault("invert", invert)
    if method is not None:
        method(width=8, num_labels=2, **options)  # it knows the range of its options
    decay = given.get("teacher", 0.99 if name == "self_training" else 0.0)
    return AdaptationMethod(
        specification,
        name,
        options,
        reestimate=bool(given.get("reestimate", name != SOURCE_MODEL)),
        teacher=check_number(name, "teacher", decay, low=0, high=1),
    )


def make_method(specification: str, *, invert: bool = True, view: float = 0.0) -> AdaptationMethod:
    """Reads a method from its name and, after a colon, its options: ``"name:option=value,option=value"``.

    Args:
        specification: The text. Options are those of the objective, ``alignment`` and its options for ``shallow``, and
            for every trained method ``view``, ``invert``, ``batch_norm``, ``reestimate``, ``teacher``, ``head`` and
            ``mirror``.
        invert: Whether strong views invert every second image where the text does not say.
        view: Amount of the strong view where the text does not say, of methods that adapt and make no views themselves.

    Raises:
        SettingsError: When the name or an option is unknown or out of range.

    Example:
        >>> make_method("dann:weight=0.5,view=1").text
        'dann:weight=0.5,view=1'
        >>> [make_method(text, view=1).view for text in ("dann", "dann:view=0.5", "adamatch", "source_only")]
        [1.0, 0.5, 0.0, 0.0]
    """
    name, given = read_text(specification)
    if name not in METHODS:
        raise SettingsError(
            f"There is no method {name!r}; choose from {', '.join(METHODS)}.{did_you_mean(name, METHODS)}"
        )
    if name == SHALLOW:
        align = ALIGNMENTS[check_choice(name, "alignment", given.get("alignment", "coral"), tuple(ALIGNMENTS))]
        of_alignment = inspect.signature(align).parameters.values()
        of_shallow = ["alignment", *(option.name for option in of_alignment if option.kind is option.KEYWORD_ONLY)]
        check_known(specification, given, of_shallow, owner=name)
        check_option_types(specification, given, align)
        return AdaptationMethod(specification, name, given)
    method = OBJECTIVES.get(name, OBJECTIVES[SOURCE_ONLY])
    check_option_types(specification, given, AdaptationMethod, method)
    allowed = set(inspect.signature(method).parameters) - {"width", "num_labels"}
    plain = name in (SOURCE_ONLY, TARGET_SUPERVISED)
    adapts = name in OBJECTIVES and not plain
    general = (*_OF_EVERY_METHOD, *(_OF_WEIGHING if method.weighs_source else ()), *(_OF_PAIRS if adapts else ()))
    options = _of_objective(specification, given, allowed, general)
    if "invert" in allowed:
        options.setdefault("invert", given.get("invert", invert))
    usual = max(view, method.usual_view) if adapts and "amount" not in allowed else 0.0
    found = AdaptationMethod(
        specification,
        name,
        options,
        view=check_number(name, "view", given.get("view", usual), low=0),
        invert=bool(given.get("invert", invert)),
        batch_norm=check_choice(name, "batch_norm", given.get("batch_norm", "per_domain"), BATCH_NORMS),
        reestimate=bool(given.get("reestimate", not plain)),
        teacher=check_number(name, "teacher", given.get("teacher", method.usual_teacher), low=0, high=1),
        shares=bool(given.get("shares", False)),
        style=check_number(name, "style", given.get("style", 0.0), low=0, high=1),
        head=check_choice(name, "head", given["head"], HEADS) if "head" in given else None,
        mirror=bool(given.get("mirror", False)),
        source_view=check_number(name, "source_view", given["source_view"], low=0) if "source_view" in given else None,
    )
    # Trial: the objective itself knows the range of its options.
    method(width=8, num_labels=2, **options)
    return found


def _of_objective(
    specification: str, given: Mapping[str, Any], allowed: Collection[str], general: Collection[str]
) -> dict[str, Any]:
    """The given options that are the objective's; others must be among the general ones."""
    check_known(specification, given, [*sorted(allowed), *general], owner=specification.partition(":")[0])
    return {key: value for key, value in given.items() if key in allowed}
