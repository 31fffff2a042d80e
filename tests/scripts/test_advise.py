"""advise.py as a user runs it, and what its files are good for."""

import json
from pathlib import Path

import processes
import pytest
import tiny
import yaml

from hf_transfer_kit.reports import html_report, read_report

ROOT = Path(__file__).resolve().parents[2]
FAST = ["--max_steps", "4", "--evaluations", "2", "--per_device_train_batch_size", "16"]


def run(script: str, *flags: object, ok: bool = True, **how):
    """The finished script; ``how`` as in ``processes.run``."""
    done = processes.run([ROOT / "scripts" / script, *flags], cwd=ROOT, timeout=600, **how)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    from transformers import ViTImageProcessor

    folder = tmp_path_factory.mktemp("network")
    tiny.TRANSFORMERS["resnet"]()[0].save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def advised(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("advised")
    data = ["--dataset", "digits_m", "--train_size", "60", "--source_data", "digits"]
    done = run(
        "advise.py", "--models", network, "dann_mnist", "no/such", *data, "--output_dir", folder, *FAST, cold=True
    )
    return folder, done.stdout


def test_networks_are_ranked_and_the_best_gets_a_plan(advised, network):
    folder, printed = advised
    report = json.loads((folder / "report.json").read_text())
    ranking = report["advice"]["ranking"]
    assert len(ranking["sources"]) == 2
    assert ranking["sources"][0]["score"]["value"] >= ranking["sources"][1]["score"]["value"]
    assert list(ranking["skipped"]) == ["no/such"]
    assert str(network) not in (folder / "report.json").read_text()
    assert str(network) not in (folder / "report.html").read_text()
    assert "no/such was left out" in printed
    plan = yaml.safe_load((folder / "plan.yaml").read_text())
    assert plan["strategy"] == report["advice"]["recommendation"]["strategy"] == report["winner"]
    assert plan["train_size"] == "60"
    assert (folder / "plan.yaml").read_text().startswith("# ")
    assert "mmd" in report["advice"]["recommendation"]["reasons"][-1].lower()


def test_the_page_reads_back_and_shows_ranking_plan_and_cases(advised):
    folder, _ = advised
    report = read_report(folder / "report.json")
    assert html_report(report) == (folder / "report.html").read_text()
    page = (folder / "report.html").read_text()
    for words in ("Which network", "What to do with it", "What would change this plan", "comes first", "left out"):
        assert words in page


def test_finetune_runs_the_plan_unchanged(advised, tmp_path):
    folder, _ = advised
    plan = yaml.safe_load((folder / "plan.yaml").read_text())
    assert plan["max_steps"] == 4
    run("finetune.py", "--config", folder / "plan.yaml", "--output_dir", tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["winner"] == plan["strategy"]
    assert report["plan"]["learning_rate"] == plan["learning_rate"]


def test_finetune_takes_the_advice_itself(network, tmp_path):
    flags = ["--model_name_or_path", network, "--dataset", "digits_m", "--train_size", "60", *FAST]
    done = run("finetune.py", "--strategy", "auto", *flags, "--output_dir", tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["winner"] == yaml.safe_load((tmp_path / "config.yaml").read_text())["strategy"] != "auto"
    assert "rows of 10 classes" in done.stdout
    assert any("rows of 10 classes" in note for note in report["notes"])


def test_candidates_that_all_fail_end_in_a_sentence(tmp_path):
    done = run(
        "advise.py", "--models", "no/such", "nor/this", "--dataset", "digits", "--output_dir", tmp_path, ok=False
    )
    assert done.returncode == 2
    assert "None of the candidates could be measured" in done.stderr
    assert not (tmp_path / "report.json").exists()


def test_trials_make_the_plan_and_are_told_everywhere(network, tmp_path):
    flags = ["--model_name_or_path", network, "--dataset", "digits_m", "--train_size", "60", *FAST]
    done = run("advise.py", *flags, "--trials", "--output_dir", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    found = report["advice"]["recommendation"]
    trials = found["trials"]
    assert len(trials["runs"]) >= 2
    assert trials["share"] <= 0.3
    assert report["seconds"]["trials"] == pytest.approx(sum(each["seconds"] for each in trials["runs"]))
    assert found["strategy"] == report["winner"] == found["outlook"][0]["strategy"]
    plan = tmp_path / "out" / "plan.yaml"
    assert yaml.safe_load(plan.read_text())["strategy"] == found["strategy"]
    assert not {"keep_runs", "store"} & yaml.safe_load(plan.read_text()).keys()
    page = (tmp_path / "out" / "report.html").read_text()
    told = f"of {trials['rows']} validation rows"
    assert told in done.stdout
    assert told in " ".join(plan.read_text().replace("#", "").split())
    assert told in page
    assert "expected with trials" in page
    assert html_report(read_report(tmp_path / "out" / "report.json")) == page
    # The same again takes the trials as they were, says so, and says the same.
    again = run("advise.py", *flags, "--trials", "--output_dir", tmp_path / "out", "--overwrite_output_dir")
    assert again.stdout.count("was finished before and is taken as it was") == len(trials["runs"])
    second = json.loads((tmp_path / "out" / "report.json").read_text())["advice"]["recommendation"]
    assert (second["trials"], second["outlook"]) == (trials, found["outlook"])
    run("finetune.py", "--config", plan, "--output_dir", tmp_path / "tuned")


@pytest.mark.parametrize("flags", [["--store", "kept"], ["--keep_runs", "false"]])
def test_flags_of_trials_are_refused_without_them(network, tmp_path, flags):
    done = run("advise.py", "--models", network, "--dataset", "digits", *flags, "--output_dir", tmp_path, ok=False)
    assert "--store and --keep_runs are of trials: give --trials" in done.stderr
