"""What a recipe's findings add to pages, cards and verdicts: one value, in a folder of its own."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.values import Verdict

Found = Any
"""What a recipe found, as it stands in a report."""


class CardPicture(NamedTuple):
    """A picture beside a card.

    Args:
        svg: As text; None where there is nothing to draw.
        words: What it shows, for those who do not see it.
    """

    svg: str | None
    words: str


class Evaluation(NamedTuple):
    """A figure of the saved model on test rows, as the metadata of a card state it.

    Args:
        task_type: Such as ``"image-classification"``.
        dataset: Name for people.
        metric: Such as ``"accuracy"``.
        value: As measured.
    """

    task_type: str
    dataset: str
    metric: str
    value: float


@dataclass(frozen=True)
class Usage:
    """How a model of the kit's own class is loaded and asked, where no pipeline does.

    Args:
        module: Whose import registers the class.
        further: Lines after the model is loaded.
        asking: Lines that name one input's class, where files can be given to it; None: those of a classifier.
        input: Which of several kinds of inputs is asked; None where there is one.
    """

    module: str
    further: tuple[str, ...]
    asking: tuple[str, ...] | None = None
    input: str | None = None


@dataclass(frozen=True)
class CardPart:
    """What a recipe's findings add to a card and to the metadata of its repository.

    Args:
        template: Of the card, such as ``"multitask/card.md.jinja"``; None: that of one network on one dataset.
        tag: That the repository is found by; empty for none.
        pictures: (report, found) -> name of a file -> picture.
        results: (report, found) -> what the metadata state; None: the report's metrics, as of a classifier.
        several_datasets: Whether each of the results has data of its own.
        pipeline: Whether a pipeline of transformers runs the model.
        usage: (found, an input as Python) -> how the model is asked, where no pipeline runs it.
        figures: found -> figures that show that an evaluation succeeded where the report has no metrics.
    """

    template: str | None = None
    tag: str = ""
    pictures: Callable[[TransferReport, Found], Mapping[str, CardPicture]] = lambda report, found: {}
    results: Callable[[TransferReport, Found], Iterable[Evaluation]] | None = None
    several_datasets: bool = False
    pipeline: bool = True
    usage: Callable[[Found, str], Usage] | None = None
    figures: Callable[[Found], Mapping[str, float]] = lambda found: {}


@dataclass(frozen=True)
class Section:
    """What a recipe's findings add to a report.

    The folder of a section has this value as ``SECTION`` in its module ``section``, and ``page.html.jinja``: macros
    without arguments, each of which may be missing. ``summary``: the sentences above everything (of several sections
    the first that has any); ``figures``: figures beside it; ``body``: the sections of the page; ``data``: what is said
    of the data in place of sizes and classes. They read ``report``, ``found``, ``words`` and ``pictures``.

    Args:
        name: Of the folder.
        order: Place in the page, from above.
        find: report -> what was found, or None (anything false) where the recipe did not run.
        table: (report, found) -> what the console shows of it; empty for nothing.
        words: (report, found) -> what the templates of page and card read beside the values; ``outcome`` among them
            colours the summary.
        pictures: (report, found, whether for a phone) -> name -> SVG text, or None where there is nothing to draw.
        verdicts: found -> verdicts on every contender, that on what was chosen first.
        repeated: What is repeated and drawn with a verdict: ``"seed"`` or ``"split"``.
        tells_verdict: Whether the summary has the sentence of the report's verdict.
        leaves_model: Whether such a run saves a network.
        card: What is added to a card.
    """

    name: str
    order: int
    find: Callable[[TransferReport], Found]
    table: Callable[[TransferReport, Found], str] = lambda report, found: ""
    words: Callable[[TransferReport, Found], Mapping[str, Any]] = lambda report, found: {}
    pictures: Callable[[TransferReport, Found, bool], Mapping[str, str | None]] = lambda report, found, narrow: {}
    verdicts: Callable[[Found], Iterable[Verdict | None]] = lambda found: ()
    repeated: str = "seed"
    tells_verdict: bool = False
    leaves_model: bool = False
    card: CardPart = field(default_factory=CardPart)

    @property
    def page(self) -> str:
        """The name of its template."""
        return f"{self.name}/page.html.jinja"


def folders() -> tuple[str, ...]:
    """Where folders of sections, and the templates in them, are looked for."""
    return tuple(importlib.import_module("hf_transfer_kit.reports").__path__)


def all_sections() -> tuple[Section, ...]:
    """Every section there is, in their order on a page.

    Example:
        >>> [section.name for section in all_sections()][:3]
        ['race', 'growing', 'sources']
    """
    return _sections_in(folders())


def sections_of(report: TransferReport) -> tuple[tuple[Section, Found], ...]:
    """The sections that a report has, each with what was found, in their order on a page.

    Example:
        >>> [section.name for section, _ in sections_of(report)]
        ['race']
    """
    pairs = ((section, section.find(report)) for section in all_sections())
    return tuple((section, found) for section, found in pairs if found)


@cache
def _sections_in(paths: tuple[str, ...]) -> tuple[Section, ...]:
    names = [f"hf_transfer_kit.reports.{place.name}.section" for place in pkgutil.iter_modules(paths) if place.ispkg]
    found = [importlib.import_module(name).SECTION for name in names if find_spec(name)]
    return tuple(sorted(found, key=lambda section: section.order))
