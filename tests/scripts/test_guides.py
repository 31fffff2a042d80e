"""README, CONTRIBUTING and guides: their Python runs, their links lead somewhere, their commands name flags that exist."""

import dataclasses
import importlib
import inspect
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiny
import torch
from datasets import Dataset
from joint_networks import save
from scripts.pages import GUIDES, INDEX, PAGES, ROOT, Page

from hf_transfer_kit.commands.edge.named_commands import COMMANDS

RECIPES = sorted(path for path in (ROOT / "scripts").glob("*.py") if 'if __name__ == "__main__":' in path.read_text())
CALLED = re.compile(r"(?:hf-transfer|-m hf_transfer_kit) ([a-z][\w-]*)(.*?)(?:&&|$)")
PYTHON_PAGES = [Page(path) for path in PAGES if Page(path).blocks("python")]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A working folder with what the pages name in capitals: a small checkpoint and small datasets; and a table."""
    from hub.sharing_cases import classified, image_processor
    from PIL import Image

    from hf_transfer_kit.data import InputSizes, RawInputs
    from hf_transfer_kit.data.embedded import embedded_data
    from hf_transfer_kit.hub import save_results

    folder = tmp_path_factory.mktemp("place")
    model, _ = tiny.TRANSFORMERS["resnet"]()
    model.save_pretrained(folder / "MODEL")
    image_processor().save_pretrained(folder / "MODEL")
    save("clip", folder / "CLIP")
    for name, embedded in (("DATASET", "digits_m"), ("SOURCE", "digits"), ("TARGET", "digits_m")):
        (folder / name).mkdir()
        for split, rows in embedded_data(embedded).items():
            few = rows.sort("label").select(range(0, len(rows), max(1, len(rows) // 48)))
            few.to_parquet(folder / name / f"{split}.parquet")
    (folder / "table.csv").write_text(
        "class,stripes,hooves,swims,long neck\nhorse,0,1,0,0.5\ntiger,1,0,0,0\nseal,0,0,1,0\nwhale,0,0,1,0.1\nzebra,1,1,0,0.4\n"
    )
    Image.new("RGB", (40, 30), "red").save(folder / "photo.jpg")
    inputs = RawInputs("image", image_processor(), InputSizes())
    save_results(folder / "outputs" / "transfer", classified("image", 3), model, inputs, {}, license="mit")
    return folder


def _pictures(rows: int, classes: int) -> list[dict]:
    images = torch.randn(rows, 3, 32, 32, generator=torch.Generator().manual_seed(rows))
    return [{"pixel_values": image, "labels": i % classes} for i, image in enumerate(images)]


def _texts(column: str, rows: int) -> Dataset:
    words = [[2 + (i + place) % 30 for place in range(4)] for i in range(rows)]
    labels = [i % 4 if column == "label" else i / rows for i in range(rows)]
    return Dataset.from_dict({"input_ids": words, "attention_mask": [[1] * 4] * rows, column: labels})


def _trainer_parts() -> dict[str, object]:
    from transformers import TrainingArguments

    model, _ = tiny.TRANSFORMERS["resnet"]()
    args = TrainingArguments("outputs/own", max_steps=4, disable_tqdm=True)
    return {"model": model, "args": args, "train": _pictures(16, 2), "test": _pictures(8, 2)}


def _text_tasks() -> dict[str, object]:
    from hub.sharing_cases import tokenizer

    given = {"encoder": tiny.TRANSFORMERS["bert"]()[0], "tokenizer": tokenizer()}
    for column, name in (("label", "news"), ("score", "pairs")):
        given |= {name: _texts(column, 24), f"{name}_test": _texts(column, 8)}
    return given


def _seen_animals() -> dict[str, object]:
    from torch.utils.data import default_collate

    return {
        "train": _pictures(32, 4),
        "test": _pictures(10, 5),
        "collator": default_collate,
        "pictures": torch.randn(2, 3, 32, 32),
    }


GIVEN = {
    "model, args, train, test": _trainer_parts,
    "encoder, tokenizer, news, pairs, news_test, pairs_test": _text_tasks,
    "train, test, collator, pictures": _seen_animals,
    "a finished run in outputs/transfer": dict,
}
"""What a comment `<!-- given: ... -->` promises the Python after it -> what makes it."""
OF_EXTRAS = ("onnxruntime",)
"""Libraries without which a block of Python that imports them is left out."""


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=str)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, place, monkeypatch, registries_as_before):
    monkeypatch.chdir(place)
    names = {"__name__": "page"}
    for given in re.findall(r"<!-- given: (.*?) -->", page.text):
        names |= GIVEN[given]()
    for code in page.blocks("python"):
        if any(f"import {module}\n" in code and find_spec(module) is None for module in OF_EXTRAS):
            continue
        exec(compile(code, str(page), "exec"), names)


def test_every_guide_has_python_that_runs_and_a_command():
    assert len(GUIDES) >= 8
    for path in GUIDES:
        page = Page(path)
        assert page in PYTHON_PAGES, page
        assert any(command.startswith("hf-transfer ") for command in page.commands()), page


@pytest.mark.parametrize("page", [Page(path) for path in PAGES], ids=str)
def test_links_lead_somewhere(page):
    for link in page.links():
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        assert target.exists(), f"{page} points to {link}"
        assert target.is_relative_to(ROOT), f"{page} points outside, to {link}"
        if anchor:
            assert anchor in Page(target).anchors(), f"{page} points to {link}"


@pytest.mark.parametrize("page", [Page(path) for path in PAGES], ids=str)
def test_pictures_are_told_in_words_and_small(page):
    for words, place in page.pictures():
        assert len(words) > 20, f"{page}: {place} has no alternative text"
        assert (page.path.parent / place).stat().st_size < 150_000, place


def test_every_script_and_every_guide_has_a_place_in_the_index():
    index = Page(INDEX).text
    assert len(RECIPES) >= 8
    for path in [*RECIPES, *GUIDES]:
        assert path.name in index, f"scripts/README.md does not name {path.name}"
    readme = (ROOT / "README.md").read_text()
    for name in COMMANDS:
        assert f"hf-transfer {name}" in readme, f"README.md does not name {name}"


def test_guides_tell_every_strategy_method_and_score_there_is():
    from hf_transfer_kit.multitask import BALANCERS
    from hf_transfer_kit.selection import DISTANCES, STRATEGIES, adapting, generalising, multitasking
    from hf_transfer_kit.selection.measures.transferability import NAMES
    from hf_transfer_kit.zero_shot import JOINT_METHODS, METHODS

    told = {
        "finetune": STRATEGIES,
        "adapt": [*adapting.METHODS, *generalising.METHODS],
        "multitask": [*multitasking.METHODS, *BALANCERS],
        "zero_shot": [*METHODS, *JOINT_METHODS],
        "advise": [*NAMES, *DISTANCES],
    }
    for guide, names in told.items():
        code = " ".join(re.findall(r"`([^`]*)`", (ROOT / "scripts" / "guides" / f"{guide}.md").read_text()))
        assert not set(names) - set(re.findall(r"\w+", code)), guide


@pytest.mark.parametrize("page", [Page(path) for path in PAGES], ids=str)
def test_commands_name_scripts_and_flags_that_exist(page, flags_of):
    commands = page.commands()
    if page.path in GUIDES:  # options in the prose and its tables belong to the guide's commands
        own = {called[1] for command in commands if (called := CALLED.search(command))}
        known = {"--private"}.union(*map(flags_of, own))
        prose = re.sub(r"^```.*?^```", "", page.text, flags=re.DOTALL | re.MULTILINE)
        for flag in re.findall(r"`(--\w+)", prose):
            assert flag in known, f"{page}: none of {sorted(own)} knows {flag}"
    for script in re.findall(r"(?:scripts|tests|hf_transfer_kit)/[\w/]+\.\w+", page.text):
        assert (ROOT / script).is_file(), f"{page} names {script}"
    for command in [*commands, *re.findall(r"`(hf-transfer [^`]*)`", page.text)]:
        for called in CALLED.finditer(command):
            for flag in re.findall(r"(--\w+)", called[2]):
                assert flag in flags_of(called[1]), f"{page}: {called[1]} has no {flag}"


@pytest.fixture(scope="module")
def flags_of():
    """Command -> the flags that it knows."""
    found: dict[str, set[str]] = {}

    def flags(name: str) -> set[str]:
        if name not in found:
            command = COMMANDS[name]
            module = importlib.import_module(f"hf_transfer_kit.commands.{command.module}")
            if command.is_recipe:
                fields = [field for kind in module.FLAGS for field in dataclasses.fields(kind)]
                own = {alias for field in fields for alias in field.metadata.get("aliases", ())}
                own |= {f"--{field.name}" for field in fields} | {f"--no_{f.name}" for f in fields if f.default is True}
                found[name] = {"--config", "--plugin", "--help", *own}
            else:
                found[name] = set(re.findall(r'"(--\w+)"', inspect.getsource(module))) | {"--help"}
        return found[name]

    return flags
