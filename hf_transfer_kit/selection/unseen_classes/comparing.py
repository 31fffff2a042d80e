"""Every method on every split of the classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, cast

import numpy as np
from torch import nn

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.metrics.row_metrics import class_metric
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.options import check_choice
from hf_transfer_kit.plain_tables import PlainTable, Tabular
from hf_transfer_kit.selection.contest.bootstrap import Pair
from hf_transfer_kit.selection.contest.candidate import Candidate
from hf_transfer_kit.selection.contest.contest import Contest
from hf_transfer_kit.selection.contest.store import RunStore, data_key
from hf_transfer_kit.selection.contest.verdict import Question, judge
from hf_transfer_kit.selection.unseen_classes.data import FeatureMaker, SplitFeatures
from hf_transfer_kit.selection.unseen_classes.first_split import FirstSplit
from hf_transfer_kit.selection.unseen_classes.fitting import Fitted, Labelled, fitted, labelled_classifier
from hf_transfer_kit.selection.unseen_classes.order import in_order
from hf_transfer_kit.values import UnseenClasses, Verdict, ZeroShotResult
from hf_transfer_kit.zero_shot import (
    JOINT_METHODS,
    METHODS,
    SINGLE_METHODS,
    AttributeTable,
    HoldOut,
    ZeroShotModel,
)
from hf_transfer_kit.zero_shot.methods import Ensemble

ATTRIBUTES = "attributes"
"""Name of the table that is the user's own."""
PROMPTS = "prompts"
"""Name of the table that the network's own text tower makes of the classes' names."""


_KNOWN = {**METHODS, **JOINT_METHODS}


@dataclass(frozen=True, eq=False)
class ZeroShotComparison(Tabular):
    """The outcome.

    Args:
        found: Figures of everything.
        model: The chosen method on the first split's network, with all classes, calibrated.
        metrics: Of that model on the first split's test rows.
    """

    found: UnseenClasses
    model: ZeroShotModel
    metrics: Mapping[str, float]

    def table(self) -> PlainTable:
        """What is printed."""
        return self.found.table()


