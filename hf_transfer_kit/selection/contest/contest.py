"""The engine of every comparison: each candidate with each seed, once; kept where it ended, given up where it broke."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from torch import nn
from transformers import TrainingArguments

from hf_transfer_kit.errors import NotFiniteError
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.store import RunStore, run_key
from hf_transfer_kit.values import FailedRun, RunFigures

R = TypeVar("R")


@dataclass(eq=False)
class Contest(Generic[R]):
    """Runs candidates under one budget; it knows nothing of what they train.

    Args:
        kind: Dataclass of a run: ``model`` is what was trained, ``figures`` (split -> metric -> value) and ``seconds``
            are for the record.
        args: The user's arguments; None where nothing is trained by them.
        budget: What each run may spend; None where it has none, and says its ``steps`` itself.
        store: Where finished runs are kept; None keeps none.
        facts: What all runs depend on: ``data`` and ``weights``, made when they are first asked for.
        failed: Runs that were given up.
        ran: Figures of the runs that ended, in order.
    """

    kind: type[R]
    args: TrainingArguments | None
    budget: Budget | None
    store: RunStore | None = None
    facts: Callable[[], Mapping[str, Any]] = dict
    failed: list[FailedRun] = field(default_factory=list)
    ran: list[RunFigures] = field(default_factory=list)
    _known: Mapping[str, Any] | None = None
    _done: dict[tuple[str, int], _Done] = field(default_factory=dict)

    def run(
        self,
        candidate: str,
        seed: int,
        train: Callable[[], R],
        rebuild: Callable[[], nn.Module],
        *,
        more: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> R:
        """One run, from the store where it was finished before; its model may be None then (``whole``).

        Args:
            candidate: Its text; it stands for all that is trained beside seed and budget.
            seed: Of the run.
            train: Does it.
            rebuild: The model before training, for what the store holds are changes.
            more: Fields of the run that no file holds.
            **options: Plain values that count for the key as well.

        Raises:
            NotFiniteError: When its loss or a figure is no finite number.
        """
        run = self._kept(candidate, seed, train, rebuild, more or {}, options)
        steps = run.steps if hasattr(run, "steps") else self.budget.max_steps
        self.ran.append(RunFigures(candidate, seed, run.figures, steps, run.seconds))
        return run

    def runs(
        self,
        candidate: str,
        seeds: Sequence[int],
        train: Callable[[int], R],
        rebuild: Callable[[int], nn.Module],
        **options: Any,
    ) -> list[R] | None:
        """One run a seed; None where one of them broke, which is noted in ``failed``.

        A candidate that broke with a seed is out: no seed is left away to let it win.
        """
        found = []
        for seed in seeds:
            try:
                found.append(self.run(candidate, seed, partial(train, seed), partial(rebuild, seed), **options))
            except NotFiniteError as error:
                self.failed.append(FailedRun(candidate, seed, error.step, str(error)))
                return None
        return found

    def under(self, args: TrainingArguments, budget: Budget) -> Contest[R]:
        """The same under another budget, as for short runs before the full ones: what breaks there is noted here."""
        return replace(self, args=args, budget=budget, ran=[], _done={})

    def whole(self, candidate: str, seed: int, run: R) -> R:
        """The run with its model, which is trained again where its weights are gone."""
        if run.model is not None:
            return run
        self._tell(candidate, seed, "is trained again: its figures were kept, its weights were not.")
        return self._trained(candidate, seed)

    def finished(self, *needed: tuple[str, int]) -> None:
        """The comparison is over: of all runs but those that are named, by candidate and seed, the weights go."""
        if self.store is not None:
            self.store.forget_weights([done.key for run, done in self._done.items() if run not in needed])

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

    def _kept(
        self,
        candidate: str,
        seed: int,
        train: Callable[[], R],
        rebuild: Callable[[], nn.Module],
        more: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> R:
        if self.store is None:
            return train()
        if self._known is None:
            self._known = {**self.facts(), **self.store.facts}
        key = run_key(candidate, seed, budget=self.budget, args=self.args, **self._known, **options)
        self._done[candidate, seed] = _Done(key, train, rebuild)
        try:
            found = self.store.read(key, self.kind, rebuild, more)
        except NotFiniteError:
            self._tell(candidate, seed, f"broke before and is not tried again, unless {key} is removed there.")
            raise
        if found is None:
            return self._trained(candidate, seed)
        self._tell(candidate, seed, "was finished before and is taken as it was.")
        return found

    def _trained(self, candidate: str, seed: int) -> R:
        done = self._done[candidate, seed]
        facts = {"candidate": candidate, "seed": seed}
        try:
            run = done.train()
        except NotFiniteError as error:
            self.store.keep_failure(done.key, error, facts)
            raise
        self.store.keep(done.key, run, done.rebuild, facts)
        return run

    def _tell(self, candidate: str, seed: int, what: str) -> None:
        if self.store.tell is not None:
            self.store.tell(f"{candidate}, seed {seed}: {what}")


class _Done(NamedTuple):
    key: str
    train: Callable[[], Any]
    rebuild: Callable[[], nn.Module]
