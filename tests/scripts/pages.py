"""What a Markdown page holds: blocks of code, links and anchors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDES = sorted((ROOT / "scripts" / "guides").glob("*.md"))
INDEX = ROOT / "scripts" / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
CHOICE = ROOT / "docs" / "choose_a_method.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", CONTRIBUTING, *DOCS, INDEX, *GUIDES, ROOT / "model_cards" / "README.md"]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """A page of Markdown.

    Args:
        path: Where it lies.
    """

    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text()

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    def blocks(self, language: str) -> list[str]:
        """The code of each fenced block in ``language``."""
        return [code for found, code in _BLOCK.findall(self.text) if found == language]

    def links(self) -> list[str]:
        """Where links and pictures of the prose point."""
        return re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", self.text))

    def pictures(self) -> list[tuple[str, str]]:
        """Alternative text and place of each picture."""
        return re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", self.text)

    def anchors(self) -> set[str]:
        """Of its headings, as GitHub makes them."""
        headings = re.findall(r"^#+ (.*)$", _BLOCK.sub("", self.text), re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def commands(self) -> list[str]:
        """The lines of its shell blocks, without comments."""
        lines = "\n".join(self.blocks("bash")).replace("\\\n", " ").splitlines()
        return [line.split("  #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]
