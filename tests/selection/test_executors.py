"""Runs that are dealt to workers give what one process gives, bit by bit, also when a worker is killed."""

import os
import signal

import pytest
from bright_rows import bright_data, make_model, race, race_arguments
from selection.test_going_on import COMPARISONS, plain
from transformers import TrainerCallback, TrainingArguments

from hf_transfer_kit.errors import NotFiniteError, SettingsError, WorkerError
from hf_transfer_kit.selection import Budget, compare_strategies
from hf_transfer_kit.selection.contest.executors import ATTEMPTS, ProcessWorkers, RayWorkers, in_worker
from hf_transfer_kit.selection.contest.store import RunStore


def racing(args, **settings):
    args.remove_unused_columns = False
    return race(bright_data(), args, ["head_only", "full", "from_scratch"], seeds=(0, 1), **settings)


HERE = ("depths", "unseen_classes")  # their runs are done in this process, one after the other
ALL = {"racing": racing, **{name: compare for name, compare in COMPARISONS.items() if name not in HERE}}


class KillOnce(TrainerCallback):
    """Ends its process in the middle of the first run that comes here, as a lack of memory does."""

    def __init__(self, flag):
        self.flag = flag

    def on_step_end(self, args, state, control, **kwargs):
        if in_worker() and state.global_step == 2 and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class KillAlways(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)


class InWorker(TrainerCallback):
    def on_train_begin(self, args, state, control, **kwargs):
        assert in_worker()


def arguments(folder):
    return TrainingArguments(str(folder), use_cpu=True, report_to=[], disable_tqdm=True, per_device_train_batch_size=6)


@pytest.fixture(scope="module")
def processes():
    with ProcessWorkers(2) as executor:
        yield executor


@pytest.mark.parametrize("name", ALL)
def test_two_workers_give_what_one_process_gives(name, processes, tmp_path):
    alone = ALL[name](arguments(tmp_path))
    found = ALL[name](arguments(tmp_path), executor=processes, callbacks=lambda text, seed: [InWorker()])
    assert plain(found) == plain(alone)


def test_a_killed_workers_run_is_begun_again(tmp_path):
    alone, told = racing(arguments(tmp_path)), []
    store = RunStore(tmp_path / "runs")
    with ProcessWorkers(2, tell=told.append) as executor:
        found = racing(
            arguments(tmp_path),
            executor=executor,
            store=store,
            callbacks=lambda text, seed: [KillOnce(tmp_path / "killed")],
        )
    assert (tmp_path / "killed").exists()
    assert len(told) == 1
    assert "Begun again" in told[0]
    assert "seed" in told[0]
    assert plain(found) == plain(alone)
    assert len(store) == 6


def test_a_run_whose_workers_always_end_is_a_sentence(tmp_path):
    with ProcessWorkers(1) as executor, pytest.raises(WorkerError, match=rf"ended {ATTEMPTS} times.*fewer workers"):
        racing(arguments(tmp_path), executor=executor, callbacks=lambda text, seed: [KillAlways()])


def test_what_is_not_finite_in_a_worker_is_out(processes, tmp_path):
    args = race_arguments(tmp_path)
    broken = Budget(4, 4, learning_rate=1e30)
    with pytest.raises(NotFiniteError, match="not finite") as caught:
        compare_strategies(make_model, bright_data(), ["full"], args, broken, executor=processes)
    assert caught.value.step > 0


def test_ray_gives_what_one_process_gives(tmp_path):
    pytest.importorskip("ray")
    told = []
    alone = racing(arguments(tmp_path))
    with RayWorkers(2, tell=told.append) as executor:
        found = racing(
            arguments(tmp_path), executor=executor, callbacks=lambda text, seed: [KillOnce(tmp_path / "killed")]
        )
    assert (tmp_path / "killed").exists()
    assert len(told) == 1
    assert plain(found) == plain(alone)


@pytest.mark.parametrize("workers", [0, -1, True, 1.5])
def test_no_workers_are_a_sentence(workers):
    with pytest.raises(SettingsError, match=r"workers=.* whole number of 1 or more"):
        ProcessWorkers(workers)
