"""The newest whole checkpoint is found among damaged ones, and a full disk costs none."""

import json
import shutil
import zipfile

import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import Trainer

from hf_transfer_kit.errors import FullDiskError, SettingsError
from hf_transfer_kit.tuning import GuardCheckpoints, check_checkpoint, checkpoints, last_whole_checkpoint
from hf_transfer_kit.tuning.own_checkpoints import mark, remove_older

FACTS = {"strategy": "full", "seed": 0}


def fit(training_arguments, folder, resume=None, facts=FACTS, guarded=True, steps=6, **settings):
    torch.manual_seed(0)
    model, inputs = tiny.TRANSFORMERS["bert"]()
    rows = [{key: value[0] for key, value in inputs.items()} | {"labels": i % 2} for i in range(8)]
    trainer = Trainer(
        model,
        training_arguments(
            output_dir=str(folder), max_steps=steps, save_strategy="steps", save_steps=2, learning_rate=1e-2, **settings
        ),
        train_dataset=rows,
        callbacks=[GuardCheckpoints(facts) if guarded is True else guarded] if guarded else [],
    )
    trainer.train(resume_from_checkpoint=resume)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture
def folder(training_arguments, tmp_path):
    fit(training_arguments, tmp_path / "run")
    return tmp_path / "run"


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file):
    data = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:  # between its parts are bytes that nobody reads
        largest = archive.read(max(archive.infolist(), key=lambda part: part.file_size))
    data[data.index(largest) + len(largest) // 2] ^= 0xFF
    file.write_bytes(bytes(data))


DAMAGE = {
    "no state": lambda one: (one / "trainer_state.json").unlink(),
    "half a state": lambda one: cut(one / "trainer_state.json"),
    "no weights": lambda one: (one / "model.safetensors").unlink(),
    "half the weights": lambda one: cut(one / "model.safetensors"),
    "no optimizer": lambda one: (one / "optimizer.pt").unlink(),
    "half an optimizer": lambda one: cut(one / "optimizer.pt"),
    "a flipped optimizer": lambda one: flip(one / "optimizer.pt"),
    "no scheduler": lambda one: (one / "scheduler.pt").unlink(),
    "no random state": lambda one: (one / "rng_state.pth").unlink(),
    "half a random state": lambda one: cut(one / "rng_state.pth"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("guarded", [True, False])
def test_a_damaged_checkpoint_is_passed_over_and_named(damage, guarded, training_arguments, tmp_path):
    folder = tmp_path / "run"
    fit(training_arguments, folder, guarded=guarded)
    DAMAGE[damage](folder / "checkpoint-6")
    told = []
    assert last_whole_checkpoint(folder, tell=told.append) == str(folder / "checkpoint-4")
    assert "checkpoint-6 (" in told[0]
    with pytest.raises(SettingsError, match=r"checkpoint-6 \(.*Give .*checkpoint-4"):
        check_checkpoint(folder / "checkpoint-6")


def test_a_file_whose_size_was_noted_may_not_go_missing(folder):
    (folder / "checkpoint-6" / "config.json").unlink()
    assert last_whole_checkpoint(folder, tell=None) == str(folder / "checkpoint-4")


def test_none_yet_is_said(tmp_path):
    told = []
    assert last_whole_checkpoint(tmp_path / "nowhere", tell=told.append) is None
    assert "there is none yet" in told[0]
    assert "from the beginning" in told[0]


def test_all_damaged_is_said_as_such(folder):
    told = []
    for one in folder.glob("checkpoint-*"):
        DAMAGE["no state"](one)
    assert last_whole_checkpoint(folder, tell=told.append) is None
    assert all(f"checkpoint-{step} (" in told[0] for step in (2, 4, 6))


def test_a_whole_one_is_taken_without_a_word(folder):
    told = []
    assert last_whole_checkpoint(folder, facts=FACTS, tell=told.append) == str(folder / "checkpoint-6")
    assert told == []


def test_another_runs_checkpoints_are_refused_and_those_of_this_one_found_among_them(folder, training_arguments):
    other = {"strategy": "lora", "seed": 0}
    with pytest.raises(SettingsError, match="of a run with strategy full, not lora"):
        last_whole_checkpoint(folder, facts=other)
    fit(training_arguments, folder, guarded=GuardCheckpoints(other, overwrite=True), steps=2)
    told = []
    assert last_whole_checkpoint(folder, facts=other, tell=told.append) == str(folder / "checkpoint-2")
    assert "checkpoint-6 (of a run with strategy full, not lora)" in told[0]
    assert last_whole_checkpoint(folder, facts=FACTS, tell=None) == str(folder / "checkpoint-6")
    with pytest.raises(SettingsError, match="of a run with strategy full, not lora"):
        check_checkpoint(folder / "checkpoint-4", facts=other)


def test_a_run_resumed_behind_a_damaged_checkpoint_is_the_one_that_never_stopped(folder, training_arguments):
    whole = torch.load(folder / "checkpoint-6" / "optimizer.pt")["state"]
    DAMAGE["half an optimizer"](folder / "checkpoint-6")
    fit(training_arguments, folder, last_whole_checkpoint(folder, tell=None))
    again = torch.load(folder / "checkpoint-6" / "optimizer.pt")["state"]
    assert all(torch.equal(whole[index]["exp_avg"], again[index]["exp_avg"]) for index in whole)
    assert last_whole_checkpoint(folder, facts=FACTS, tell=None) == str(folder / "checkpoint-6")


def test_space_is_looked_at_before_anything_is_written(training_arguments, tmp_path, monkeypatch):
    free = iter([10**9, 1000])
    monkeypatch.setattr(checkpoints, "free_bytes", lambda path: next(free))
    with pytest.raises(FullDiskError, match=r"checkpoint-4 takes about .* checkpoint-2 is whole"):
        fit(training_arguments, tmp_path / "run")
    assert [one.name for one in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-2"]
    assert last_whole_checkpoint(tmp_path / "run", tell=None) == str(tmp_path / "run" / "checkpoint-2")


def test_the_space_foreseen_is_about_what_is_taken(folder, training_arguments, monkeypatch):
    seen = []
    measure = checkpoints.checkpoint_bytes
    monkeypatch.setattr(checkpoints, "checkpoint_bytes", lambda trainer: seen.append(measure(trainer)) or seen[-1])
    fit(training_arguments, folder)
    state = torch.load(folder / "checkpoint-6" / "optimizer.pt")["state"]
    moments = sum(value.nbytes for kept in state.values() for value in kept.values())
    weights = sum(value.nbytes for value in load_file(folder / "checkpoint-6" / "model.safetensors").values())
    assert seen[-1] == pytest.approx(moments + weights, rel=0.02)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 499392 vs 499280"),
    ],
)
def test_a_disk_that_fills_while_writing_leaves_no_half_checkpoint(error, training_arguments, tmp_path, monkeypatch):
    save = torch.save

    def fail(values, path, *args, **kwargs):
        if "checkpoint-4" in str(path) and str(path).endswith("optimizer.pt"):
            raise error
        save(values, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(FullDiskError, match=r"No space is left .*checkpoint-2 is whole"):
        fit(training_arguments, tmp_path / "run")
    assert [one.name for one in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-2"]


def test_other_errors_stay_what_they_are(training_arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "save", lambda *args, **kwargs: (_ for _ in ()).throw(PermissionError(13, "denied")))
    with pytest.raises(PermissionError):
        fit(training_arguments, tmp_path / "run")


def test_a_checkpoint_that_is_written_again_is_not_whole_meanwhile(folder, training_arguments, monkeypatch):
    found = []
    save = torch.save

    def look(values, path, *args, **kwargs):
        found.append(checkpoints.fault_of(folder / "checkpoint-2"))
        save(values, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", look)
    fit(training_arguments, folder, steps=2)
    assert found
    assert all("trainer_state.json" in fault for fault in found)


def test_callbacks_restored_from_a_checkpoint_still_guard(folder, training_arguments):
    shutil.rmtree(folder / "checkpoint-6")
    fit(training_arguments, folder, str(folder / "checkpoint-4"), restore_callback_states_from_checkpoint=True)
    kept = json.loads((folder / "checkpoint-6" / "trainer_state.json").read_text())["stateful_callbacks"]
    assert kept["GuardCheckpoints"]["args"]["facts"] == FACTS
    assert "optimizer.pt" in kept["GuardCheckpoints"]["attributes"]["files"]


def test_what_others_keep_under_such_names_outlives_a_limit(training_arguments, tmp_path):
    others = [tmp_path / name for name in ("checkpoint-best", "checkpoint-4-copy", "checkpoint-900")]
    for other in others:
        other.mkdir()
        (other / "model.safetensors").write_bytes(b"theirs")
    fit(training_arguments, tmp_path, save_total_limit=1)
    assert all((other / "model.safetensors").read_bytes() == b"theirs" for other in others)
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == [
        "checkpoint-4-copy", "checkpoint-6", "checkpoint-900", "checkpoint-best",
    ]  # fmt: skip
    kept_args = torch.load(tmp_path / "checkpoint-6" / "training_args.bin", weights_only=False)
    assert kept_args.save_total_limit == 1


def test_the_best_and_the_newest_outlive_a_limit(tmp_path):
    for step in (2, 4, 6, 8):
        mark(tmp_path / f"checkpoint-{step}", FACTS)
    mark(tmp_path / "checkpoint-10", {"strategy": "another"})
    remove_older(tmp_path, FACTS, limit=2, best=str(tmp_path / "checkpoint-2"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-2", "checkpoint-8"]
    remove_older(tmp_path, FACTS, limit=1, best=str(tmp_path / "checkpoint-2"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-2", "checkpoint-8"]


def test_a_checkpoint_of_others_is_refused_before_training_and_never_gone_on_from(training_arguments, tmp_path):
    fit(training_arguments, tmp_path, guarded=False)
    (tmp_path / "checkpoint-6" / "mine.txt").write_text("mine")
    with pytest.raises(SettingsError, match=r"checkpoint-6 \(it does not say of which run; name it to go on from it\)"):
        last_whole_checkpoint(tmp_path, facts=FACTS)
    for guard in (GuardCheckpoints(FACTS), GuardCheckpoints(FACTS, overwrite=True)):
        with pytest.raises(SettingsError, match=r"holds checkpoint-6, which is not of this run"):
            fit(training_arguments, tmp_path, guarded=guard)
    assert (tmp_path / "checkpoint-6" / "mine.txt").exists()
    assert last_whole_checkpoint(tmp_path, tell=None).endswith("checkpoint-6")  # nobody asked of which run
    fit(training_arguments, tmp_path, resume=str(tmp_path / "checkpoint-6"), steps=8)  # named, and gone on from
    assert (tmp_path / "checkpoint-8").is_dir()


def test_checkpoints_of_another_run_are_replaced_only_when_asked_for(folder, training_arguments):
    other = {**FACTS, "seed": 9}
    with pytest.raises(SettingsError, match="holds checkpoint-6, which is not of this run"):
        fit(training_arguments, folder, facts=other)
    fit(training_arguments, folder, guarded=GuardCheckpoints(other, overwrite=True))
    assert last_whole_checkpoint(folder, facts=other, tell=None).endswith("checkpoint-6")


def test_a_checkpoint_killed_at_its_beginning_is_the_runs_own(folder, training_arguments):
    for file in (folder / "checkpoint-6").iterdir():
        if file.name != "hf_transfer_kit_checkpoint.json":
            file.unlink()
    fit(training_arguments, folder, resume=last_whole_checkpoint(folder, facts=FACTS, tell=None))
    assert last_whole_checkpoint(folder, facts=FACTS, tell=None).endswith("checkpoint-6")
