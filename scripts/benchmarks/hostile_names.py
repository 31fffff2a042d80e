"""Runs every recipe on data, networks and tasks of hostile names, and shows what it leaves in a browser.

    python scripts/benchmarks/hostile_names.py --sets script lines

Classes, datasets, domains, networks, tasks, attributes and files bear the names of a set. Each report and each card,
the card as HTML, is opened by headless Chromium. Prints for each run whether a script of a name ran, whether tags came
of names (the same run with harmless names has the same ones), whether the front matter loads, and whether names stand
there as text. A run that refuses the names in a sentence counts as such.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import tempfile
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
import transformers
import yaml
from begun_scripts import begun, ended  # first: it sets how the libraries compute
from markdown_it import MarkdownIt
from PIL import Image

from hf_transfer_kit import selection  # noqa: F401 - imported once for all forks
from hf_transfer_kit.reports.escaping import plain_text

_RAN = "document.documentElement.setAttribute('ran', 'yes')"
SETS = {
    "script": f'<script>{_RAN}</script><img src=x onerror="{_RAN}"><svg onload="{_RAN}">',
    "links": f"[a](javascript:{_RAN}) ![b](javascript:{_RAN}) <javascript:{_RAN}> https://evil.example",
    "quotes": f"\"'><b onmouseover=\"{_RAN}\" autofocus onfocus='{_RAN}' x=`",
    "lines": f"a\n---\n\n# owned\r\n| b |\n<script>{_RAN}</script>",
    "yaml": ": [x, {y: &z *a !!python/object:os.system\n---\nlicense: mit # '\"",
    "markdown": "` ```\n~~~ **b** | c || \\| [d][e] $\\frac{1}{2}$ {{ 7 * 7 }}{% raw %}",
    "controls": "\x01\x07\x1b[31m\x7f\x85\x9c\ufffe",
    "directions": "\u202egnp.exe\u2066\u200f\u061c\ufeff",
    "long": "x" * 5000,
}
"""What stands behind a harmless name of each kind."""
_STEPS = ("--max_steps", "4", "--per_device_train_batch_size", "8")
_BEASTS = ("cat", "owl", "fox", "ant", "bee", "cod", "elk", "hen")
RECIPES = (
    *("finetune", "transfer", "adapt", "generalise", "multitask", "task names"),
    *("zero_shot", "advise", "search_depth"),
)


def main() -> None:
    datasets.disable_progress_bars()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS), metavar="SET")
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=RECIPES, metavar="RECIPE")
    flags = parser.parse_args()
    if shutil.which("chromium") is None:
        raise SystemExit("There is no chromium here, and what a browser shows is looked at by it.")
    wrong, pages = 0, 0
    with tempfile.TemporaryDirectory() as room:
        harmless = {recipe: left(recipe, "", Path(room) / "harmless" / recipe) for recipe in flags.recipes}
        for name in flags.sets:
            for number, recipe in enumerate(flags.recipes):
                output = left(recipe, SETS[name], Path(room) / name / str(number))
                if isinstance(output, str):
                    print(f"{name:11} {recipe:13} refused: {output:.150}", flush=True)
                    wrong += "Traceback" in output
                    continue
                faults = looked_at(output, harmless[recipe], expected(recipe, SETS[name]))
                pages += 2
                wrong += bool(faults)
                print(f"{name:11} {recipe:13} {'; '.join(faults) or 'as text'}", flush=True)
    print(f"{len(flags.sets)} sets of names, {pages} pages and cards in Chromium, {wrong} runs not as they should be.")


def left(recipe: str, name: str, room: Path) -> Path | str:
    """The output folder of a run whose names end with this one, or the sentence that refused them."""
    room.mkdir(parents=True)
    output = room / "out"
    steps = () if recipe == "zero_shot" else _STEPS
    command = [*command_of(recipe, name, room), *steps, "--use_cpu", "true", "--output_dir", output]
    if ended(begun(command, room / "log")):
        said = (room / "log").read_text()
        return said[-3000:] if "Traceback" in said else said.strip().splitlines()[-1]
    return output


def command_of(recipe: str, name: str, room: Path) -> list[object]:
    """The command, after its data, network and tables were made."""
    network, photos, drawings = (made(room, kind, name) for kind in ("network", "photos", "drawings"))
    seeds = ["--seeds", "0"]
    one = ["--model_name_or_path", network, "--dataset", photos]
    return {
        "finetune": ["finetune.py", *one, "--train_size", "24"],
        "transfer": ["transfer.py", *one, "--strategies", "full", "from_scratch", *seeds],
        "adapt": ["adapt.py", *one[:2], "--source", photos, "--target", drawings, "--method", "dann", *seeds],
        "generalise": ["adapt.py", *one[:2], "--source", photos, drawings, "--method", "coral", *seeds],
        "multitask": ["multitask.py", "--config", made(room, "tasks", name), *seeds],
        "task names": ["multitask.py", "--config", made(room, "named tasks", name), *seeds],
        "zero_shot": [
            *("zero_shot.py", *one, "--attributes", made(room, "attributes", name)),
            *("--splits", "1", "--train_network", "4"),
        ],
        "advise": ["advise.py", *one],
        "search_depth": ["search_depth.py", *one, *seeds, "--depths", "0", "1"],
    }[recipe]


def made(room: Path, kind: str, name: str) -> Path:
    """A network, a dataset, a table or a file of tasks of hostile names."""
    path = room / f"{kind}{_of_file(name)}"
    classes = [f"{beast}{name}" for beast in _BEASTS]
    if kind == "network":
        torch.manual_seed(0)
        config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=3)
        transformers.ResNetForImageClassification(config).save_pretrained(path)
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(path)
    elif kind in ("photos", "drawings"):
        draw = np.random.default_rng(len(kind))
        pictures = [Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(64)]
        files = [{"path": f"{index}{_of_file(name)}.png", "bytes": _png(p)} for index, p in enumerate(pictures)]
        labels = datasets.ClassLabel(names=classes)
        rows = {"image": files, f"label{name}": [index % 8 for index in range(64)]}
        features = datasets.Features({"image": datasets.Image(), f"label{name}": labels})
        datasets.Dataset.from_dict(rows, features=features).save_to_disk(path)
    elif kind == "attributes":
        features = ("stripes", "wings", "fur")
        columns = {
            f"{what}{name}": [1 + (index * (place + 3)) % 8 / 8 for index in range(8)]
            for place, what in enumerate(features)
        }
        path = room / "table.parquet"
        pa.parquet.write_table(pa.table({f"beast{name}": classes, **columns}), path)
    else:
        path = room / f"{kind}.yaml"
        ending = name if kind == "named tasks" else ""
        tasks = {f"topic{ending}": "photos", f"score{ending}": "drawings"}
        where = {task: {"dataset": str(room / f"{data}{_of_file(name)}")} for task, data in tasks.items()}
        network = str(room / f"network{_of_file(name)}")
        path.write_text(yaml.safe_dump({"tasks": where, "model_name_or_path": network}), encoding="utf-8")
    return path


def _of_file(name: str) -> str:
    """As much of a name as a file may bear."""
    return name.replace("/", "").encode()[:150].decode(errors="ignore")


def _png(picture: Image.Image) -> bytes:
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def expected(recipe: str, name: str) -> str:
    """What stands in report and card as text: a class, or the data of a task, whose classes are not told."""
    return plain_text(f"photos{_of_file(name)}" if recipe == "multitask" else f"cat{name}")


def looked_at(output: Path, harmless: Path | str, text: str) -> list[str]:
    """What is wrong with the report and the card that a run left."""
    if isinstance(harmless, str):
        return [f"the harmless run failed: {harmless[-1500:]}"]
    faults = []
    for file in ("report.html", "README.md"):
        if not (output / file).exists():  # advise and search_depth leave no card
            continue
        shown, usual = (Shown(in_browser(page(folder / file))) for folder in (output, harmless))
        if shown.ran:
            faults.append(f"{file}: A SCRIPT RAN")
        if more := shown.tags - usual.tags:
            faults.append(f"{file}: tags came of names: {dict(more)}")
        if "".join(text.split()) not in "".join(shown.words.split()):
            faults.append(f"{file}: {text!r:.60} is not there as text")
        if file == "README.md":
            cards = [(folder / file).read_text(encoding="utf-8") for folder in (output, harmless)]
            block, before = (yaml.safe_load(card.split("---\n", 2)[1]) for card in cards)
            if list(block) != list(before) or block.get("license") != before.get("license"):
                faults.append(f"the front matter has {list(block)}, not {list(before)}")
    return faults


def page(file: Path) -> Path:
    """A page that a browser opens: the report itself, or the card as HTML."""
    if file.suffix == ".html":
        return file
    text = file.read_text(encoding="utf-8").split("---\n", 2)[2]
    html = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)
    shown = file.with_name("card.html")
    shown.write_text(f'<!doctype html><meta charset="utf-8"><title>card</title>{html}', encoding="utf-8")
    return shown


def in_browser(file: Path) -> str:
    """The document as it stands after its scripts have run."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"]
    done = subprocess.run(
        ["chromium", *flags, file.resolve().as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


class Shown(HTMLParser):
    """Tags with the names of their attributes, and all words."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: Counter[tuple[str, ...]] = Counter()
        self.words, self.ran = "", False
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ran |= tag == "html" and any(name == "ran" for name, _ in attrs)
        if tag in ("script", "img", "svg", "b", "a", "iframe", "link", "meta", "hr", "h1", "h2", "h3", "table"):
            self.tags[(tag, *sorted(name for name, _ in attrs))] += 1

    def handle_data(self, data: str) -> None:
        self.words += data


if __name__ == "__main__":
    main()
