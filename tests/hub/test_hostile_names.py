"""Whatever classes, tasks, data and networks are called, cards, pages and pictures show it as text and nothing else."""

import base64
import json
import re
from functools import cache
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
import yaml
from hub.report_kinds import CARDS, PAGES, named
from hub.sharing_cases import classified
from huggingface_hub import ModelCard

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub import TransferCard
from hf_transfer_kit.hub.card_pictures import save_card_pictures
from hf_transfer_kit.reports import html_report, write_report
from hf_transfer_kit.reports.escaping import code_fence, code_span, markdown_text, plain_text, quoted

NAMES = {
    "script": " <script>alert(1)</script>",
    "picture": " ![x](javascript:alert(1)) [y](javascript:alert(2)) <javascript:alert(3)>",
    "attribute": "\"><img src=x onerror=alert(1)>' onload='alert(2)",
    "controls": "\x00\x07\x1b[31m\x7f\x85\x9c",
    "lines": "\n---\n\n# owned\r\n| a |\n\t- b\u2028c",
    "columns": " | b || c \\| d",
    "backticks": "` ```\n~~~ b``",
    "yaml": ": [x, {y: &z *a !!python/object:os.system\n---\nlicense: mit # '\"",
    "directions": "\u202egnp.exe\u2066\u200f\u061c\ufeff",
    "long": " long" + "x" * 5000,
    "long words": " word" * 900,
    "formula": "$\\frac{1}{2}$ $$ _a_ \\alpha$",
    "template": "{{ 7 * 7 }}{% raw %}{# #}",
    "markup ends": "</svg>]]><!-- --> &amp;&#0;&lt; </main></body> ***b***",
    "no characters": "\udcff\ufffe\uffff\U0001f600",
    "other scripts": " עברית العربية 中文 \u0301",
}


class Structure(HTMLParser):
    """Tags with the names of their attributes, where links and pictures lead, and all words."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.places, self.words, self.scripts = [], [], "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, *sorted(name for name, _ in attributes)))
        self.places += [value for name, value in attributes if name in ("href", "src")]
        self.words += " ".join(value or "" for name, value in attributes if name in ("alt", "title"))

    def handle_endtag(self, tag):
        self.tags.append(f"/{tag}")

    def handle_comment(self, data):
        self.tags.append("comment")

    def handle_data(self, data):
        self.words += data


def card_of(report):
    return str(TransferCard.from_report(report, base_model="me/base", pictures={"pictures/curves.svg": report.title}))


def rendered(card):
    markdown_it = pytest.importorskip("markdown_it")
    text = card.split("---\n", 2)[2]
    return Structure(
        markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)
    )


@cache
def harmless_card(kind):
    return rendered(card_of(CARDS[kind]()))


@cache
def harmless_page(kind):
    return Structure(html_report(PAGES[kind]()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", CARDS)
def test_a_card_has_the_same_parts_whatever_the_names_are(kind, name):
    report = named(CARDS[kind](), NAMES[name])
    card = card_of(report)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]", card)
    block = yaml.safe_load(card.split("---\n", 2)[1])
    plain = yaml.safe_load(card_of(CARDS[kind]()).split("---\n", 2)[1])
    assert list(block) == list(plain)
    assert (block["library_name"], block["base_model"]) == (plain["library_name"], plain["base_model"])
    assert block.get("license") == plain.get("license")
    ModelCard(card, ignore_metadata_errors=False)
    found, harmless = rendered(card), harmless_card(kind)
    assert found.tags == harmless.tags
    assert found.places == harmless.places
    if len(NAMES[name]) < 1000:
        assert re.sub(r"\s", "", plain_text(report.title)) in re.sub(r"\s", "", found.words)
    for code in re.findall(r"^(`{3,})python\n(.*?)^\1$", card, re.DOTALL | re.MULTILINE):
        compile(code[1], "snippet", "exec")


@pytest.mark.parametrize("turn", range(2))
@pytest.mark.parametrize("kind", PAGES)
def test_a_page_has_the_same_parts_and_its_pictures_are_xml(kind, turn, tmp_path):
    names = list(NAMES.values())
    report = named(PAGES[kind](), *names[turn * 8 :], *names[: turn * 8])
    write_report(tmp_path, report)
    page = (tmp_path / "report.html").read_bytes().decode("utf-8")
    found, harmless = Structure(page), harmless_page(kind)
    assert found.tags == harmless.tags
    assert len(found.tags) > 50
    pictures = [place for place in found.places if place.startswith("data:image/svg+xml;base64,")]
    assert pictures == found.places
    for picture in pictures:
        assert_picture(base64.b64decode(picture.partition(",")[2]).decode())
    assert plain_text(report.title) in found.words
    stored = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert stored["title"] == report.title  # names stay as they are where nothing shows them
    for path in save_card_pictures(tmp_path, report):
        assert_picture((tmp_path / path).read_text(encoding="utf-8"))


def assert_picture(svg):
    root = ElementTree.fromstring(svg)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not tags & {"script", "foreignObject", "a", "iframe"}
    attributes = [item for element in root.iter() for item in element.attrib.items()]
    assert not [name for name, _ in attributes if name.lower().startswith("on")]
    assert all(value.startswith(("#", "data:image/png;base64,")) for name, value in attributes if name.endswith("href"))


@pytest.mark.parametrize(
    "path", ["javascript:alert(1)", "https://x/y.png", "/etc/passwd", "a/../../b.png", "", "data:x", "a\\b"]
)
def test_a_picture_from_elsewhere_is_refused(path):
    with pytest.raises(SettingsError, match="is no picture in the repository"):
        TransferCard.from_report(classified("image", 2), pictures={path: "x"})


def test_a_pictures_path_cannot_end_its_link():
    card = str(TransferCard.from_report(classified("image", 2), pictures={"pictures/a) b<c.svg": "a](b"}))
    assert r"![a\](b](pictures/a%29%20b%3Cc.svg)" in card


def test_what_is_not_seen_is_named():
    assert plain_text("a\x00b\u202ec\nd\te") == "a<U+0000>b<U+202E>c⏎d e"
    assert plain_text("naïve 中文 עברית 😀") == "naïve 中文 עברית 😀"
    long = [plain_text("x" * count) for count in (2000, 2001, 2002)]
    assert [len(text) for text in long[:1]] == [2000]
    assert len(set(long)) == 3  # two of the same beginning stay two
    assert all(len(text) < 1100 for text in long[1:])


def test_code_is_code_whatever_is_in_it():
    assert code_span("freeze_first:k=3") == "`freeze_first:k=3`"
    assert code_span("a`b``c") == "```a`b``c```"
    assert code_span("`a") == "`` `a ``"
    assert code_fence("a") == "```"
    assert code_fence("a````b") == "`````"
    assert eval(quoted('a"b\\\n\u202e\ud800{x}')) == 'a"b\\\n\u202e\ud800{x}'
    assert markdown_text("head_only 3 < 4 [a](b)") == r"head_only 3 &lt; 4 \[a\](b)"
