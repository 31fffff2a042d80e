"""A store is built once: after a kill from where it stopped, by one run at a time, by all processes together."""

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import processes
import pytest
import torch
from features.store_process import COLUMNS, PER_SHARD, ROWS, values

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.features import Column, build_store, building, find_store

PROCESS = Path(__file__).with_name("store_process.py")
STARTS = list(range(0, ROWS, PER_SHARD))


class Counted:
    """``values`` that remembers which shards were asked of it."""

    def __init__(self, broken=None):
        self.starts = []
        self.broken = broken

    def __call__(self, start, stop):
        self.starts.append(start)
        if start == self.broken:
            raise RuntimeError("broken row")
        return values(start, stop)


def build(cache_dir, compute=values, key="k", columns=COLUMNS, rows=ROWS, rows_per_shard=PER_SHARD, **settings):
    return build_store(cache_dir, key, columns, rows, compute, rows_per_shard=rows_per_shard, **settings)


def flip(file):
    """One bit of one value is another."""
    data = bytearray(file.read_bytes())
    data[-20] ^= 1  # behind the headers, which Arrow checks by itself
    file.write_bytes(bytes(data))


def exchange(file):
    other = file.with_name("shard-00004.arrow")
    kept = file.read_bytes()
    file.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def change(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def contents(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def start(*arguments):
    places = os.pathsep.join([str(PROCESS.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    return processes.start([PROCESS, *arguments], env=environment)


def finished(process):
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    return output


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Files of a build that nothing disturbed."""
    return contents(build(tmp_path_factory.mktemp("plain")).path)


def test_a_killed_run_leaves_nothing_complete_and_the_next_computes_only_the_rest(tmp_path, plain):
    killed = start(tmp_path, tmp_path / "log", "--kill-at", 20)
    killed.communicate(timeout=100)
    assert killed.returncode == -signal.SIGKILL
    assert find_store(tmp_path, "k") is None
    compute = Counted()
    store = build(tmp_path, compute)
    assert compute.starts == [20, 24, 28]
    assert contents(store.path) == plain
    assert not (tmp_path / "k.partial").exists()


def test_of_two_runs_at_once_one_computes_and_both_read(tmp_path, plain):
    both = [start(tmp_path, tmp_path / "log", "--seconds", 0.05, "--meet", tmp_path / "meet") for _ in range(2)]
    outputs = [finished(process) for process in both]
    assert outputs[0] == outputs[1]
    assert outputs[0].startswith("sum")
    assert [int(line.split()[0]) for line in (tmp_path / "log").read_text().splitlines()] == STARTS
    assert contents(tmp_path / "k") == plain


def test_a_failure_in_one_process_stops_all_and_together_they_then_write_the_same_bytes(tmp_path, plain):
    arguments = (tmp_path, tmp_path / "log", "--fail-at", 20, "--world", 2, "--rendezvous", tmp_path / "meeting")
    both = [start(*arguments, "--rank", rank) for rank in range(2)]
    outputs = [finished(process).splitlines() for process in both]
    assert outputs[0][0].startswith("error DataError Process 1 of 2 failed, so all stop. It said: RuntimeError: row 20")
    assert outputs[1][0] == "error RuntimeError row 20 is bad"
    assert outputs[0][1] == outputs[1][1]
    assert outputs[0][1].startswith("sum")
    computed = [tuple(line.split()) for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(int(begin) for begin, _ in computed) == STARTS
    assert {rank for _, rank in computed} == {"0", "1"}
    assert contents(tmp_path / "k") == plain


def test_a_complete_store_is_returned_at_once_with_what_was_kept_beside_it(tmp_path):
    build(tmp_path, metadata={"layer": "pooled", "sizes": [1, 2]})
    compute = Counted()
    store = build(tmp_path, compute, rows_per_shard=7, metadata={"layer": "other"})
    assert compute.starts == []
    assert store.metadata == {"layer": "pooled", "sizes": [1, 2]}
    assert len(store) == ROWS
    assert find_store(tmp_path, "k").columns == tuple(COLUMNS)


@pytest.mark.parametrize(
    "changed",
    [{"rows": ROWS - 1}, {"rows_per_shard": 5}, {"columns": [COLUMNS[0], Column("y", "bfloat16", (None, None))]}],
)
def test_shards_of_another_layout_are_thrown_away(tmp_path, changed):
    with pytest.raises(RuntimeError, match="broken row"):
        build(tmp_path, Counted(broken=20))
    compute = Counted()
    store = build(tmp_path, compute, **changed)
    assert compute.starts == list(range(0, store.layout.rows, store.layout.rows_per_shard))
    assert torch.equal(store.gather(range(len(store)))["x"], values(0, len(store))["x"])


def test_leftovers_that_cannot_be_read_are_computed_again(tmp_path, plain):
    with pytest.raises(RuntimeError, match="broken row"):
        build(tmp_path, Counted(broken=20))
    partial = tmp_path / "k.partial"
    (partial / "shard-00001.arrow").write_bytes(plain["shard-00001.arrow"][:-200])
    flip(partial / "shard-00003.arrow")
    (partial / "shard-00004.arrow.xxh3").unlink()
    shutil.copy(partial / "shard-00000.arrow", partial / "shard-00005.arrow.unfinished")
    compute = Counted()
    store = build(tmp_path, compute)
    assert compute.starts == [4, 12, 16, 20, 24, 28]
    assert contents(store.path) == plain


def test_another_thing_under_the_same_key_is_refused_and_stays(tmp_path, plain):
    store = build(tmp_path)
    with pytest.raises(DataError, match=r"not the 12 rows of \['x', 'y'\] asked for. The key must change"):
        build(tmp_path, rows=12)
    assert contents(store.path) == plain


def test_a_full_disk_midway_is_one_sentence_and_keeps_what_is_finished(tmp_path, plain, monkeypatch):
    class Full:
        """A file of a disk that takes 100 bytes more."""

        def __init__(self, file):
            self.file = file

        def write(self, data):
            self.file.write(memoryview(data).cast("B")[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

    def opened(path, mode="r", **settings):
        file = open(path, mode, **settings)  # noqa: SIM115 - it is the caller who closes it
        return Full(file) if "shard-00005" in str(path) and mode == "wb" else file

    build(tmp_path, key="other")
    monkeypatch.setattr("hf_transfer_kit.features.shards.open", opened, raising=False)
    with pytest.raises(DataError, match=r"^No space is left to write .*k\.partial\. Free some, name another cache_dir"):
        build(tmp_path)
    monkeypatch.undo()
    names = sorted(file.name for file in (tmp_path / "k.partial").iterdir() if file.suffix != ".xxh3")
    assert names == ["layout.json", *(f"shard-0000{shard}.arrow" for shard in range(5))]
    assert len(find_store(tmp_path, "other")) == ROWS
    compute = Counted()
    assert contents(build(tmp_path, compute).path) == plain
    assert compute.starts == [20, 24, 28]


def test_a_disk_too_small_is_refused_before_work(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=2 * 2**20)
    monkeypatch.setattr(building.shutil, "disk_usage", lambda path: free)
    compute = Counted()
    with pytest.raises(DataError, match=r"needs 4\.2 MB more, but .* has 2\.1 MB free\. Free some"):
        build(tmp_path, compute, columns=[Column("x", "float32", (1024,))], rows=1024)
    assert compute.starts == []
    assert len(build(tmp_path)) == ROWS


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file cannot be written \(File exists\). Name a cache_dir"):
        build(tmp_path / "file")
    with pytest.raises(DataError, match=r"cannot be written \(Not a directory\)"):
        build(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("manifest.json", lambda file: file.write_text("{")),
        ("manifest.json", lambda file: file.unlink()),
        ("manifest.json", lambda file: change(file, format=99)),
        ("manifest.json", lambda file: change(file, rows_per_shard=0)),
        ("manifest.json", lambda file: change(file, metadata={"views": 2})),
        ("shard-00003.arrow", lambda file: file.unlink()),
        ("shard-00003.arrow", lambda file: file.write_bytes(b"")),
        ("shard-00003.arrow", lambda file: file.write_bytes(file.read_bytes()[:-150])),
        ("shard-00003.arrow", lambda file: shutil.copy(file.with_name("shard-00007.arrow"), file)),
        ("shard-00003.arrow", flip),
        ("shard-00003.arrow", exchange),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_computed(tmp_path, name, damage):
    damage(build(tmp_path).path / name)
    compute = Counted()
    with pytest.raises(DataError, match=rf"{name} is .*damaged \(.+\)\. Delete the folder .*/k and run again"):
        build(tmp_path, compute)
    assert compute.starts == []
    shutil.rmtree(tmp_path / "k")
    assert len(build(tmp_path)) == ROWS


@pytest.mark.parametrize(
    ("computed", "sentence"),
    [
        ({"x": torch.zeros(4, 3)}, r"columns \['x', 'y'\] were promised, but \['x'\] were computed"),
        ({"x": torch.zeros(3, 3)}, r"'x' was computed with shape \(3, 3\), but \(4, 3\) was promised: all rows must"),
        ({"x": torch.zeros(4, 2)}, r"'x' was computed with shape \(4, 2\).*Pad or crop them to one size"),
        ({"x": torch.zeros(4, 3).half()}, r"'x' was computed as float16, but float32 was promised"),
        ({"x": [torch.zeros(3)] * 4}, r"'x' was computed as list; all rows must have one size"),
        ({"y": [torch.zeros(1, 2).bfloat16()] * 3}, r"'y' was computed for 3 rows, but 4 were asked for"),
        ({"y": [torch.zeros(1, 3).bfloat16()] * 4}, r"'y' has a row of shape \(1, 3\), but \(None, 2\) was promised"),
        ({"y": [torch.zeros(1, 2)] * 4}, r"'y' was computed as float32, but bfloat16 was promised"),
    ],
)
def test_rows_other_than_promised_name_the_column(tmp_path, computed, sentence):
    given = computed if "y" not in computed and len(computed) == 1 and "were promised" in sentence else None
    with pytest.raises(DataError, match=sentence):
        build(tmp_path, lambda start, stop: given or {**values(start, stop), **computed})
    assert find_store(tmp_path, "k") is None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rows": -1}, r"rows=-1 and rows_per_shard=4"),
        ({"rows_per_shard": 0}, r"rows=30 and rows_per_shard=0"),
        ({"columns": []}, r"but there is none"),
        ({"columns": [COLUMNS[0], COLUMNS[0]]}, r"but 'x' is there twice"),
        ({"columns": [COLUMNS[1], Column("y.shape", "int64", (2,))]}, r"but 'y.shape' is there twice"),
        ({"key": "a/b"}, r"'a/b' cannot name a cache"),
        ({"key": "a.partial"}, r"'a.partial' cannot name a cache"),
        ({"metadata": {"a": torch.zeros(1)}}, r"metadata must be plain JSON values"),
    ],
)
def test_what_cannot_be_stored_is_refused(tmp_path, settings, sentence):
    with pytest.raises(SettingsError, match=sentence):
        build(tmp_path, **settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("dtype", "shape", "sentence"),
    [
        ("complex64", (1,), "cannot be stored"),
        ("float32", (-1,), "lengths are 0 or more"),
        ("uint8", (2**16, 2**16), "at most"),
    ],
)
def test_a_column_that_arrow_cannot_hold_is_refused(dtype, shape, sentence):
    with pytest.raises(SettingsError, match=sentence):
        Column("x", dtype, shape)
