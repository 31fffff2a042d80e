"""Methods for several sources side by side, chosen by how they fare on a source that was left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from transformers import PreTrainedModel, TrainingArguments

from hf_transfer_kit.backbones.batch_norms import batch_norms
from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.selection.adapting.methods import refuse_idle_views
from hf_transfer_kit.selection.contest.bootstrap import Pair, runs_interval
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.candidate import check_entries
from hf_transfer_kit.selection.contest.executors import Executor
from hf_transfer_kit.selection.contest.outcome import Outcome
from hf_transfer_kit.selection.contest.store import RunStore
from hf_transfer_kit.selection.contest.verdict import Question, judge
from hf_transfer_kit.selection.generalising.contests import Callbacks, Contests, LeftOutRun
from hf_transfer_kit.selection.generalising.methods import (
    JOINT,
    METHODS,
    PER_DOMAIN,
    GeneralisationMethod,
    make_generalisation_method,
)
from hf_transfer_kit.selection.generalising.running import (
    ACCURACY,
    LAST,
    GeneralisationRun,
    Sources,
)
from hf_transfer_kit.values import FailedRun, Generalisation, GeneralisationResult, RunFigures, Verdict

Correct = Mapping[str, np.ndarray]
"""Source left out -> whether each of its test rows was predicted rightly, of shape (runs, rows)."""


@dataclass(frozen=True, eq=False)
class GeneralisationComparison(Outcome):
    """The outcome.

    Args:
        found: What was reached.
        run: The first seed's run of the chosen method on all sources, whose network is to be kept.
        true: Classes of the test rows that are shown: of the unseen domain, else of all sources one after the other.
        predicted: What that network predicts for them.
        failed: Runs that were given up; their methods are not among the results.
        runs: Every figure of every run.
    """

    found: Generalisation
    run: GeneralisationRun
    true: np.ndarray
    predicted: np.ndarray
    failed: tuple[FailedRun, ...] = ()
    runs: tuple[RunFigures, ...] = ()

    @property
    def chosen_candidate(self) -> str:
        """The chosen method."""
        return self.found.chosen

    def sentences(self) -> tuple[str, ...]:
        """The verdict on the chosen method."""
        verdict = self.found.result(self.found.chosen).verdict
        return (verdict.sentence,) if verdict else ()


def compare_generalisation(
    methods: Sequence[str | GeneralisationMethod],
    make_model: Callable[[int], PreTrainedModel],
    sources: Sources,
    args: TrainingArguments,
    budget: Budget,
    *,
    seeds: Sequence[int] = (0,),
    unseen: tuple[str, PreparedData] | None = None,
    select: str = ACCURACY,
    invert: bool = False,
    callbacks: Callbacks | None = None,
    on_result: Callable[[GeneralisationResult], None] | None = None,
    store: RunStore | None = None,
    executor: Executor | None = None,
) -> GeneralisationComparison:
    """Trains every method as often as there are sources, each time without one of them, and judges it on that one.

    The method with the best mean over the sources left out (on their validation rows) is then trained on all, with
    every seed. Test rows of the sources, and of the unseen domain, are read by those networks at the end; those of the
    source that a run was without, by that run for the verdict. They choose nothing.

    With two sources a run that leaves one out has a single one, where methods differ in nothing but their averaging and
    their views; those that are one and the same are trained once, and named in ``Generalisation.alike``. Of equal
    methods the one given first is chosen.

    Args:
        methods: Texts, or what ``make_generalisation_method`` makes of them; none twice.
        make_model: Seed -> classifier with a fresh head.
        sources: Two or more.
        args: Arguments for the stock Trainer.
        budget: What each run may spend; ``batch_size`` rows of each source a step.
        seeds: One run each, at least one, none twice.
        unseen: Name and splits of a domain for the final figure alone, labelled; its test rows are read.
        select: ``"accuracy"`` or ``"last"``, as in ``run_generalisation``.
        invert: Whether strong views invert every second image where the text does not say.
        callbacks: Text of a run (the method, and which source is left out) and seed -> callbacks for that run.
        on_result: Called after each method.
        store: Where finished runs are kept and taken from; None keeps none.
        executor: Who does the runs, several at once; None does one after another in this process.

    Raises:
        NotFiniteError: When every method broke, or the chosen one did on all sources.
        SettingsError: Before anything is trained, when a method, the seeds, the sources or ``select`` do not fit.
        ModelError: Before anything is trained, when a method needs BatchNorm and the network has none.

    Example:
        >>> found = compare_generalisation(["joint"], make_model, sources, args, budget)
        >>> found.found.chosen
        'joint'
    """
    chosen = checked_generalisation(methods, seeds=seeds, select=select, invert=invert)
    refuse_idle_views([method.text for method in chosen], sources.first.reads)
    if len(sources.rows) < 2:
        raise SettingsError(
            f"Leaving one source out needs two sources or more, but there is {', '.join(sources.rows)} alone."
        )
    if any(method.name == PER_DOMAIN for method in chosen):
        check_batch_norm(make_model(seeds[0]))

    contests = Contests(make_model, sources, args, budget, seeds, select, callbacks, store, executor)
    single = len(sources.rows) == 2
    done: dict[Any, tuple[GeneralisationResult, Correct] | None] = {}
    correct: dict[str, Correct] = {}
    results = []
    contests.announce(
        {method.with_one_source if single else method.text: method for method in reversed(chosen)}.values()
    )
    for method in chosen:
        key = method.with_one_source if single else method.text
        if key not in done:
            done[key] = _left_out(method, sources, seeds, contests)
        if (found_now := done[key]) is None:
            continue
        result, correct[method.text] = found_now
        results.append(replace(result, method=method.text, summary=METHODS[method.name]))
        if on_result:
            on_result(results[-1])
    if not results:
        contests.left_out.check()
    best = max(results, key=lambda result: result.mean)  # of equal ones the first
    method = next(method for method in chosen if method.text == best.method)
    runs = contests.on_all(method)
    results = [replace(result, verdict=_verdict(result.method, correct)) for result in results]
    found = _finished(method, results, runs, sources, unseen, select, _alike(chosen) if single else ())
    contests.whole.finished(*((contests.title(method), seed) for seed in seeds))
    return replace(found, failed=tuple(contests.left_out.failed), runs=(*contests.left_out.ran, *contests.whole.ran))


def checked_generalisation(
    methods: Sequence[str | GeneralisationMethod], *, seeds: Sequence[int], select: str = ACCURACY, invert: bool = False
) -> list[GeneralisationMethod]:
    """The methods, before anything is loaded; arguments as in ``compare_generalisation``.

    Raises:
        SettingsError: When a method, the seeds or ``select`` do not fit.

    Example:
        >>> [method.text for method in checked_generalisation(["joint", "coral:weight=0.1"], seeds=[0])]
        ['joint', 'coral:weight=0.1']
    """
    found = [make_generalisation_method(m, invert=invert) if isinstance(m, str) else m for m in methods]
    texts = [method.text for method in found]
    check_entries("methods", texts, seeds)
    if select not in (ACCURACY, LAST):
        raise SettingsError(
            f"select={select!r} does not choose without a target; choose {ACCURACY} (on validation rows of the sources "
            f"that are trained on) or {LAST}."
        )
    return found


def check_batch_norm(network: PreTrainedModel) -> None:
    """Refuses a network that has no statistics to keep apart.

    Raises:
        ModelError: With the class of the network.

    Example:
        >>> check_batch_norm(model)  # it has some: nothing is raised
    """
    if not batch_norms(network):
        raise ModelError(
            f"{PER_DOMAIN} keeps BatchNorm statistics of each source apart, and {type(network).__name__} has no "
            "BatchNorm: there it would be joint. Leave it out."
        )


def _left_out(
    method: GeneralisationMethod, sources: Sources, seeds: Sequence[int], contests: Contests
) -> tuple[GeneralisationResult, Correct] | None:
    """What it reaches on each source that it was not trained on; None where a run broke."""
    runs: dict[str, list[LeftOutRun]] = {}
    for name in sources.rows:
        found = contests.without(method, name)
        if found is None:
            return None
        runs[name] = found
    result = GeneralisationResult(
        method=method.text,
        summary=METHODS[method.name],
        seeds=tuple(seeds),
        left_out={name: tuple(run.accuracy for run in found) for name, found in runs.items()},
        in_domain={
            name: tuple(float(np.mean(list(run.validation.values()))) for run in found) for name, found in runs.items()
        },
        seconds=float(np.mean([run.seconds for found in runs.values() for run in found])),
        steps=tuple(run.steps for found in runs.values() for run in found),
        ended=tuple(run.ended for found in runs.values() for run in found),
    )
    return result, {name: np.stack([run.correct for run in found]) for name, found in runs.items()}


def _verdict(method: str, correct: Mapping[str, Correct]) -> Verdict | None:
    """Whether a method helps against plain training on all sources, on test rows of the sources left out."""
    own, against = correct[method], correct.get(JOINT)
    if against is None or against is own:  # with two sources methods may be one and the same
        return None
    question = Question(
        helped=f"{method} helped on sources that were left out.",
        hurt=f"{method} hurt on sources that were left out.",
        undecided=f"Whether {method} helped on sources that were left out cannot be told: the interval holds zero.",
        against=f"{method} against {JOINT} on test rows of {', '.join(own)}, each left out in turn",
    )
    return judge(method, JOINT, [Pair(own[name], against[name]) for name in own], question)


def _finished(
    method: GeneralisationMethod,
    results: Sequence[GeneralisationResult],
    runs: Sequence[GeneralisationRun],
    sources: Sources,
    unseen: tuple[str, PreparedData] | None,
    select: str,
    alike: tuple[str, ...],
) -> GeneralisationComparison:
    tested = {name: [each.tested(rows) for each in runs] for name, rows in sources.rows.items()}
    known = {name: tuple(metrics["accuracy"] for metrics, _, _ in each) for name, each in tested.items()}
    shown = [each[0] for each in tested.values()]
    name, of_unseen = "", []
    if unseen is not None:
        name, rows = unseen
        of_unseen = [each.tested(rows) for each in runs]
        shown = of_unseen[:1]
    found = Generalisation(
        sources=tuple(sources.rows),
        results=tuple(results),
        chosen=method.text,
        known=known,
        unseen_name=name,
        unseen=tuple(metrics["accuracy"] for metrics, _, _ in of_unseen),
        unseen_interval=runs_interval([true for _, true, _ in of_unseen], [said for _, _, said in of_unseen])
        if of_unseen
        else None,
        selected_by=select,
        alike=alike,
        log=tuple(dict(entry) for entry in runs[0].log if "loss" in entry),
    )
    true, predicted = (np.concatenate(parts) for parts in zip(*[(t, p) for _, t, p in shown], strict=True))
    return GeneralisationComparison(found, runs[0], true, predicted)


def _alike(methods: Sequence[GeneralisationMethod]) -> tuple[str, ...]:
    """Methods that are the same as another of them while there is one source."""
    keys = [method.with_one_source for method in methods]
    return tuple(method.text for method, key in zip(methods, keys, strict=True) if keys.count(key) > 1)
