"""Caches are listed with their sizes and ages, and only caches are removed."""

import os
import time

import pytest
from features.test_building import Counted, build
from filelock import FileLock

from hf_transfer_kit.commands import cache as command
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features import find_store
from hf_transfer_kit.features.cleaning import clean_caches, list_caches


@pytest.fixture
def folder(tmp_path):
    """A cache used now, one used 40 days ago, a stopped one, and what is no cache."""
    build(tmp_path, key="new")
    build(tmp_path, key="old")
    with pytest.raises(RuntimeError):
        build(tmp_path, Counted(broken=8), key="stopped")
    then = time.time() - 40 * 86400
    os.utime(tmp_path / "old" / "manifest.json", (then, then))
    for file in (tmp_path / "stopped.partial").iterdir():
        os.utime(file, (then, then))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "manifest.json").write_text('{"rows": 3}')
    (tmp_path / "notes.txt").write_text("mine")
    return tmp_path


def names(caches):
    return [cache.path.name for cache in caches]


def test_caches_are_listed_with_sizes_and_ages(folder):
    caches = list_caches(folder)
    assert sorted(names(caches)[:2]) == ["old", "stopped.partial"]
    assert names(caches)[2] == "new"
    old = next(cache for cache in caches if cache.path.name == "old")
    assert old.days == pytest.approx(40, abs=0.1)
    assert old.nbytes == sum(file.stat().st_size for file in old.path.iterdir())
    assert (old.finished, old.words) == (True, "30 rows of x, y")
    assert not next(cache for cache in caches if cache.path.name == "stopped.partial").finished


def test_opening_a_cache_is_using_it(folder):
    find_store(folder, "old")
    assert all(cache.days < 1 for cache in list_caches(folder) if cache.finished)


def test_only_caches_that_were_not_used_go(folder):
    assert sorted(names(clean_caches(folder, older_than=30))) == ["old", "stopped.partial"]
    left = {path.name for path in folder.iterdir() if path.suffix != ".lock"}
    assert left == {"new", "photos", "notes.txt"}
    assert names(clean_caches(folder, older_than=0)) == ["new"]
    assert (folder / "photos" / "manifest.json").exists()


def test_one_that_is_being_built_stays(folder):
    with FileLock(folder / "stopped.lock"):
        assert names(clean_caches(folder, older_than=0)) == ["old", "new"]
    assert (folder / "stopped.partial" / "shard-00001.arrow").exists()


def test_one_that_was_removed_by_half_is_computed_anew(folder, monkeypatch):
    monkeypatch.setattr("hf_transfer_kit.features.cleaning.shutil.rmtree", lambda *args, **kwargs: None)
    clean_caches(folder, older_than=30)
    monkeypatch.undo()
    compute = Counted()
    build(folder, compute, key="old")
    assert compute.starts[0] == 0


@pytest.mark.parametrize("days", [-1, float("nan"), float("inf")])
def test_days_are_0_or_more(days, tmp_path):
    with pytest.raises(SettingsError, match="give a number of days"):
        clean_caches(tmp_path, older_than=days)


def test_the_command_lists_and_cleans(folder, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["features", "list", "--cache_dir", str(folder)])
    command.main()
    listed = capsys.readouterr().out
    assert "30 rows of x, y, not finished" in listed
    assert "3 caches of" in listed
    monkeypatch.setattr("sys.argv", ["features", "clean", "--cache_dir", str(folder), "--older_than", "30"])
    command.main()
    assert "2 caches of" in capsys.readouterr().out
    assert names(list_caches(folder)) == ["new"]
