"""Files of others in an output folder are never lost, and a killed run's own are known again."""

import json
import os
import subprocess
import sys

import pytest
from hub.sharing_cases import bert, classified

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub import KeepRaceReport, check_output_dir, save_results, started_race, written_beside
from hf_transfer_kit.hub.manifest import (
    MANIFEST,
    described,
    foreign_files,
    is_as_written,
    write_manifest,
    written_files,
)
from hf_transfer_kit.hub.unfinished import write_unfinished


def write(folder, files, **how):
    with written_beside(folder, **how) as staged:
        for name, text in files.items():
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).write_text(text)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def test_the_manifest_names_every_file_with_size_and_hash(tmp_path):
    write(tmp_path, {"README.md": "card", "pictures/a.svg": "<svg>"})
    assert written_files(tmp_path) == {name: described(tmp_path / name) for name in ("README.md", "pictures/a.svg")}
    assert written_files(tmp_path)["README.md"]["size"] == 4
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_is_written_again_replaces_what_was_and_a_whole_run_removes_its_older_files_alone(tmp_path):
    (tmp_path / "mine.csv").write_text("mine")
    write(tmp_path, {"README.md": "old", "adapter/x.json": "{}", "results.csv": "1"}, whole=True)
    (tmp_path / "results.csv").write_text("edited")
    (tmp_path / "adapter" / "note.txt").write_text("mine")
    write(tmp_path, {"report.json": "{}"})
    assert set(written_files(tmp_path)) == {"README.md", "adapter/x.json", "results.csv", "report.json"}
    write(tmp_path, {"README.md": "new"}, whole=True)
    assert contents(tmp_path) == {
        "README.md": "new", "adapter/note.txt": "mine", "mine.csv": "mine", "results.csv": "edited",
    }  # fmt: skip
    assert set(written_files(tmp_path)) == {"README.md"}


def test_a_file_of_others_is_not_replaced_and_the_results_are_kept_beside(tmp_path):
    (tmp_path / "README.md").write_text("my project")
    with pytest.raises(SettingsError, match=r"README\.md in .* was not replaced\. .* is whole in .*results-1: move it"):
        write(tmp_path, {"README.md": "card", "config.json": "{}"})
    assert contents(tmp_path) == {
        "README.md": "my project", "results-1/README.md": "card", "results-1/config.json": "{}",
    }  # fmt: skip
    assert set(written_files(tmp_path / "results-1")) == {"README.md", "config.json"}
    assert (tmp_path / "results-1").stat().st_mode & 0o777 == 0o777 & ~_umask()
    write(tmp_path, {"README.md": "card"}, overwrite=True)
    assert (tmp_path / "README.md").read_text() == "card"


def test_a_body_that_fails_leaves_all_as_it_was(tmp_path):
    write(tmp_path, {"README.md": "old"})
    before = (tmp_path / MANIFEST).read_text()
    with pytest.raises(TypeError):
        write(tmp_path, {"README.md": "half", "report.json": None})
    assert contents(tmp_path) == {"README.md": "old"}
    assert (tmp_path / MANIFEST).read_text() == before


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_a_run_killed_between_two_moves_knows_its_files_again(tmp_path, monkeypatch, moves):
    write(tmp_path, {"README.md": "old", "report.json": "old"})
    done = []

    def replace(source, target):
        if MANIFEST not in str(target):
            if len(done) == moves:
                raise SystemExit
            done.append(target)
        os.rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(SystemExit):
        write(tmp_path, {"README.md": "new", "report.html": "new", "report.json": "new"})
    monkeypatch.undo()
    assert foreign_files(tmp_path, ["README.md", "report.html", "report.json"]) == []
    assert (tmp_path / "report.json").read_text() == "old"  # it comes last
    write(tmp_path, {"README.md": "third", "report.json": "third"})
    assert contents(tmp_path)["README.md"] == "third"


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_model_has_the_usual_mode(tmp_path, mask):
    case = bert()
    old = os.umask(mask)
    try:
        save_results(tmp_path / "run", case.report, case.model, case.processor, {}, base_model=case.base_model)
    finally:
        os.umask(old)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "run").rglob("*") if path.is_file()} == {0o666 & ~mask}
    assert set(contents_names(tmp_path / "run")) == set(written_files(tmp_path / "run"))


def contents_names(folder):
    return [
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST
    ]


