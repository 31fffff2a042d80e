"""Methods of adaptation side by side: one budget, chosen without labels of the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from hf_transfer_kit.adaptation import SCORES, agreement, diagnose
from hf_transfer_kit.adaptation.label_shift import shift_diagnosis
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.selection.adapting.judging import with_verdicts
from hf_transfer_kit.selection.adapting.mapping import feature_map
from hf_transfer_kit.selection.adapting.methods import (
    LAST,
    METHODS,
    SELECT,
    SHALLOW,
    SOURCE_FREE_METHODS,
    SOURCE_ONLY,
    AdaptationMethod,
    make_method,
    refuse_idle_views,
)
from hf_transfer_kit.selection.adapting.running import AdaptationRun, Domains, adaptive_model, run_adaptation
from hf_transfer_kit.selection.adapting.shallow import run_shallow
from hf_transfer_kit.selection.contest.bootstrap import runs_interval
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.candidate import Candidate, check_entries
from hf_transfer_kit.selection.contest.contest import Contest
from hf_transfer_kit.selection.contest.executors import Executor
from hf_transfer_kit.selection.contest.outcome import Outcome
from hf_transfer_kit.selection.contest.store import RunStore, data_key, model_key
from hf_transfer_kit.selection.finetuning.running import to_channels_last
from hf_transfer_kit.values import (
    AdaptationPoint,
    AdaptationResult,
    FailedRun,
    FeatureMap,
    LabelShift,
    RunFigures,
    ScoreAgreement,
)

_WITHIN = 0.03


@dataclass(frozen=True, eq=False)
class AdaptationComparison(Outcome):
    """The outcome.

    Args:
        results: One entry a method, in the order given.
        chosen: Text of the trained method with the best mean score, those that use target labels aside.
        run: The first seed's run of that method.
        agreements: How well each score chose checkpoints; empty where target validation rows have no labels.
        feature_maps: Of ``source_only``, where it ran, and of the chosen network.
        label_shift: As the run tells it that is surest of one.
        failed: Runs that were given up; their methods are not among the results.
        runs: Every figure of every run.
    """

    results: tuple[AdaptationResult, ...]
    chosen: str
    run: AdaptationRun
    agreements: tuple[ScoreAgreement, ...]
    feature_maps: tuple[FeatureMap, ...]
    label_shift: LabelShift | None = None
    failed: tuple[FailedRun, ...] = ()
    runs: tuple[RunFigures, ...] = ()

    @property
    def chosen_candidate(self) -> str:
        """The chosen method."""
        return self.chosen

    def sentences(self) -> tuple[str, ...]:
        """The verdict on the chosen method."""
        return tuple(
            result.verdict.sentence for result in self.results if result.method == self.chosen and result.verdict
        )


def compare_adaptations(
    methods: Sequence[str | AdaptationMethod],
    make_model: Callable[[int], PreTrainedModel],
    domains: Domains,
    args: TrainingArguments,
    budget: Budget,
    *,
    seeds: Sequence[int] = (0,),
    select: str = SELECT,
    callbacks: Callable[[str, int], Sequence[TrainerCallback]] | None = None,
    on_result: Callable[[AdaptationResult], None] | None = None,
    cache_dir: str | None = None,
    store: RunStore | None = None,
    executor: Executor | None = None,
) -> AdaptationComparison:
    """Trains every method with every seed under one budget, and keeps weights by a score without target labels.

    ``source_only``, ``adabn`` and ``target_supervised``, which do not adapt, keep theirs by accuracy on labelled
    validation rows.

    Labels of the target, where it has them, are used for three things alone: to train ``target_supervised``, for
    accuracy on its test rows, and, after all choices, to tell how well the scores chose.

    Args:
        methods: Texts, or what ``make_method`` makes of them; at least one that is trained on the source, none twice.
        make_model: Seed -> classifier with a fresh head.
        domains: Both domains.
        args: Arguments for the stock Trainer.
        budget: What each run may spend.
        seeds: One run each, at least one, none twice.
        select: A key of ``SCORES``, or ``"last"``: weights of the last step, and the first method given.
        callbacks: Method text and seed -> callbacks for that run.
        on_result: Called after each method.
        cache_dir: Where features for ``shallow`` are kept.
        store: Where finished runs are kept and taken from; None keeps none.
        executor: Who does the runs, several at once; None does one after another in this process.

    Raises:
        NotFiniteError: When every method broke.
        SettingsError: Before anything is trained, when a method, a score or the seeds do not fit.
        DataError: When a method needs labels that the target does not have.

    Example:
        >>> found = compare_adaptations(["source_only", "mmd"], make_model, domains, args, budget, select="bnm")
        >>> [result.method for result in found.results]
        ['source_only', 'mmd']
    """
    chosen_methods = [make_method(m) if isinstance(m, str) else m for m in methods]
    _check(chosen_methods, seeds, select)
    refuse_idle_views([method.text for method in chosen_methods], domains.source.reads)
    for method in chosen_methods:
        if method.uses_target_labels and "train" not in domains.labelled:
            raise DataError(f"{method.text} learns from labels of the target, which has none. Leave it out.")
    contest = Contest(
        AdaptationRun,
        args,
        budget,
        store,
        executor,
        facts=lambda: {
            "data": data_key(domains.source, domains.target, list(domains.labelled)),
            "weights": model_key(make_model(seeds[0])),
        },
    )

    def train(method: AdaptationMethod, seed: int) -> AdaptationRun:
        more = callbacks(method.text, seed) if callbacks else ()
        return run_adaptation(method, make_model, domains, args, budget, seed=seed, select=select, callbacks=more)

    candidates = {
        method.text: Candidate(
            method.text,
            partial(train, method),
            partial(_before_training, method, make_model, domains),
            {"method": asdict(method), "select": select},
        )
        for method in chosen_methods
        if method.name != SHALLOW
    }
    contest.announce(candidates.values(), seeds)
    results: list[AdaptationResult] = []
    first_runs: dict[str, AdaptationRun] = {}
    points: list[tuple[AdaptationPoint, ...]] = []
    correct: dict[str, np.ndarray] = {}
    for method in chosen_methods:
        if method.name == SHALLOW:
            batch_size = args.per_device_eval_batch_size
            result, correct[method.text] = run_shallow(
                method, make_model(seeds[0]), domains, batch_size=batch_size, seed=seeds[0], cache_dir=cache_dir
            )
        else:
            runs = contest.runs(candidates[method.text], seeds)
            if runs is None:
                continue
            first_runs[method.text] = runs[0]
            correct[method.text] = correct_rows(runs)
            points += [run.points for run in runs if method.reads_target]
            plain = next((r for r in results if _plain(r.method)), None)
            result = _result(method, runs, plain)
        results.append(result)
        if on_result:
            on_result(result)
    reached = {result.method for result in results}
    chosen_methods = [method for method in chosen_methods if method.text in reached]
    if not any(method.name != SHALLOW and not method.uses_target_labels for method in chosen_methods):
        contest.check()
    name = _chosen(chosen_methods, results, select)
    shown = dict.fromkeys([*[text for text in first_runs if _plain(text)][:1], name])
    first_runs |= {text: contest.whole(candidates[text], seeds[0], first_runs[text]) for text in shown}
    contest.finished(*((text, seeds[0]) for text in shown))
    unadapted = next((result.method for result in results if _plain(result.method)), SOURCE_ONLY)
    results = with_verdicts(results, correct, unadapted)
    maps = [feature_map(_title(text), first_runs[text].model, domains) for text in shown]
    shift = max((run.shift for run in first_runs.values() if run.shift), key=lambda shift: shift.sure, default=None)
    return AdaptationComparison(
        results=tuple(_with_shift(m, r, shift) for m, r in zip(chosen_methods, results, strict=True)),
        chosen=name,
        run=first_runs[name],
        agreements=_agreements(points),
        feature_maps=tuple(maps),
        label_shift=shift,
        failed=tuple(contest.failed),
        runs=tuple(contest.ran),
    )


def _before_training(
    method: AdaptationMethod, make_model: Callable[[int], PreTrainedModel], domains: Domains, seed: int
) -> PreTrainedModel:
    return to_channels_last(adaptive_model(method, make_model(seed), seed), domains.source)


def _with_shift(method: AdaptationMethod, result: AdaptationResult, shift: LabelShift | None) -> AdaptationResult:
    """The result with the finding that classes are in other shares, where the method does not allow for that."""
    if shift is None or not method.reads_target or method.shares or (found := shift_diagnosis(shift)) is None:
        return result
    return replace(result, diagnoses=(*(d for d in result.diagnoses if not d.healthy), found))


def _plain(text: str) -> bool:
    return text.partition(":")[0] == SOURCE_ONLY


def _title(text: str) -> str:
    return "trained on the source alone" if _plain(text) else f"adapted: {text}"


def _check(methods: Sequence[AdaptationMethod], seeds: Sequence[int], select: str) -> None:
    texts = [method.text for method in methods]
    check_entries("methods", texts, seeds)
    if not any(method.name != SHALLOW and not method.uses_target_labels for method in methods):
        raise SettingsError(
            f"None of {', '.join(texts) or 'no methods'} trains a network that could be kept: add source_only, or a "
            f"method of {', '.join(METHODS)}."
        )
    if select != LAST and select not in SCORES:
        raise SettingsError(
            f"select={select!r} is unknown; choose {LAST} or one of {', '.join(SCORES)}."
            f"{did_you_mean(select, [LAST, *SCORES])}"
        )


def _result(
    method: AdaptationMethod, runs: Sequence[AdaptationRun], source_only: AdaptationResult | None
) -> AdaptationResult:
    found = _means(runs)
    scores = found["scores"]
    compared = {"scores": scores, "source_only": source_only.scores} if source_only and method.reads_target else {}
    return AdaptationResult(
        method=method.text,
        summary=METHODS[method.name],
        source_accuracy=scores["source_accuracy"],
        diagnoses=diagnose(runs[0].log, **compared),
        uses_target_labels=method.uses_target_labels,
        **found,
    )


def summary_of(method: AdaptationMethod, runs: Sequence[AdaptationRun]) -> AdaptationResult:
    """One method's runs without source rows: nothing is known of the source, and no health is told."""
    found = _means(runs)
    return AdaptationResult(
        method=method.text,
        summary=SOURCE_FREE_METHODS[method.name],
        source_accuracy=None,
        **found,
    )


