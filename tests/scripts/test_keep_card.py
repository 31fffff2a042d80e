"""Cards of measured runs that lie in model_cards/: how they come there, and what each of them must hold."""

import importlib.util
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hub.sharing_cases import bert, classified
from huggingface_hub import ModelCard

from hf_transfer_kit.errors import HubError, SettingsError
from hf_transfer_kit.hub import save_results
from hf_transfer_kit.hub.shareable import local_place
from hf_transfer_kit.reports import write_report
from hf_transfer_kit.values import CurvePoint

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "benchmarks" / "keep_card.py"
KEPT = sorted((ROOT / "model_cards").glob("*/README.md"))


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("keep_card", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tmp_path) -> Path:
    """A finished run with a picture."""
    case = bert()
    curve = (CurvePoint(5, 1.0, 0.9, 0.5), CurvePoint(10, 0.5, 0.7, 0.75))
    results = tuple(replace(result, curve=curve) for result in case.report.results)
    command = "python scripts/transfer.py --dataset /home/alice/birds --output_dir outputs/run"
    report = replace(case.report, results=results, command=command)
    save_results(tmp_path / "run", report, case.model, case.processor, {}, base_model=case.base_model)
    return tmp_path / "run"


def check(readme: Path) -> None:
    """What a kept card must hold."""
    text = readme.read_text(encoding="utf-8")
    card = ModelCard.load(readme, ignore_metadata_errors=False)
    assert card.data.eval_results, "no figures in its metadata"
    assert re.search(r"```bash\npython scripts/\w+\.py[^\n]*\n```", text), "no command"
    assert [place for line in text.splitlines() if (place := local_place(line))] == []
    assert "alice" not in text
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        assert (readme.parent / path).is_file(), path
    names = {path.relative_to(readme.parent).as_posix() for path in readme.parent.rglob("*") if path.is_file()}
    assert all(name == "README.md" or name.startswith("pictures/") for name in names), names


@pytest.mark.parametrize("readme", KEPT, ids=[path.parent.name for path in KEPT])
def test_each_kept_card_stands_alone(readme):
    check(readme)


def test_a_card_is_kept_with_its_pictures_and_nothing_else(script, run, tmp_path):
    kept = script.keep_card(run, "birds", cards=tmp_path / "cards")
    check(kept)
    assert (kept.parent / "pictures" / "curves.svg").read_bytes() == (run / "pictures" / "curves.svg").read_bytes()
    text = kept.read_text()
    # Beside a kept card lie no weights: its snippet loads what its command writes.
    assert 'name = "outputs/run"' in text
    assert (
        text.replace('name = "outputs/run"', 'name = "."  # this folder, or the name of its repository')
        == (run / "README.md").read_text()
    )
    with pytest.raises(SettingsError, match="is there already"):
        script.keep_card(run, "birds", cards=tmp_path / "cards")
    (kept.parent / "old.txt").write_text("old")
    check(script.keep_card(run, "birds", cards=tmp_path / "cards", overwrite=True))


@pytest.mark.parametrize("name", ["", "../birds", "a/b", ".hidden", "pictures"])
def test_what_is_no_name_is_refused(script, run, tmp_path, name):
    with pytest.raises(SettingsError, match="is no name for a card"):
        script.keep_card(run, name, cards=tmp_path / "cards")
    assert not (tmp_path / "cards").exists()


def test_a_place_of_this_machine_an_absent_picture_or_an_unfinished_run_is_refused(script, run, tmp_path):
    cards, readme = tmp_path / "cards", run / "README.md"
    text = readme.read_text()
    readme.write_text(text + "\nSee /home/alice/notes.\n")
    with pytest.raises(HubError, match="names a place on this machine"):
        script.keep_card(run, "birds", cards=cards)
    for path in ("pictures/lost.svg", "../secret.svg", "https://example.org/x.svg"):
        readme.write_text(f"{text}\n![x]({path})\n")
        with pytest.raises(SettingsError, match="which is no file in its pictures folder"):
            script.keep_card(run, "birds", cards=cards)
    readme.write_text(text.replace("--output_dir outputs/run", ""))
    with pytest.raises(SettingsError, match="does not say the command"):
        script.keep_card(run, "birds", cards=cards)
    readme.write_text(text)
    write_report(run, classified("text", 3, metrics={}))
    with pytest.raises(HubError, match="gave no figures"):
        script.keep_card(run, "birds", cards=cards)
    assert not cards.exists()


def test_paths_to_neighbours_are_written_out_again(script, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("dataset: ../shared/birds\ntasks: {a: {source: ../x/b c}}\nother: ../../far/net\nlabel: kind\n")
    command = "python x.py --dataset birds --source 'b c' --other net --label kind"
    assert script.written_out(command, config) == (
        "python x.py --dataset ../shared/birds --source '../x/b c' --other net --label kind"
    )
    assert script.written_out(command, tmp_path / "none.yaml") == command


def test_where_a_command_writes_to(script):
    assert script.written_to("python x.py --output_dir 'my runs/a' --seed 1") == "my runs/a"
    assert script.written_to("python x.py --output_dir=outputs/a") == "outputs/a"
    assert script.written_to("python x.py --seed 1") is None


def test_the_script_says_what_is_wrong_in_a_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), "birds"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"{tmp_path} holds no report.json")


def test_a_wheel_carries_templates_alone():
    import tomllib

    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["exclude"] == ["/model_cards/*/", "/model_cards/*.md"]
    assert wheel["sources"] == {"model_cards": "hf_transfer_kit/model_cards"}
    assert {path.suffix for path in (ROOT / "model_cards").iterdir() if path.is_file()} == {".jinja", ".md"}
