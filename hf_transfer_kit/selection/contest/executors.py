"""Where the runs of a comparison are done: in worker processes of this machine, or on machines that Ray knows."""

from __future__ import annotations

import logging
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import current_process
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any

import cloudpickle
import torch

from hf_transfer_kit.errors import SettingsError, WorkerError
from hf_transfer_kit.registering import load_plugins, loaded_plugins

_WORKER = Event()
ATTEMPTS = 3
"""A run is begun so often, at most, when its workers end before it does."""


@dataclass(eq=False)
class Job:
    """A run that is done elsewhere.

    Args:
        name: What it is, for people.
        work: Does it; what it raises is raised by ``Executor.wait``.
        handle: What the executor knows it by.
        attempts: How often it was begun.
    """

    name: str
    work: Callable[[], None]
    handle: Any = None
    attempts: int = 0
    ended: bool = False


@dataclass(eq=False)
class Executor(ABC):
    """Does runs elsewhere, several at once; a run whose worker ends early is begun again.

    Use it as a context manager: ``with ProcessWorkers(2) as executor: compare_strategies(..., executor=executor)``.

    Args:
        workers: Runs at once, at least 1.
        tell: Called with a sentence for each run that is begun again; None says nothing.
        plugins: Python files that register what the runs need: those that were loaded here, by default.

    Example:
        >>> with ProcessWorkers(2) as executor:
        ...     isinstance(executor, Executor)
        True
    """

    workers: int
    tell: Callable[[str], object] | None = None
    plugins: tuple[str, ...] = field(default_factory=loaded_plugins)
    _jobs: list[Job] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.workers, bool) or not isinstance(self.workers, int) or self.workers < 1:
            raise SettingsError(f"workers={self.workers!r} is out of range; give a whole number of 1 or more.")
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            raise SettingsError(
                "Runs are dealt to workers by one process, and this is one of several: use workers without torchrun or "
                "accelerate launch, or leave the workers out and let all processes share each run."
            )

    def submit(self, name: str, work: Callable[[], None]) -> Job:
        """Hands a run over; it begins when a worker is free."""
        job = Job(name, work)
        self._jobs.append(job)
        self._begin(job)
        return job

    def wait(self, job: Job) -> None:
        """Returns when the run is over.

        Raises:
            WorkerError: When its worker ended before it did, ``ATTEMPTS`` times.
            Exception: What the run raised.
        """
        while not job.ended:
            try:
                self._result(job)
                job.ended = True
            except WorkerError as error:
                self._begin_again(job, error)
            except BaseException:
                job.ended = True
                raise

    @abstractmethod
    def close(self) -> None:
        """Stops the workers; runs that are not over are lost."""

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _begin(self, job: Job) -> None:
        job.attempts += 1
        threads = max(1, torch.get_num_threads() // self.workers)
        self._start(job, partial(_done, cloudpickle.dumps(job.work), self.plugins, threads, tuple(sys.path)))

    def _begin_again(self, job: Job, error: WorkerError) -> None:
        """The run, and every other one that was lost with its worker."""
        lost = [other for other in self._jobs if not other.ended and self._is_lost(other)]
        if job.attempts >= ATTEMPTS:
            raise WorkerError(
                f"{job.name}: its worker ended {job.attempts} times before the run did ({error}). Where memory is "
                "short, use fewer workers or a smaller batch."
            ) from error
        if self.tell is not None:
            names = "; ".join(other.name for other in lost)
            self.tell(f"A worker ended before its run was over ({error}). Begun again: {names}.")
        for other in lost:
            self._begin(other)

    @abstractmethod
    def _start(self, job: Job, work: Callable[[], None]) -> None:
        """Lets a worker do it, and notes by what it is known in ``job.handle``."""

    @abstractmethod
    def _result(self, job: Job) -> None:
        """Waits; raises what the run raised, or WorkerError when its worker is gone."""

    @abstractmethod
    def _is_lost(self, job: Job) -> bool:
        """Whether the worker of a run is gone."""


@dataclass(eq=False)
class ProcessWorkers(Executor):
    """Processes on this machine; each has its share of the threads, and of several GPUs one.

    The functions of a run travel by ``cloudpickle`` (through loky), so those of a notebook or a script do as well.

    Example:
        >>> with ProcessWorkers(2) as executor:  # compare_strategies(..., executor=executor)
        ...     executor.workers
        2
    """

    _pool: Any = field(default=None, init=False, repr=False)

    def close(self) -> None:
        if self._pool is not None:
            over = all(job.ended for job in self._jobs)
            self._pool.shutdown(wait=True, kill_workers=not over)
            self._pool = None

    def _start(self, job: Job, work: Callable[[], None]) -> None:
        from loky.process_executor import ProcessPoolExecutor, ShutdownExecutorError

        devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        for _ in range(2):  # the pool may break between two runs
            if self._pool is None:
                self._pool = ProcessPoolExecutor(self.workers, initializer=_take_device, initargs=(devices,))
            try:
                job.handle = self._pool.submit(work)
                return
            except (BrokenProcessPool, ShutdownExecutorError):
                self._pool = None
        raise WorkerError("No worker process can be started.")

    def _result(self, job: Job) -> None:
        try:
            job.handle.result()
        except BrokenProcessPool as error:
            self._pool = None  # it takes no more runs
            raise WorkerError("killed, or out of memory") from error

    def _is_lost(self, job: Job) -> bool:
        return job.handle.done() and isinstance(job.handle.exception(), BrokenProcessPool)


@dataclass(eq=False)
class RayWorkers(Executor):
    """Tasks of a Ray cluster, each of one CPU and, where there are GPUs, one of them.

    The package, the data and the folder of the runs must be found at the same place by every machine of the cluster.

    Args:
        address: Of a cluster that runs (``"auto"``, ``"ray://host:10001"``); None starts one on this machine with as
            many CPUs as ``workers``.

    Example:
        >>> with RayWorkers(2) as executor:  # doctest: +SKIP
        ...     found = compare_strategies(make_model, data, ["full", "head_only"], args, budget, executor=executor)
    """

    address: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError as error:
            raise SettingsError(
                "Ray is not installed: pip install 'hf_transfer_kit[ray]', or use --workers, which needs no more."
            ) from error
        self._ray = ray
        self._owns = not ray.is_initialized()
        if self._owns:
            local: dict[str, Any] = {"num_cpus": self.workers, "include_dashboard": False}
            options = local if self.address is None else {}
            try:
                ray.init(address=self.address or "local", log_to_driver=True, logging_level=logging.ERROR, **options)
            except (ConnectionError, ValueError) as error:
                raise SettingsError(
                    f"There is no Ray cluster at {self.address!r} that lets this process in: {error}. Clusters of "
                    "newer Ray want a token: set RAY_AUTH_MODE=token here, and put the first machine's "
                    "~/.ray/auth_token on all of them."
                ) from error

    def close(self) -> None:
        if self._owns and self._ray.is_initialized():
            self._ray.shutdown()

    def _start(self, job: Job, work: Callable[[], None]) -> None:
        gpus = 1 if self._ray.cluster_resources().get("GPU") else 0
        task = self._ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_called)
        job.handle = task.remote(work)

    def _result(self, job: Job) -> None:
        gone = self._ray.exceptions
        try:
            self._ray.get(job.handle)
        except (gone.WorkerCrashedError, gone.NodeDiedError, gone.ObjectLostError, gone.OutOfMemoryError) as error:
            raise WorkerError("killed, or out of memory") from error
        except gone.RayTaskError as error:
            raise error.cause from error

    def _is_lost(self, job: Job) -> bool:
        ready, _ = self._ray.wait([job.handle], timeout=0)
        if not ready:
            return False
        try:
            self._result(job)
        except WorkerError:
            return True
        except Exception:
            return False
        return False


def in_worker() -> bool:
    """Whether this is a process that does runs for another one."""
    return _WORKER.is_set()


def _done(work: bytes, plugins: tuple[str, ...], threads: int, path: tuple[str, ...]) -> None:
    """The run, in its worker: what it was made of may need the plugins, and what can be imported where it came from."""
    _WORKER.set()
    sys.path += [folder for folder in path if folder not in sys.path]
    if missing := [path for path in plugins if path not in loaded_plugins()]:
        load_plugins(Path(path) for path in missing)
    torch.set_num_threads(threads)
    cloudpickle.loads(work)()


def _called(work: Callable[[], None]) -> None:
    work()


def _take_device(devices: int) -> None:
    """Gives a worker one of the GPUs, before it has looked at any."""
    if devices > 1:
        number = int(current_process().name.rpartition("-")[2].partition(":")[0])
        os.environ["CUDA_VISIBLE_DEVICES"] = str(number % devices)
