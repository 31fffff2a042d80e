"""The pictures of a card: one or two a recipe, as files beside it."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from hf_transfer_kit.reports import TransferReport, sections_of
from hf_transfer_kit.reports.escaping import mapped, plain_text


def save_card_pictures(folder: Path, report: TransferReport) -> dict[str, str]:
    """Writes ``pictures/NAME.svg`` into a folder.

    Returns:
        Path relative to the folder -> what the picture shows, for those who do not see it.
    """
    found = {}
    report = mapped(report, plain_text)
    drawn = [section.card.pictures(report, findings).items() for section, findings in sections_of(report)]
    for name, (svg, words) in chain.from_iterable(drawn):
        if svg is not None:
            path = folder / "pictures" / f"{name}.svg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(svg, encoding="utf-8")
            found[f"pictures/{name}.svg"] = words
    return found