def _means(runs: Sequence[AdaptationRun]) -> dict[str, Any]:
    scores = {name: float(np.mean([run.scores[name] for run in runs])) for name in runs[0].scores}
    test = {name: float(np.mean([run.test[name] for run in runs])) for name in runs[0].test}
    spread = {name: float(np.std([run.test[name] for run in runs], ddof=1)) if len(runs) > 1 else 0.0 for name in test}
    return {
        "seeds": tuple(run.seed for run in runs),
        "scores": scores,
        "test": test,
        "test_spread": spread,
        "test_by_seed": tuple(run.test["accuracy"] for run in runs) if test else (),
        "kept_steps": tuple(run.kept_step for run in runs),
        "steps": tuple(run.steps for run in runs),
        "ended": tuple(run.ended for run in runs),
        "points": runs[0].points,
        "log": tuple(dict(entry) for entry in runs[0].log if "loss" in entry),
        "seconds": float(np.mean([run.seconds for run in runs])),
        "test_interval": runs_interval([run.true for run in runs], [run.predicted for run in runs]),
    }


def correct_rows(runs: Sequence[AdaptationRun]) -> np.ndarray:
    """Whether each of the target's test rows was predicted rightly, of shape (runs, rows); no rows without labels."""
    return np.stack([run.predicted == run.true for run in runs])


