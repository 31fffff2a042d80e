"""The engine of every comparison: each candidate with each seed, once; kept where it ended, given up where it broke."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeVar, cast

from torch import nn
from transformers import TrainingArguments

from hf_transfer_kit.errors import NotFiniteError
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.candidate import Candidate, ContestRun
from hf_transfer_kit.selection.contest.executors import Executor, Job
from hf_transfer_kit.selection.contest.store import RunStore, run_key
from hf_transfer_kit.values import FailedRun, RunFigures

R = TypeVar("R", bound=ContestRun)


@dataclass(eq=False)
class Contest(Generic[R]):
    """Runs candidates under one budget; it knows nothing of what they train.

    Args:
        kind: Dataclass of a run: ``model`` is what was trained, ``figures`` (split -> metric -> value) and ``seconds``
            are for the record.
        args: The user's arguments; None where nothing is trained by them.
        budget: What each run may spend; None where it has none, and says its ``steps`` itself.
        store: Where finished runs are kept; None keeps none.
        executor: Who does them; None does each in this process, when it is asked for. Runs that are done elsewhere come
            back through the store, so that without one a folder of this machine stands for it meanwhile.
        facts: What all runs depend on: ``data`` and ``weights``, made when they are first asked for.
        failed: Runs that were given up.
        ran: Figures of the runs that ended, in order.
    """

    kind: type[R]
    args: TrainingArguments | None
    budget: Budget | None
    store: RunStore | None = None
    executor: Executor | None = None
    facts: Callable[[], Mapping[str, Any]] = dict
    failed: list[FailedRun] = field(default_factory=list)
    ran: list[RunFigures] = field(default_factory=list)
    _known: Mapping[str, Any] | None = None
    _keys: dict[tuple[str, int], str] = field(default_factory=dict)
    _jobs: dict[tuple[str, int], Job] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._store = self.store
        if self.executor is not None and self.store is None:
            self._folder = tempfile.TemporaryDirectory(prefix="runs-", ignore_cleanup_errors=True)
            self._store = RunStore(self._folder.name)

    @property
    def _records(self) -> RunStore:
        return cast(RunStore, self._store)  # asked for where there is one

    def announce(self, candidates: Iterable[Candidate[R]], seeds: Sequence[int]) -> None:
        """Hands what is missing to the workers, where there are some; without it a run begins when it is asked for."""
        if self.executor is None:
            return
        for candidate in candidates:
            for seed in seeds:
                if (candidate.text, seed) not in self._jobs and not self._records.has(self._key(candidate, seed)):
                    candidate.before(seed)
                    self._jobs[candidate.text, seed] = self.executor.submit(
                        f"{candidate.text}, seed {seed}", self._work(candidate, seed)
                    )

    def run(self, candidate: Candidate[R], seed: int) -> R:
        """One run, from the store where it was finished before; its model may be None then (``whole``).

        Raises:
            NotFiniteError: When its loss or a figure is no finite number.
            WorkerError: When its workers ended too often before it did.
        """
        run = self._kept(candidate, seed)
        steps = run.steps if hasattr(run, "steps") else cast(Budget, self.budget).max_steps
        self.ran.append(RunFigures(candidate.text, seed, run.figures, steps, run.seconds))
        return run

    def runs(self, candidate: Candidate[R], seeds: Sequence[int]) -> list[R] | None:
        """One run a seed; None where one of them broke, which is noted in ``failed``.

        A candidate that broke with a seed is out: no seed is left away to let it win.
        """
        self.announce([candidate], seeds)
        found = []
        for seed in seeds:
            try:
                found.append(self.run(candidate, seed))
            except NotFiniteError as error:
                self.failed.append(FailedRun(candidate.text, seed, error.step, str(error)))
                return None
        return found

    def under(self, args: TrainingArguments, budget: Budget) -> Contest[R]:
        """The same under another budget, as for short runs before the full ones: what breaks there is noted here."""
        return replace(self, args=args, budget=budget, ran=[], _keys={}, _jobs={})

    def whole(self, candidate: Candidate[R], seed: int, run: R) -> R:
        """The run with its model, which is trained again where its weights are gone."""
        if run.model is not None:
            return run
        self._tell(candidate, seed, "is trained again: its figures were kept, its weights were not.")
        return self._trained(candidate, seed)

    def finished(self, *needed: tuple[str, int]) -> None:
        """The comparison is over: of all runs but those that are named, by candidate and seed, the weights go."""
        if self._store is not None:
            self._store.forget_weights([key for run, key in self._keys.items() if run not in needed])

    def check(self) -> None:
        """Refuses a comparison of which every candidate broke.

        Raises:
            NotFiniteError: The first one's.
        """
        if self.failed:
            first = self.failed[0]
            raise NotFiniteError(
                f"Every candidate broke. {first.candidate}, seed {first.seed}: {first.reason}", first.step
            )

    def _kept(self, candidate: Candidate[R], seed: int) -> R:
        if self._store is None:
            candidate.before(seed)
            return candidate.train(seed)
        job = self._jobs.get((candidate.text, seed))
        if job is not None and self.executor is not None:
            self.executor.wait(job)

        def rebuild() -> nn.Module:
            candidate.before(seed)
            return candidate.rebuild(seed)

        key = self._key(candidate, seed)
        try:
            found = self._store.read(key, self.kind, rebuild, candidate.more(seed))
        except NotFiniteError:
            self._tell(candidate, seed, f"broke before and is not tried again, unless {key} is removed there.")
            raise
        if found is None:
            return self._trained(candidate, seed)
        if job is None:
            self._tell(candidate, seed, "was finished before and is taken as it was.")
        return found

    def _trained(self, candidate: Candidate[R], seed: int) -> R:
        candidate.before(seed)
        return self._work(candidate, seed).run()

    def _work(self, candidate: Candidate[R], seed: int) -> _Work[R]:
        return _Work(
            self._records, self._key(candidate, seed), candidate.text, seed, candidate.train, candidate.rebuild
        )

    def _key(self, candidate: Candidate[R], seed: int) -> str:
        run = candidate.text, seed
        if run not in self._keys:
            if self._known is None:
                self._known = {**self.facts(), **self._records.facts}
            key = run_key(candidate.text, seed, budget=self.budget, args=self.args, **self._known, **candidate.options)
            self._keys[run] = key
        return self._keys[run]

    def _tell(self, candidate: Candidate[R], seed: int, what: str) -> None:
        if self._records.tell is not None:
            self._records.tell(f"{candidate.text}, seed {seed}: {what}")


@dataclass(frozen=True, eq=False)
class _Work(Generic[R]):
    """A run that is trained and kept, here or in another process."""

    store: RunStore
    key: str
    candidate: str
    seed: int
    train: Callable[[int], R]
    rebuild: Callable[[int], nn.Module]

    def run(self) -> R:
        facts = {"candidate": self.candidate, "seed": self.seed}
        try:
            run = self.train(self.seed)
        except NotFiniteError as error:
            self.store.keep_failure(self.key, error, facts)
            raise
        self.store.keep(self.key, run, partial(self.rebuild, self.seed), facts)
        return run

    def __call__(self) -> None:
        self.run()
