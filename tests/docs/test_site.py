"""The site: it has every room, word and guide, and what it makes of the repository's pages is what they say."""

import importlib
import logging
import pkgutil
import sys
from types import SimpleNamespace

import pytest
from scripts.pages import GUIDES, PAGES, ROOT

import hf_transfer_kit

pytest.importorskip("mkdocs", reason="the site needs the extra docs")
pytest.importorskip("griffe", reason="the site needs the extra docs")


@pytest.fixture(scope="module")
def made():
    """The modules that make the site, and what they read of the package."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        api, site = importlib.import_module("api_pages"), importlib.import_module("site_pages")
    finally:
        sys.path.remove(str(ROOT / "docs"))
    return SimpleNamespace(api=api, site=site, reference=site._reference())


@pytest.fixture(scope="module")
def config(made):
    from mkdocs.config import load_config

    return made.site.on_config(load_config(str(ROOT / "mkdocs.yml")))


def places(nav):
    """All pages that a navigation names."""
    if isinstance(nav, str):
        return [nav]
    inside = nav if isinstance(nav, list) else nav.values()
    return [place for entry in inside for place in places(entry)]


def imported_rooms():
    """Folders of the package, and files beside them, that say what is public."""
    found = pkgutil.walk_packages(hf_transfer_kit.__path__, "hf_transfer_kit.")
    names = [part.name for part in found if part.ispkg or part.name.count(".") == 1]
    rooms = {name: importlib.import_module(name) for name in names if not name.endswith("__main__")}
    return {name: room for name, room in rooms.items() if hasattr(room, "__all__")}


def test_the_rooms_of_the_site_are_those_of_the_package_with_all_their_words(made):
    rooms = imported_rooms()
    assert set(made.reference.rooms) == set(rooms)
    for name, room in rooms.items():
        assert made.reference.names(name) == list(room.__all__), name
    assert made.reference.names("hf_transfer_kit") == hf_transfer_kit.__all__


def test_every_word_is_told_once_and_is_what_is_imported_from_where_its_page_says(made):
    pages = made.api.pages(made.reference)
    told = [line[4:] for text in pages.values() for line in text.splitlines() if line.startswith("::: ")]
    assert len(told) > 400
    assert sorted(told) == sorted(made.reference.words)
    for path, word in made.reference.words.items():
        module, _, name = path.rpartition(".")
        there = getattr(importlib.import_module(module), name)
        assert getattr(importlib.import_module(made.reference.shortest[path]), word.name) is there, path
        assert word.summary, f"{path} has no docstring"


def test_the_navigation_has_every_guide_page_and_room(made, config):
    found = places(config.nav)
    assert len(found) == len(set(found))
    for path in (*GUIDES, *PAGES):
        assert path.relative_to(ROOT).as_posix() in found
    for place in (*made.site.repository_files(made.site.PAGES), *made.api.pages(made.reference), made.site.TRAINERS):
        assert place in found, place
    assert all("://" not in place for place in found)


def test_nothing_is_loaded_from_other_hosts(made, config, caplog):
    assert config.theme["font"] is False
    page = SimpleNamespace(file=SimpleNamespace(src_uri="a.md"))
    harmless = '<a href="https://example.org">there</a><img src="a.png"><script src="../b.js"></script>'
    caplog.set_level(logging.WARNING)
    assert made.site.on_post_page(harmless, page, config) == harmless
    assert not caplog.records
    made.site.on_post_page('<script defer src="https://example.org/a.js"></script>', page, config)
    made.site.on_post_page('<link rel="stylesheet" href="//example.org/a.css">', page, config)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


def on_site(made, text, place="scripts/guides/finetune.md", known=("scripts/guides/transfer.md",)):
    files = SimpleNamespace(get_file_from_path=lambda path: path if path in known else None)
    page = SimpleNamespace(file=SimpleNamespace(src_uri=place), parent="Guides", meta={})
    return made.site.on_page_markdown(text, page, {}, files)


def test_links_to_files_that_are_no_pages_lead_to_pages_that_show_them(made):
    text = "[a](transfer.md#run-it), [b](../transfer.py), [c](https://example.org), [d](#strategies)"
    assert on_site(made, text) == text.replace("../transfer.py", "../transfer.py.md")
    assert on_site(made, "![a](pictures/gone.png)") == "![a](pictures/gone.png)"  # which the strict build refuses
    assert "scripts/transfer.py" in made.site._targets("scripts/README.md", (ROOT / "scripts/README.md").read_text())


def test_words_of_the_package_are_linked_in_prose_alone(made):
    path = "hf_transfer_kit.tuning.conservative.l2sp.L2SP"
    assert on_site(made, "so `L2SP(alpha, beta)` does") == f"so [`L2SP(alpha, beta)`][{path}] does"
    for text in ("```python\n`L2SP`\n```\n", "# On `L2SP`", "[`L2SP`](transfer.md)", "`full`", "<!-- `L2SP` -->"):
        assert on_site(made, text) == text


def test_lists_nest_and_flags_stay_whole(made):
    assert on_site(made, "- a\n  - b\n") == "- a\n    - b\n"
    assert (
        on_site(made, "`run --seeds <0>`")
        == "<code><span>run</span> <span>--seeds</span> <span>&lt;0&gt;</span></code>"
    )


def test_the_page_on_trainers_is_the_section_of_the_guide(made):
    guide = (ROOT / "scripts" / "guides" / "finetune.md").read_text()
    page = made.site._trainers_page(guide)
    assert page.startswith("# In whose Trainer?\n")
    assert page.count("\n") > 20
    assert page.partition("\n")[2].replace("](finetune.md#", "](#") in guide


def test_docstrings_link_words_and_examples_say_where_from(made):
    import griffe

    package = griffe.load(
        "hf_transfer_kit", search_paths=[ROOT], extensions=griffe.load_extensions(made.api.LinkedDocstrings)
    )
    named = package["tuning.scalars.LogScalars"].docstring.value
    assert "[`record_scalars`][hf_transfer_kit.tuning.scalars.record_scalars]" in named
    kinds = {part.kind.value: part for part in package["tuning.conservative.l2sp.L2SP"].docstring.parse("google")}
    assert {"parameters", "raises", "examples"} <= set(kinds)
    assert kinds["examples"].value[0][1].startswith(">>> from hf_transfer_kit import L2SP\n>>> trainer = ")
    row = package["multitask.source.TaskRow"]
    assert [(field.name, field.required) for field in row.parameters][-3:] == [
        ("input", True),
        ("values", True),
        ("labels", True),
    ]
