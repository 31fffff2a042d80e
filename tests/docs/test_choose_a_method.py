"""The page that chooses a method: its commands are read by their recipes, and each figure stands behind its link."""

import importlib
import re
import shlex

import pytest
from scripts.pages import CHOICE, ROOT, Page

from hf_transfer_kit.commands.edge.named_commands import COMMANDS
from hf_transfer_kit.commands.edge.settings import parse_arguments
from hf_transfer_kit.selection import STRATEGIES, adapting, make_strategy, multitasking
from hf_transfer_kit.selection.adapting.methods import make_source_free_method
from hf_transfer_kit.selection.generalising.methods import make_generalisation_method
from hf_transfer_kit.zero_shot.methods import ALL_METHODS

NAMED = sorted(set(re.findall(r"`(hf-transfer [a-z-]+ [^`]*)`", Page(CHOICE).text)))
ROWS = [line.strip("| ").split(" | ") for line in Page(CHOICE).text.splitlines() if line.startswith("| ")]
MEASURED = [row for row in ROWS if len(row) == 4 and re.search(r"\d", row[3])]
DECIMAL = re.compile(r"(?<![\w.])-?\d+\.\d+(?: ± \d+\.\d+)?")


@pytest.fixture
def settings_files(tmp_path, monkeypatch):
    """What commands name beside models and datasets."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks.yaml").write_text(
        "model_name_or_path: MODEL\ntasks:\n  one: {dataset: digits}\n  two: {dataset: digits_m}\n"
    )


@pytest.mark.parametrize("command", NAMED)
def test_a_command_of_the_page_is_read_by_its_recipe(command, settings_files):
    _, name, *flags = shlex.split(command)
    module = COMMANDS[name].module
    kinds = importlib.import_module(f"hf_transfer_kit.commands.{module}").FLAGS
    given = parse_arguments(*kinds, recipe=module, argv=[*flags, "--output_dir", "out", "--use_cpu"])
    values = {field: value for part in given for field, value in vars(part).items()}
    for text in values.get("methods") or ():
        check_method(name, text, values)
    if name == "finetune":
        make_strategy(values["strategy"])


def check_method(name, text, values):
    """The recipe's own reading, which refuses a name or an option that is not there."""
    if name == "zero-shot":
        assert text in ALL_METHODS
    elif name == "multitask":
        multitasking.make_method(text)
    elif values["unseen"]:
        make_generalisation_method(text)
    else:
        (make_source_free_method if values["source_model"] else adapting.make_method)(text)


def test_the_page_tells_every_way_of_the_mission():
    assert len(NAMED) >= 17
    assert {name.split()[1] for name in NAMED} == {name for name, command in COMMANDS.items() if command.is_recipe}
    told = " ".join(NAMED)
    ways = ["head_only", "freeze_first", "freeze_last", "full", "from_scratch", "layerwise", "small_lr", "l2sp"]
    assert set(ways) <= set(STRATEGIES)
    for way in [*ways, "dann", "replay", "--attributes", "--source_model", "--unseen", "--old_classes"]:
        assert way in told, way


@pytest.mark.parametrize("row", MEASURED, ids=[row[0] for row in MEASURED])
def test_a_figure_of_the_page_stands_in_the_section_that_it_links_to(row):
    path, anchor = re.search(r"\]\(([^)#]*)#([^)]*)\)", row[3]).groups()
    text = section((CHOICE.parent / path).resolve(), anchor)
    figures = DECIMAL.findall(row[3])
    assert figures
    for figure in figures:
        assert re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.]*\d)", text), f"{figure} is not in {path}#{anchor}"


def section(path, anchor):
    """A page's text below a heading, up to the next of its rank or above."""
    parts = re.split(r"^(#+ .*)$", path.read_text(), flags=re.MULTILINE)
    headings = list(zip(parts[1::2], parts[2::2], strict=True))
    anchors = [re.sub(r"[^\w\- ]", "", head.lstrip("# ").lower()).replace(" ", "-") for head, _ in headings]
    start = anchors.index(anchor)
    rank = headings[start][0].index(" ")
    texts = [headings[start][1]]
    for head, text in headings[start + 1 :]:
        if head.index(" ") <= rank:
            break
        texts.append(text)
    return "\n".join(texts)


def test_the_readme_leads_to_the_page():
    assert str(CHOICE.relative_to(ROOT)) in Page(ROOT / "README.md").links()