def compare_zero_shot(
    methods: Sequence[str],
    make_features: Callable[[int, HoldOut], SplitFeatures],
    table: AttributeTable | None,
    hold_outs: Sequence[HoldOut],
    *,
    other_tables: Mapping[str, AttributeTable] | None = None,
    prompts: AttributeTable | None = None,
    partner: str = "eszsl",
    with_labels: bool = True,
    seed: int = 0,
    balanced: bool = False,
    on_split: Callable[[int, HoldOut], None] | None = None,
    store: RunStore | None = None,
) -> ZeroShotComparison:
    """Learns every method on the seen classes of every split, with options and gamma chosen on seen classes alone.

    The method that is kept has the best harmonic mean on seen classes that play unseen ones, mean over the splits.
    Test rows choose nothing.

    Args:
        methods: Keys of ``hf_transfer_kit.zero_shot.METHODS``, which learn from every table; and of ``JOINT_METHODS``:
            ``joint`` reads prompts, ``joint_mix`` prompts and attributes.
        make_features: Split -> features of its network: ``frozen_features`` or ``trained_features``.
        table: Describes all classes of the splits; may be None where ``prompts`` do.
        hold_outs: The splits; the first one's network is kept.
        other_tables: Name -> descriptions of the same classes in its place, such as texts of their names.
        prompts: The same classes by ``prompted_classes`` of the network that gives the features.
        partner: The method on attributes that ``joint_mix`` mixes with prompts.
        with_labels: Whether a linear classifier that has the labels of unseen classes is measured beside.
        seed: Of the splits into seen and pseudo-unseen classes.
        balanced: Whether rows of small classes are learned from several times, so that all have as many.
        on_split: Called with a split and its place when it is done.
        store: Where what every method found on every split is kept and taken from; None keeps nothing.

    Raises:
        NotFiniteError: When the training of a split's network broke.
        SettingsError: When a method is unknown or named twice, lacks the table that it reads, or there is no method or
            split; or when there is a store and ``make_features`` cannot say what features depend on.
        DataError: When a class has no row in a table, or no test row.

    Example:
        >>> from hf_transfer_kit.zero_shot import digit_strokes, random_hold_outs
        >>> make = frozen_features(model, prepare_data(loaded, processor), digit_strokes(), cache_dir="cache")
        >>> splits = random_hold_outs(loaded.label_names, 3, count=1)
        >>> comparison = compare_zero_shot(["eszsl"], make, digit_strokes(), splits)
        >>> comparison.found.chosen
        'eszsl'
    """
    tables, pairs = _tables_and_pairs(methods, table, other_tables or {}, prompts, partner)
    _check(methods, hold_outs, tables)
    main = cast(AttributeTable, table if table is not None else prompts)
    fits: dict[tuple[str, str], list[Fitted]] = {pair: [] for pair in pairs}
    facts = _facts(make_features) if store is not None else {}
    contest = Contest(Fitted, None, None, store, facts=lambda: facts)
    beside = Contest(Labelled, None, None, store, facts=lambda: facts)
    labelled: list[float] = []
    first: Callable[[], SplitFeatures] | None = None
    for index, split in enumerate(hold_outs):
        features = cache(partial(_features, make_features, index, split))  # made when a run is missing
        first = first or features
        place = {"place": index, "seen": list(split.seen), "unseen": list(split.unseen)}
        for key in fits:
            fixed = {"partner": partner} if key[1] == "joint_mix" else None
            described = tables[key[0]]
            options = {
                "table": data_key(described.classes, described.attributes, described.values),
                "balanced": balanced,
                "fixed": fixed,
                **place,
            }
            chosen = _chosen_options(key, index, fits) if key[1] == Ensemble.name else fixed
            learn = partial(_fitted, key[1], features, described, split, balanced, chosen)
            text = f"{_name(*key)}, split {index + 1}"
            fits[key].append(contest.run(Candidate(text, learn, _no_model, options), seed))
        if with_labels:
            probe = Candidate(f"with labels, split {index + 1}", partial(_labelled, features, split), _no_model, place)
            labelled.append(beside.run(probe, seed).accuracy)
        if on_split:
            on_split(index, split)
    results = tuple(
        ZeroShotResult(
            key[1],
            _KNOWN[key[1]].summary,
            key[0],
            tuple(fit.found for fit in found),
            sum(fit.seconds for fit in found),
        )
        for key, found in fits.items()
    )
    ordered = in_order(results)
    best = ordered[0]
    fits_of_first = {_name(*key): found[0] for key, found in fits.items()}
    kept = FirstSplit(
        cast(Callable[[], SplitFeatures], first)(), hold_outs[0], tables[best.table], fits_of_first, balanced
    )
    model = kept.model(best.name)
    contest.finished()
    if isinstance(make_features, FeatureMaker):
        make_features.finished(0, hold_outs[0])
    found = UnseenClasses(
        classes=main.classes,
        attributes=table.attributes if table is not None else (),
        values=tuple(map(tuple, table.values.tolist())) if table is not None else (),
        unseen=tuple(split.unseen for split in hold_outs),
        results=results,
        chosen=best.name,
        chance=float(np.mean([1 / len(split.unseen) for split in hold_outs])),
        lookup=float(np.mean([_lookup(main, split) for split in hold_outs])),
        labelled=tuple(labelled),
        lines=kept.lines(),
        confusion=kept.confusion(best.name),
        attribute_figures=kept.attribute_figures(table) if table is not None else (),
        explanations=kept.explanations(model),
        findings=main.findings(),
        verdict=_verdict(ordered, {_name(*key): found for key, found in fits.items()}),
    )
    return ZeroShotComparison(found, model, kept.metrics(best.name))


def _verdict(ordered: Sequence[ZeroShotResult], fits: Mapping[str, Sequence[Fitted]]) -> Verdict | None:
    """The chosen method against the next by what it was chosen by; splits are paired, and drawn like rows."""
    if len(ordered) < 2:
        return None
    best, second = ordered[:2]
    question = Question(
        helped=f"{best.name} names unseen classes better than {second.name}, which comes next on seen ones.",
        hurt=f"{second.name}, which came next on seen classes, names unseen ones better than {best.name}.",
        undecided=f"Whether {best.name} names unseen classes better than {second.name}, which comes next on seen ones, "
        "cannot be told: the interval holds zero.",
        against=f"{best.name} against {second.name} on rows of unseen classes, named among these",
    )
    sides = [[[class_metric("balanced_accuracy", fit.said, fit.true)] for fit in fits[r.name]] for r in (best, second)]
    return judge(
        best.name,
        second.name,
        [Pair(*pair) for pair in zip(*sides, strict=True)],
        question,
        metric="unseen_accuracy",
        draw_pairs=True,
    )


def _name(table: str, method: str) -> str:
    return method if table == ATTRIBUTES else f"{method} on {table}"


def _facts(make_features: Callable[[int, HoldOut], SplitFeatures]) -> Mapping[str, Any]:
    """What the features depend on, asked before they are made.

    Raises:
        SettingsError: When they come from what cannot say.
    """
    if not isinstance(make_features, FeatureMaker):
        raise SettingsError(
            "A store keeps what was found with the data and the weights that it came from, and a plain function of "
            "splits does not say which: give frozen_features or trained_features, or a FeatureMaker, or no store."
        )
    return make_features.facts()


