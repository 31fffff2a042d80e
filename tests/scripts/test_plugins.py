"""The page "Add a method": its file, outside the package, is run by the scripts with a flag; what is refused."""

import csv
import json
import shlex

import pytest
from scripts.pages import CONTRIBUTING, Page
from scripts.test_scripts import run

from hf_transfer_kit.adaptation import OBJECTIVES, Objective, TargetScore, register_objective, register_score
from hf_transfer_kit.adaptation.objectives import METHODS, SOURCE_FREE
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask import Balancer, register_balancer
from hf_transfer_kit.registering import load_plugins
from hf_transfer_kit.selection import Strategy, register_strategy
from hf_transfer_kit.selection.adapting import METHODS as TEXTS

PLUGIN, _ = Page(CONTRIBUTING).blocks("python")
NAMES = {"transfer.py": "run", "adapt.py": "adapt", "multitask.py": "multitask"}
COMMANDS = {line.split()[1]: shlex.split(line)[2:] for line in Page(CONTRIBUTING).commands() if "--plugin" in line}
FAST = ("--max_steps", "4", "--per_device_train_batch_size", "8")


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "my_methods.py"
    path.write_text(PLUGIN)
    return path


def flags_of(script, plugin, *further):
    """Those of the page's command for a script, with the file where it lies and few steps."""
    flags = [plugin if flag == "my_methods.py" else flag for flag in COMMANDS[NAMES[script]]]
    return [*flags, *further, *FAST]


def test_a_strategy_of_a_file_races(plugin, tmp_path):
    out = tmp_path / "out"
    flags = flags_of("transfer.py", plugin, "--seeds", "0", "--output_dir", out)
    run("transfer.py", *flags)
    with (out / "results.csv").open() as file:
        assert {row["candidate"] for row in csv.DictReader(file)} == {"head_only", "last_groups"}
    assert flags[:2] == ["--plugin", plugin]
    refused = run("transfer.py", *flags[2:], "--overwrite_output_dir", ok=False)
    assert refused.returncode == 2
    assert "There is no strategy 'last_groups'" in refused.stderr


def test_worker_processes_know_the_file_and_give_the_same(plugin, tmp_path):
    flags = ["--plugin", plugin, "--strategies", "last_groups", "head_only", "--seeds", "0", "1", *FAST]
    figures = []
    for name, more in (("alone", []), ("dealt", ["--workers", "2"])):
        run("transfer.py", *flags, *more, "--output_dir", tmp_path / name)
        report = json.loads((tmp_path / name / "report.json").read_text())
        figures.append([{**entry, "seconds": 0} for entry in report["runs"]])
    assert figures[0] == figures[1]
    assert len(figures[0]) == 4


def test_an_objective_and_a_score_of_a_file_adapt(plugin, tmp_path):
    out = tmp_path / "out"
    run("adapt.py", *flags_of("adapt.py", plugin, "--output_dir", out))
    report = json.loads((out / "report.json").read_text())["adaptation"]
    assert report["selected_by"] == "confidence"
    (own,) = [result for result in report["results"] if result["method"] == "mean_gap:weight=0.5"]
    assert own["summary"] == "equal mean features"
    assert 0.1 <= own["scores"]["confidence"] <= 1
    assert any("gap_loss" in entry for entry in own["log"])


def test_a_balancer_of_a_file_balances(plugin, tmp_path):
    out = tmp_path / "out"
    run("multitask.py", *flags_of("multitask.py", plugin, "--output_dir", out))
    (result,) = json.loads((out / "report.json").read_text())["multitasking"]["results"]
    assert result["method"] == "multitask:balancing=worst_first"


def test_members_are_known_everywhere_at_once(registries_as_before):
    class Mine(Objective):
        name = "mine"
        summary = "mine"

    class Free(Objective):
        name = "free"
        summary = "needs no source"
        needs_source = False

    assert register_objective(Mine) is Mine
    register_objective(Free)
    assert METHODS["mine"] is Mine
    assert TEXTS["mine"] == "mine"
    assert "free" in SOURCE_FREE
    assert "free" not in OBJECTIVES
    assert register_objective(Mine) is Mine  # a notebook's cell that is run again
    register_objective(Free)
    assert "free" not in OBJECTIVES
    with pytest.raises(SettingsError, match="'tent' is a method of adaptation already"):
        register_objective(type("Other", (Objective,), {"name": "tent", "summary": "x"}))
    assert METHODS["tent"] is SOURCE_FREE["tent"]


@pytest.mark.parametrize(
    ("register", "base"),
    [(register_strategy, Strategy), (register_objective, Objective), (register_balancer, Balancer)],
)
def test_what_does_not_fit_is_refused(register, base, registries_as_before):
    with pytest.raises(SettingsError, match=f"register a subclass of .*{base.__name__}"):
        register(dict)
    taken = {register_strategy: "full", register_objective: "dann", register_balancer: "fixed"}[register]
    with pytest.raises(SettingsError, match=f"{taken!r} is a .* already"):
        register(type("Other", (base,), {"name": taken, "summary": "x"}))
    with pytest.raises(SettingsError, match="is called by a word"):
        register(type("Other", (base,), {"name": "two words", "summary": "x"}))


def test_scores_and_plugins_that_do_not_fit_are_refused(registries_as_before, tmp_path):
    with pytest.raises(SettingsError, match="'bnm' is a score already"):
        register_score("bnm", TargetScore(True, "mine", lambda o: 0.0))
    with pytest.raises(SettingsError, match="is a TargetScore"):
        register_score("mine", lambda o: 0.0)
    with pytest.raises(SettingsError, match="there is no such Python file"):
        load_plugins([tmp_path / "none.py"])
    (tmp_path / "broken.py").write_text("import nothing_of_the_kind")
    with pytest.raises(SettingsError, match=r"broken\.py cannot be loaded: ModuleNotFoundError: No module named"):
        load_plugins([tmp_path / "broken.py"])
