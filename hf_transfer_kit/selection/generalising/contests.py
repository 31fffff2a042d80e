"""The two contests of a generalisation: with each source left out in turn, and on all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.candidate import Candidate
from hf_transfer_kit.selection.contest.contest import Contest
from hf_transfer_kit.selection.contest.executors import Executor
from hf_transfer_kit.selection.contest.flattening import STEPS
from hf_transfer_kit.selection.contest.store import RunStore, data_key, model_key
from hf_transfer_kit.selection.finetuning.running import to_channels_last
from hf_transfer_kit.selection.generalising.methods import GeneralisationMethod
from hf_transfer_kit.selection.generalising.running import (
    GeneralisationRun,
    Sources,
    before_training,
    run_generalisation,
    settings_of,
)

Callbacks = Callable[[str, int], Sequence[TrainerCallback]]


@dataclass(frozen=True, eq=False)
class LeftOutRun:
    """What a run without one source gave; its network is not needed any more.

    Args:
        accuracy: On validation rows of the source that was left out.
        validation: Source -> accuracy on validation rows of those that were trained on.
        seconds: Wall time of training.
        correct: Whether the class of each test row of the source that was left out was predicted, of shape (rows,).
        model: None.
        steps: That were done.
        ended: Why it ended (``UntilFlat``).
    """

    accuracy: float
    validation: Mapping[str, float]
    seconds: float
    correct: np.ndarray
    model: None = None
    steps: int = 0
    ended: str = STEPS

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        """Split -> metric -> value."""
        known = {f"accuracy on {name}": value for name, value in self.validation.items()}
        return {"validation": {**known, "accuracy left out": self.accuracy}}


class Contests:
    """Both, with what their runs share; arguments as in ``compare_generalisation``."""

    def __init__(
        self,
        make_model: Callable[[int], PreTrainedModel],
        sources: Sources,
        args: TrainingArguments,
        budget: Budget,
        seeds: Sequence[int],
        select: str,
        callbacks: Callbacks | None,
        store: RunStore | None,
        executor: Executor | None,
    ) -> None:
        self.make_model, self.sources, self.args, self.budget = make_model, sources, args, budget
        self.seeds, self.select, self.callbacks = seeds, select, callbacks

        def facts() -> dict[str, object]:
            rows = {name: data_key(rows) for name, rows in sources.rows.items()}
            return {"data": data_key(rows), "weights": model_key(make_model(seeds[0])), "select": select}

        self.left_out: Contest[LeftOutRun] = Contest(LeftOutRun, args, budget, store, executor, facts)
        self.whole: Contest[GeneralisationRun] = Contest(GeneralisationRun, args, budget, store, executor, facts)

    def announce(self, methods: Iterable[GeneralisationMethod]) -> None:
        """Hands the runs that leave one source out to the workers, where there are some."""
        candidates = [self._leaving_out(method, name) for method in methods for name in self.sources.rows]
        self.left_out.announce(candidates, self.seeds)

    def without(self, method: GeneralisationMethod, name: str) -> list[LeftOutRun] | None:
        """The runs of a method without one source; None where one broke."""
        return self.left_out.runs(self._leaving_out(method, name), self.seeds)

    def on_all(self, method: GeneralisationMethod) -> list[GeneralisationRun]:
        """The runs of the chosen method on all sources, each with its network.

        Raises:
            NotFiniteError: When one of them broke.
        """
        title = self.title(method)
        candidate = Candidate(
            title,
            partial(self._train, method, self.sources, title),
            partial(self._before_training, method, self.sources),
            {"method": asdict(method)},
            more=lambda seed: {"args": settings_of(method, self.sources, self.args, self.budget, seed)},
        )
        self.whole.announce([candidate], self.seeds)
        return [self.whole.whole(candidate, seed, self.whole.run(candidate, seed)) for seed in self.seeds]

    def _before_training(self, method: GeneralisationMethod, sources: Sources, seed: int) -> PreTrainedModel:
        return to_channels_last(before_training(method, self.make_model, sources, seed), sources.first)

    @staticmethod
    def title(method: GeneralisationMethod) -> str:
        """What a run on all sources is called."""
        return f"{method.text} on all sources"

    def _leaving_out(self, method: GeneralisationMethod, name: str) -> Candidate[LeftOutRun]:
        title = f"{method.text} without {name}"
        train = partial(self._train_without, method, name, title)
        return Candidate(title, train, self.make_model, {"method": asdict(method)})

    def _train_without(self, method: GeneralisationMethod, name: str, title: str, seed: int) -> LeftOutRun:
        run = self._train(method, self.sources.without(name), title, seed)
        rows = self.sources.rows[name]
        metrics, _, _ = run.tested(replace(rows, test=rows.validation))
        _, true, said = run.tested(rows)
        return LeftOutRun(
            metrics["accuracy"], dict(run.validation), run.seconds, said == true, steps=run.steps, ended=run.ended
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("left_out", "whole")}

    def _train(self, method: GeneralisationMethod, used: Sources, title: str, seed: int) -> GeneralisationRun:
        more = self.callbacks(title, seed) if self.callbacks else ()
        return run_generalisation(
            method, self.make_model, used, self.args, self.budget, seed=seed, select=self.select, callbacks=more
        )
