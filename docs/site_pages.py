"""The hook of MkDocs that makes the site of the repository's own pages: no page is kept twice.

Each page has the place on the site that its file has in the repository, so the links between them hold as they are and
``--strict`` checks them, anchors too. Files that pages point to and that are no pages (scripts, tests, the licence) are
shown as what they are. The API reference is made by ``api_pages``.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from api_pages import FOLDER, Reference, navigation, pages, read_package
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

log = get_plugin_logger("site_pages")
ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "*.md",
    "scripts/README.md",
    "scripts/guides/*.md",
    "docs/*.md",
    "model_cards/README.md",
    "model_cards/*/README.md",
)
PICTURES = ("model_cards/**/*.png", "model_cards/**/*.svg")
TRAINERS = "scripts/guides/in_whose_trainer.md"
_FENCE = re.compile(r"^(```.*?^```[^\S\n]*$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\](?:\([^)]*\))?)*\])\(([^)\s]+)\)")
_LOADED = re.compile(r"<(?:script|img|iframe|link|source)\b[^>]*?(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json", ".toml": "toml", ".jinja": "jinja"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the rooms of the package where ``nav`` names the folder of the reference."""
    config.nav = [_with_rooms(entry) for entry in config.nav or ()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the repository's pages and pictures, what they point to, and the reference."""
    texts = {place: (ROOT / place).read_text() for place in repository_files(PAGES)}
    texts[TRAINERS] = _trainers_page(texts["scripts/guides/finetune.md"])
    pictures = repository_files(PICTURES)
    sources = sorted(
        {target for place, text in texts.items() for target in _targets(place, text)} - {*texts, *pictures}
    )
    for place, text in (texts | pages(_reference())).items():
        files.append(File.generated(config, place, content=text))
    for place in pictures:
        files.append(File.generated(config, place, abs_src_path=str(ROOT / place)))
    for place in sources:
        shown = File.generated(config, f"{place}.md", content=_shown(place))
        shown.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(shown)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns GitHub's dialect into that of the site, and links words of the package in code to the reference."""
    place = page.file.src_uri
    if page.parent is None:
        page.meta["hide"] = ["navigation"]  # it would be a list of this page alone
    if place.startswith(f"{FOLDER}/"):
        return markdown

    def on_site(found: re.Match) -> str:
        path, mark, anchor = found[2].partition("#")
        target = _resolved(place, path)
        is_page = files.get_file_from_path(target) is not None
        is_source = path and found[1][0] != "!" and not is_page and (ROOT / target).is_file()
        return f"{found[1]}({path}{'.md' if is_source else ''}{mark}{anchor})"

    def prose(text: str) -> str:
        text = re.sub(r"^((?:  )+)(?=[-*] )", r"\1\1", text, flags=re.MULTILINE)  # GitHub nests lists by two spaces
        return _unbroken(_outside_links(_LINK.sub(on_site, text), _with_words))

    return _outside_fences(markdown, prose)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """A page that loads something from another host fails the strict build; links there are fine."""
    for load in _LOADED.findall(output):
        log.warning("%s loads something from another host: %s", page.file.src_uri, load)
    return output


def repository_files(patterns: tuple[str, ...]) -> list[str]:
    """Places, from the root, of the files that the patterns find."""
    return sorted({path.relative_to(ROOT).as_posix() for pattern in patterns for path in ROOT.glob(pattern)})


@cache
def _reference() -> Reference:
    return read_package()


def _with_rooms(entry: dict | str) -> dict | str:
    if isinstance(entry, dict):
        ((title, what),) = entry.items()
        return {title: navigation(_reference()) if what == f"{FOLDER}/" else what}
    return entry


def _trainers_page(guide: str) -> str:
    """The guide's section on other Trainers as a page of its own; links to other sections lead into the guide."""
    section = re.search(r"^## (In whose Trainer\?\n.*?)(?=^## )", guide, re.DOTALL | re.MULTILINE)
    assert section, "finetune.md has no section 'In whose Trainer?'"
    return "# " + section[1].replace("](#", "](finetune.md#")


def _shown(place: str) -> str:
    text = (ROOT / place).read_text().rstrip()
    fence = f"`````{_LANGUAGES.get(Path(place).suffix, 'text')}\n{text}\n`````"
    return f"---\nsearch: {{exclude: true}}\n---\n# {Path(place).name}\n\n`{place}`\n\n{fence}\n"


def _targets(place: str, text: str) -> list[str]:
    """Files of the repository that a page points to."""
    found = _LINK.findall(_FENCE.sub("", text))
    links = [link.partition("#")[0] for words, link in found if words[0] != "!"]
    return [target for link in links if link and (ROOT / (target := _resolved(place, link))).is_file()]


def _resolved(place: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(place), link))


def _unbroken(text: str) -> str:
    """Commands in prose and tables break between their words only, not behind dashes."""

    def in_words(found: re.Match) -> str:
        return f"<code>{' '.join(f'<span>{html.escape(word)}</span>' for word in found[1].split())}</code>"

    return re.sub(r"(?<!`)`([^`\n]*--\w[^`\n]*)`(?!`)", in_words, text)


def _outside_fences(text: str, change: Callable[[str], str]) -> str:
    return "".join(part if part.startswith("```") else change(part) for part in _FENCE.split(text))


def _outside_links(text: str, change: Callable[[str], str]) -> str:
    """Changes what is no link, no heading and no comment."""
    kept = re.compile(rf"({_LINK.pattern}|^#.*$|<!--.*?-->)", re.MULTILINE)
    done, start = [], 0
    for found in kept.finditer(text):
        done += [change(text[start : found.start()]), found[0]]
        start = found.end()
    return "".join([*done, change(text[start:])])


def _with_words(text: str) -> str:
    """`L2SP(alpha, beta)` links to the word, where the package itself has it."""
    reference = _reference()
    words = {
        name: reference.words[reference.definition("hf_transfer_kit", name)]
        for name in reference.names("hf_transfer_kit")
    }

    def linked(found: re.Match) -> str:
        word = words.get(found[1])
        return f"[{found[0]}][{word.path}]" if word else found[0]

    return re.sub(r"(?<!`)`(\w+)(?:\([^`]*\))?`(?!`)", linked, text)