def with_best_score(results: Sequence[AdaptationResult], select: str) -> str:
    """Text of the method with the best mean score."""
    sign = SCORES[select].sign
    return max(results, key=lambda result: sign * result.scores[select]).method


def _chosen(methods: Sequence[AdaptationMethod], results: Sequence[AdaptationResult], select: str) -> str:
    able = [
        result
        for method, result in zip(methods, results, strict=True)
        if method.name != SHALLOW and not method.uses_target_labels
    ]
    if select == LAST:
        return next((r for r in able if not _plain(r.method)), able[0]).method
    return with_best_score(able, select)


def _agreements(runs: Sequence[Sequence[AdaptationPoint]]) -> tuple[ScoreAgreement, ...]:
    labelled = [points for points in runs if points and all(point.accuracy is not None for point in points)]
    if not labelled:
        return ()
    found = []
    for name, score in SCORES.items():
        each = [
            agreement(
                [point.scores[name] for point in points],
                [cast(float, point.accuracy) for point in points],
                larger_is_better=score.larger_is_better,
            )
            for points in labelled
        ]
        regrets = [a.regret for a in each]
        found.append(
            ScoreAgreement(
                score=name,
                runs=len(each),
                regret=float(np.mean(regrets)),
                worst_regret=max(regrets),
                within=sum(regret <= _WITHIN for regret in regrets),
                rank_correlation=float(np.mean([a.rank_correlation for a in each])),
            )
        )
    return tuple(found)