@pytest.mark.parametrize(
    "name", ["README.md", "config.yaml", "config.json", "report.html", "model-00001-of-00009.safetensors"]
)
def test_a_folder_with_files_of_others_under_our_names_is_refused(tmp_path, name):
    (tmp_path / "setup.py").write_text("mine")
    check_output_dir(tmp_path)  # another name does not matter
    (tmp_path / name).write_text("mine")
    with pytest.raises(SettingsError, match=rf"holds {name}, which this kit did not write .*--overwrite_output_dir"):
        check_output_dir(tmp_path)
    check_output_dir(tmp_path, overwrite=True)
    assert contents(tmp_path) == {"setup.py": "mine", name: "mine"}  # nothing is touched before there are results


def test_our_own_card_that_was_edited_is_the_users(tmp_path):
    write(tmp_path, {"README.md": "card"})
    check_output_dir(tmp_path)
    (tmp_path / "README.md").write_text("edited")
    with pytest.raises(SettingsError, match=r"README\.md, which this kit did not write or which was changed since"):
        check_output_dir(tmp_path)


def test_links_and_folders_in_the_way_are_refused_in_any_case(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for make in (
        lambda run: (run / "pictures").symlink_to(tmp_path / "elsewhere"),
        lambda run: (run / "README.md").mkdir(),
        lambda run: (run / "README.md").symlink_to(tmp_path / "none"),
        lambda run: (run / MANIFEST).write_text('{"mine": 1}'),
    ):
        run = tmp_path / "run"
        run.mkdir()
        make(run)
        with pytest.raises(SettingsError, match="which this kit did not make, where the run writes"):
            check_output_dir(run, overwrite=True)
        subprocess.run(["rm", "-r", run], check=True)


def test_an_older_manifest_that_says_nothing_is_ours(tmp_path):
    write_manifest(tmp_path, {})
    check_output_dir(tmp_path)
    assert not is_as_written(tmp_path, MANIFEST, {})


def test_data_and_models_are_not_written_into(tmp_path, monkeypatch):
    (tmp_path / "birds" / "train").mkdir(parents=True)
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "all.csv").write_text("text,label\n")
    (tmp_path / "link").symlink_to(tmp_path / "birds")
    monkeypatch.chdir(tmp_path)
    data = {"--dataset": ["birds"], "--target": ["me/hub", "rows/all.csv"]}
    for folder, words in (
        ("birds", "is the folder of --dataset"),
        ("birds/train/out", "lies in the folder of --dataset"),
        ("link/out", "lies in the folder of --dataset"),
        (tmp_path / "link", "is the folder of --dataset"),
        ("x/../birds", "is the folder of --dataset"),
        ("rows", "is the folder of --target"),
    ):
        with pytest.raises(SettingsError, match=words):
            check_output_dir(folder, data=data, overwrite=True)
    for folder in ("birds2", "out/birds", "rows/out", "."):
        check_output_dir(folder, data=data)
    with pytest.raises(SettingsError, match="is the folder of --model_name_or_path, whose files the run would replace"):
        check_output_dir("link", models={"--model_name_or_path": [str(tmp_path / "birds"), "me/hub"]})
    check_output_dir("birds/tuned", models={"--model_name_or_path": ["birds"]})


def test_leftovers_of_a_killed_run_are_removed_but_not_what_a_living_one_writes(tmp_path):
    killed = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    ).stdout.strip()
    for name in (f".unfinished-{killed}-abc", ".unfinished-report", f".unfinished-{os.getppid()}-abc", "unfinished"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text("half")
    (tmp_path / f".unfinished-{killed}-manifest").write_text("{")
    (tmp_path / ".unfinished-mine.txt").write_text("mine")
    (tmp_path / ".unfinished-link").symlink_to(tmp_path / "unfinished")
    check_output_dir(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        f".unfinished-{os.getppid()}-abc", "unfinished", ".unfinished-link", ".unfinished-mine.txt",
    }  # fmt: skip
    assert (tmp_path / "unfinished" / "model.safetensors").exists()


def test_a_live_report_does_not_replace_a_card_of_others_and_does_not_stop_the_run(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    report = classified("text", 3, metrics={}, results=(), verdict=None, data={
        **classified("text", 3).data, "unfinished": {"step": 1, "max_steps": 2, "evaluations": []},
    })  # fmt: skip
    write_unfinished(tmp_path, report, None)
    assert contents(tmp_path) == {"README.md": "mine"}
    write_unfinished(tmp_path, report, None, overwrite=True)
    assert set(written_files(tmp_path)) == {"README.md", "report.html", "report.json"}
    started = started_race(
        "transfer", ["full"], title="t", model_name="m", dataset_name="d", data=classified("text", 3).data,
        budget={"steps": 4, "batch_size": 4}, seeds=[0], command="python x.py",
    )  # fmt: skip
    KeepRaceReport(started, tmp_path).write()  # its own is replaced
    assert "planned" in json.loads((tmp_path / "report.json").read_text())["data"]["unfinished"]
