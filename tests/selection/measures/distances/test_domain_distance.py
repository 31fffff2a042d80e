"""Whether a distance is large is told by rows dealt at random; what cannot be compared is refused in a sentence."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import tiny
import torch

from hf_transfer_kit import cache_features, domain_distance
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.selection.measures.distances import DISTANCES, Distance
from hf_transfer_kit.selection.measures.distances.chance import beside_chance, dealt
from hf_transfer_kit.selection.measures.distances.within_classes import shared_classes
from hf_transfer_kit.values import ClassDistance, DistanceBesideChance, DomainDistance


def normal(rows, width=5, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(size=(rows, width)) + shift


def test_chance_by_hand():
    found = beside_chance(np.array([3.0, 1.0, 2.0, 3.0, 5.0]))
    assert found == {
        "value": 3.0,
        "null_mean": 2.75,
        "null_high": pytest.approx(4.7),
        "p_value": pytest.approx(3 / 5),
        "permutations": 4,
    }


def test_a_deal_that_repeats_the_domains_up_to_rounding_counts():
    assert beside_chance(np.array([1.0, 1.0 - 1e-15, 0.0]))["p_value"] == pytest.approx(2 / 3)


def test_deals_keep_the_sizes_and_begin_with_the_rows_as_they_came():
    deals = dealt(6, 4, 500, np.random.default_rng(0))
    assert deals.shape == (501, 10)
    assert deals[0].tolist() == [True] * 6 + [False] * 4
    assert (deals.sum(1) == 6).all()
    # Each row is of the source in 6 of 10 deals.
    assert np.abs(deals[1:].mean(0) - 0.6).max() < 0.08


@pytest.mark.parametrize("kind", DISTANCES)
def test_equal_distributions_have_uniform_p_values(kind):
    found = [
        domain_distance(normal(24, seed=2 * draw), normal(16, seed=2 * draw + 1), kind=kind, permutations=39, seed=draw)
        for draw in range(40)
    ]
    p = np.array([one.p_value for one in found])
    # Of 40 draws 2 are expected below 0.05, more than 6 in one series of 300. Ties at a proxy distance of 0 raise p.
    assert np.mean(p <= 0.05) <= 6 / 40
    assert 0.35 <= p.mean() <= (0.7 if kind == "proxy_a" else 0.65)
    assert p.min() < 0.2


@pytest.mark.parametrize("width", [5, 60])
@pytest.mark.parametrize("kind", DISTANCES)
def test_no_deal_is_as_far_as_domains_that_differ(kind, width):
    # Means, which CORAL does not see, would enter the covariances of dealt rows.
    source, target = normal(30, width), 3 * normal(24, width, seed=1, shift=0.0 if kind == "coral" else 1.0)
    found = domain_distance(source, target, kind=kind, permutations=49)
    assert (found.p_value, found.rows, found.permutations) == (pytest.approx(1 / 50), (30, 24), 49)
    assert found.value > found.null_high >= found.null_mean
    assert found.effect == (found.value - found.null_mean) / (found.null_high - found.null_mean) > 1
    assert found.sentence.startswith(f"The domains differ ({kind}): {found.value:.3g}, where rows dealt at random")


def test_domains_may_agree_while_their_classes_are_exchanged():
    labels = np.repeat([0, 1], 40)
    places = np.where(labels == 0, -2.0, 2.0)[:, None] * np.eye(1, 6)
    source, target = normal(80, 6) + places, normal(80, 6, seed=1) - places
    for kind, found in domain_distance(
        source, target, kind=tuple(DISTANCES), source_labels=labels, target_labels=torch.from_numpy(labels)
    ).items():
        assert found.p_value > 0.05, kind
        if kind == "coral":
            continue  # covariances within the classes are equal
        inner = found.by_class
        assert inner.p_value == pytest.approx(1 / 101)
        assert inner.value == pytest.approx(np.mean(list(inner.classes.values())))
        # As far from itself as from the other class.
        assert inner.ratio == pytest.approx(1, abs=0.15), kind
        assert "Yet within 2 shared classes rows differ" in found.sentence


def test_frequencies_of_classes_do_not_count_within_classes():
    own, other = np.repeat([0, 1], [50, 10]), np.repeat([0, 1], [10, 50])
    source, target = normal(60) + 6 * own[:, None], normal(60, seed=1) + 6 * other[:, None]
    found = domain_distance(source, target, source_labels=own, target_labels=other)
    assert found.p_value == pytest.approx(1 / 101)
    assert found.by_class.p_value > 0.05
    assert abs(found.by_class.ratio) < 0.05
    assert "Yet within 2 shared classes no difference is seen" in found.sentence


def test_classes_that_are_not_told_apart_give_no_ratio():
    labels = np.arange(40) % 2
    found = domain_distance(normal(40), normal(40, seed=1, shift=1), source_labels=labels, target_labels=labels)
    assert found.by_class.differs
    assert not found.by_class.between.differs
    assert found.by_class.ratio is None
    assert "distance between classes" not in found.sentence


def test_only_classes_with_two_rows_in_both_are_compared():
    assert shared_classes(np.array([0, 0, 1, 1, 2, 2, 3]), np.array([0, 0, 2, 3, 3, 5])) == ((0,), (2, 3))
    own, other = [0, 0, 0, 1, 1, 7], [0, 0, 1, 8, 8, 8]
    found = domain_distance(normal(6), normal(6, seed=1), source_labels=own, target_labels=other).by_class
    assert list(found.classes) == [0]
    assert (found.skipped, found.between, found.ratio) == ((1,), None, None)


def test_more_classes_than_pairs_that_are_looked_at(monkeypatch):
    calls = []
    mmd = DISTANCES["mmd"].measure
    counted = Distance("counted", lambda *given: calls.append(len(given[0])) or mmd(*given))
    monkeypatch.setitem(DISTANCES, "mmd", counted)
    labels = np.repeat(np.arange(12), 4)
    places = 20 * normal(12, seed=2)[labels]
    found = domain_distance(
        normal(48) + places, normal(48, seed=1) + places, source_labels=labels, target_labels=labels
    )
    assert len(found.by_class.classes) == 12
    # 12 classes, 45 of their 66 pairs, all rows.
    assert sorted(calls) == [8] * (12 + 45) + [96]
    assert abs(found.by_class.ratio) < 0.1


def test_arrays_tensors_and_kinds_give_the_same():
    source, target = normal(20).astype(np.float32), normal(15, seed=1).astype(np.float32)
    one = domain_distance(source, target, kind="frechet", permutations=19)
    several = domain_distance(
        torch.from_numpy(source), torch.from_numpy(target), kind=["coral", "frechet"], permutations=19
    )
    assert list(several) == ["coral", "frechet"]
    assert several["frechet"] == one
    assert json.loads(json.dumps(asdict(one)))["value"] == one.value


def test_rows_beyond_the_limit_are_drawn_by_the_seed():
    source, target = normal(50), normal(400, seed=1)
    first, again, other = (
        domain_distance(source, target, max_rows=60, permutations=19, seed=seed) for seed in (0, 0, 1)
    )
    assert first.rows == (50, 60)
    assert first == again
    assert first.value != other.value
    labels = np.arange(400) % 4
    drawn = domain_distance(target, target, max_rows=60, permutations=19, source_labels=labels, target_labels=labels)
    assert list(drawn.by_class.classes) == [0, 1, 2, 3]


def test_labels_stay_with_their_rows_when_rows_are_drawn():
    labels = np.random.default_rng(4).permutation(np.arange(300) % 3)
    rows = normal(300) + 30 * labels[:, None]
    found = domain_distance(rows, rows[::-1], max_rows=90, source_labels=labels, target_labels=labels[::-1])
    assert abs(found.by_class.ratio) < 0.05


def test_effects_are_in_units_of_chance():
    fields = {"kind": "mmd", "rows": (5, 5), "permutations": 99}
    found = DomainDistance(value=7.0, null_mean=1.0, null_high=3.0, p_value=0.01, **fields)
    assert (found.excess, found.effect, found.differs) == (6.0, 3.0, True)
    for value, effect in ((1.0, 0.0), (2.0, np.inf), (0.5, -np.inf)):
        assert DomainDistance(value=value, null_mean=1.0, null_high=1.0, p_value=1.0, **fields).effect == effect


def test_the_sentence_says_what_was_found():
    chance = {"null_mean": 0.001, "null_high": 0.003, "permutations": 100}
    between = DistanceBesideChance(value=0.401, p_value=0.05, **chance)
    inner = ClassDistance(value=0.201, p_value=0.0099, classes={0: 0.2, 1: 0.202}, between=between, **chance)
    found = DomainDistance(kind="mmd", rows=(5, 5), value=0.002, p_value=0.25, by_class=inner, **chance)
    assert inner.ratio == pytest.approx(0.5)
    assert found.sentence == (
        "No difference of the domains is seen (mmd): 0.002, where rows dealt at random give 0.001 and rarely more than "
        "0.003 (p = 0.25, 100 deals). Yet within 2 shared classes rows differ: 0.201, where rows dealt at random give "
        "0.001 and rarely more than 0.003 (p = 0.0099, 100 deals); 0.5 x the distance between classes of the source."
    )


def test_labels_cached_with_features_are_read_only_where_they_are_given(tmp_path):
    model, inputs = tiny.classifiers()["timm/resnet18"]()
    generator = torch.Generator().manual_seed(0)

    def cached(shift):
        pictures = torch.randn(12, *next(iter(inputs.values())).shape[1:], generator=generator) + shift
        rows = [{**dict.fromkeys(inputs, picture), "labels": index % 3} for index, picture in enumerate(pictures)]
        return cache_features(model, rows, cache_dir=tmp_path, progress=False)

    source, target = cached(0.0), cached(2.0)
    found = domain_distance(source, target)
    assert found == domain_distance(source.features, target.features)
    assert (found.by_class, found.p_value) == (None, pytest.approx(1 / 101))
    inner = domain_distance(source, target, source_labels=source.labels, target_labels=target.labels).by_class
    assert list(inner.classes) == [0, 1, 2]


@pytest.mark.parametrize("kind", DISTANCES)
def test_two_rows_of_each_are_enough(kind):
    found = domain_distance([[0.0, 1.0], [1.0, 0.0]], np.array([[5.0, 5.0], [6.0, 6.0]]), kind=kind)
    # Of 3 ways to deal 4 rows by twos one is this.
    assert 0.2 < found.p_value <= 1


@pytest.mark.parametrize(
    ("source", "target", "settings", "error", "words"),
    [
        (normal(1), normal(5), {}, DataError, "source has 1 rows .* two or more"),
        (normal(5), normal(0), {}, DataError, "target has 0 rows"),
        (normal(5), normal(5, 4), {}, DataError, "5 features a row and the target 4"),
        (
            normal(5),
            np.where(np.eye(5) > 0, np.nan, 1.0),
            {},
            DataError,
            "Of the target: Features of row 0 are not finite",
        ),
        (np.zeros((4, 3, 3)), normal(5), {}, DataError, r"Of the source: Features have the shape \(4, 3, 3\)"),
        (
            np.full((4, 5), 0.1),
            np.full((3, 5), 0.1),
            {},
            DataError,
            "All 7 rows of both domains have the same features",
        ),
        (normal(4) * 1e80, normal(4), {}, DataError, "too large to be squared"),
        (normal(4), normal(4), {"source_labels": [0, 0, 1, 1]}, DataError, "target_labels are not"),
        (normal(4), normal(4), {"target_labels": [0, 0, 1, 1]}, DataError, "source_labels are not"),
        (
            normal(4),
            normal(4),
            {"source_labels": [0, 0, 1, 1], "target_labels": [2, 3, 3, 3]},
            DataError,
            "classes 0, 1 and the target 2, 3, none in common",
        ),
        (
            normal(4),
            normal(4),
            {"source_labels": [0, 0, 0, 1], "target_labels": [0, 1, 1, 1]},
            DataError,
            "share the classes 0, 1, but none has two rows",
        ),
        (
            normal(4),
            normal(4),
            {"source_labels": [0, 1], "target_labels": [0, 1, 1, 1]},
            DataError,
            "the source has 4 rows of features and 2 labels",
        ),
        (normal(4), normal(4), {"kind": "kl"}, SettingsError, "kind='kl' is unknown; choose among 'mmd', "),
        (normal(4), normal(4), {"kind": ["mmd", "kl"]}, SettingsError, "kind='kl' is unknown"),
        (normal(4), normal(4), {"kind": []}, SettingsError, "names no distance"),
        (normal(4), normal(4), {"permutations": 18}, SettingsError, "whole number of 19 or more"),
        (normal(4), normal(4), {"max_rows": 1}, SettingsError, "whole number of 2 or more"),
    ],
)
def test_what_cannot_be_compared_is_refused(source, target, settings, error, words):
    with pytest.raises(error, match=words):
        domain_distance(source, target, **settings)
