"""A browser shows hostile names of classes, tasks, data and networks as text, and runs no script of theirs."""

import re
import shutil
import subprocess

import pytest
from hub.report_kinds import CARDS, PAGES, named
from hub.test_hostile_names import NAMES, Structure, card_of

from hf_transfer_kit.reports import html_report
from hf_transfer_kit.reports.escaping import plain_text

pytestmark = pytest.mark.slow
RAN = "document.documentElement.setAttribute('ran', 'yes')"
ACTIVE = [
    f' <script>{RAN}</script><img src=x onerror="{RAN}"><svg onload="{RAN}">',
    f' [a](javascript:{RAN}) ![b](javascript:{RAN}) <javascript:{RAN}>',
    f"\"'><b autofocus tabindex=1 onfocus=\"{RAN}\" onload='{RAN}' x=`",
    f"\n---\n\n# owned\r\n<script>{RAN}</script>",
    f"</title></style></svg>]]>--></main></body><script>{RAN}</script>",
    f"<iframe srcdoc='<script>parent.{RAN}</script>'></iframe><details open ontoggle=\"{RAN}\">",
    *(NAMES[name] for name in ("controls", "yaml", "columns", "backticks", "directions", "long", "formula", "template")),
]  # fmt: skip


def in_browser(html: str, folder) -> str:
    """The document as it stands after its scripts have run."""
    (folder / "page.html").write_text(html, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]
    address = (folder / "page.html").as_uri()
    return subprocess.run(["chromium", *flags, address], capture_output=True, text=True, check=True, timeout=120).stdout


def as_page(card: str) -> str:
    """A card as a browser would get it."""
    markdown_it = pytest.importorskip("markdown_it")
    rules = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    body = rules.render(card.split("---\n", 2)[2])
    return f'<!doctype html><meta charset="utf-8"><title>card</title>{body}'


def assert_shown_as_text(shown: str, harmless: str, title: str) -> None:
    assert not re.search(r"<html[^>]*\bran=", shown)
    found = Structure(shown)
    assert found.tags == Structure(harmless).tags
    assert re.sub(r"\s", "", plain_text(title)) in re.sub(r"\s", "", found.words)


@pytest.fixture(autouse=True)
def chromium():
    if shutil.which("chromium") is None:
        pytest.skip("There is no chromium here.")


def test_a_script_of_a_name_would_be_seen(tmp_path):
    for name in ACTIVE[:1] + ACTIVE[3:6]:
        assert re.search(r"<html[^>]*\bran=", in_browser(f"<!doctype html><title>x</title><p>{name}</p>", tmp_path)), (
            name
        )


@pytest.mark.parametrize("turn", range(2))
@pytest.mark.parametrize("kind", PAGES)
def test_a_page_is_shown_as_text(kind, turn, tmp_path):
    report = named(PAGES[kind](), *ACTIVE[turn * 7 :], *ACTIVE[: turn * 7])
    harmless = in_browser(html_report(PAGES[kind]()), tmp_path)
    assert_shown_as_text(in_browser(html_report(report), tmp_path), harmless, report.title)


@pytest.mark.parametrize("turn", range(2))
@pytest.mark.parametrize("kind", CARDS)
def test_a_card_is_shown_as_text(kind, turn, tmp_path):
    report = named(CARDS[kind](), *ACTIVE[turn * 7 :], *ACTIVE[: turn * 7])
    harmless = in_browser(as_page(card_of(CARDS[kind]())), tmp_path)
    assert_shown_as_text(in_browser(as_page(card_of(report)), tmp_path), harmless, report.title)