def _features(make_features: Callable[[int, HoldOut], SplitFeatures], index: int, split: HoldOut) -> SplitFeatures:
    features = make_features(index, split)
    _check_rows(features, split)
    return features


def _no_model(seed: int) -> nn.Module:
    raise AssertionError("a method on features keeps no network")


def _fitted(
    method: str,
    features: Callable[[], SplitFeatures],
    table: AttributeTable,
    split: HoldOut,
    balanced: bool,
    fixed: Mapping[str, Any] | None,
    seed: int,
) -> Fitted:
    return fitted(method, features(), table, split, seed, balanced=balanced, fixed=fixed)


def _labelled(features: Callable[[], SplitFeatures], split: HoldOut, seed: int) -> Labelled:
    return labelled_classifier(features(), split, seed)


def _chosen_options(
    key: tuple[str, str], index: int, fits: Mapping[tuple[str, str], Sequence[Fitted]]
) -> Mapping[str, Any] | None:
    """The members' options where all of them were fitted on this split already: the same that would be chosen anew."""
    own = {member: fits.get((key[0], member), ()) for member in Ensemble.usual_members}
    if any(len(found) <= index for found in own.values()):
        return None
    options = {member: dict(found[index].choice.options) for member, found in own.items()}
    return {"members": list(options), "member_options": options}


def _lookup(table: AttributeTable, split: HoldOut) -> float:
    """Accuracy among the unseen classes when every attribute is read rightly: equal rows share what they get."""
    rows = [row.tobytes() for row in table.rows(split.unseen)]
    return float(np.mean([1 / rows.count(row) for row in rows]))


def _tables_and_pairs(
    methods: Sequence[str],
    table: AttributeTable | None,
    others: Mapping[str, AttributeTable],
    prompts: AttributeTable | None,
    partner: str,
) -> tuple[dict[str, AttributeTable], list[tuple[str, str]]]:
    """Name -> table, and table and method of everything that is fitted."""
    if unknown := [name for name in methods if name not in _KNOWN]:
        raise SettingsError(
            f"{', '.join(map(repr, unknown))} is no method; choose {', '.join(_KNOWN)}."
            f"{did_you_mean(unknown[0], _KNOWN)}"
        )
    if table is None and prompts is None:
        raise SettingsError("Nothing describes the classes: give a table of attributes, or prompts.")
    tables = {name: given for name, given in ((ATTRIBUTES, table), (PROMPTS, prompts)) if given is not None}
    tables |= others
    pairs = [(name, method) for name in tables for method in methods if method in METHODS]
    if prompts is None and (wanting := [method for method in methods if method in JOINT_METHODS]):
        raise SettingsError(
            f"{', '.join(wanting)} compares the network with texts, and this one has no text tower. Choose a "
            f"network of the kind of CLIP or SigLIP, or among {', '.join(METHODS)}."
        )
    if "joint" in methods:
        pairs.append((PROMPTS, "joint"))
    if "joint_mix" in methods:
        check_choice("joint_mix", "partner", partner, tuple(SINGLE_METHODS))
        if table is None:
            raise SettingsError("joint_mix mixes prompts with attributes, and there are none: give a table of them.")
        both = f"{PROMPTS} and {ATTRIBUTES}"
        tables[both] = cast(AttributeTable, prompts).beside(table)
        pairs.append((both, "joint_mix"))
    return tables, pairs


def _check(methods: Sequence[str], hold_outs: Sequence[HoldOut], tables: Mapping[str, AttributeTable]) -> None:
    if not methods or len(set(methods)) < len(methods) or not hold_outs:
        raise SettingsError(
            f"Methods are {', '.join(methods) or 'none'}, splits {len(hold_outs)}: at least one of each, no method "
            "twice."
        )
    for split in hold_outs:
        if len(split.seen) < 4:
            raise SettingsError(
                f"Only {', '.join(split.seen)} are seen, but choosing options needs at least 4 seen classes. Hold "
                "fewer out."
            )
        for table in tables.values():
            table.rows(split.classes)


def _check_rows(features: SplitFeatures, split: HoldOut) -> None:
    for rows, what, classes in (
        (features.train, "training", split.seen), (features.test, "test", split.classes),
    ):  # fmt: skip
        if absent := sorted(set(classes) - set(rows.names)):
            raise DataError(f"{', '.join(absent)} has no {what} row. Add rows, or leave the class out.")
