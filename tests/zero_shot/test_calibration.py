"""Seen and unseen classes side by side, and what is chosen on seen classes alone."""

import numpy as np
import pytest
import torch
from zero_shot.test_methods import world

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.zero_shot import (
    choose_options,
    harmonic_mean,
    hold_out,
    per_class_accuracy,
    random_hold_outs,
    seen_unseen_curve,
    stacked,
)
from hf_transfer_kit.zero_shot.choosing import spread_of
from hf_transfer_kit.zero_shot.methods import fitted_method

SEEN = [True, True, False]


def test_classes_count_alike_whatever_their_rows():
    assert per_class_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 2, 0])) == pytest.approx((2 / 3 + 0) / 2)
    assert harmonic_mean(0.5, 0.25) == pytest.approx(1 / 3)
    assert harmonic_mean(0.0, 0.0) == 0.0
    with pytest.raises(DataError, match="no row to be right about"):
        per_class_accuracy(np.array([]), np.array([]))


def test_the_curve_is_what_every_gamma_gives():
    generator = np.random.default_rng(0)
    scores, labels = generator.normal(size=(60, 5)), generator.integers(0, 5, 60)
    seen = np.array([True, True, True, False, False])
    curve = seen_unseen_curve(scores, labels, seen)
    for gamma, of_seen, of_unseen in zip(curve.gammas, curve.seen, curve.unseen, strict=True):
        said = stacked(scores, seen, gamma).argmax(axis=1)
        rows = seen[labels]
        assert of_seen == pytest.approx(per_class_accuracy(labels[rows], said[rows]))
        assert of_unseen == pytest.approx(per_class_accuracy(labels[~rows], said[~rows]))
    assert list(curve.gammas) == sorted(curve.gammas)
    assert curve.unseen[0] == 0.0
    assert curve.seen[-1] == 0.0
    means = [harmonic_mean(s, u) for s, u in zip(curve.seen, curve.unseen, strict=True)]
    assert means[curve.best] == max(means)


def test_a_perfect_and_a_blind_network_have_areas_of_one_and_of_chance():
    labels = np.array([0, 1, 2, 2])
    perfect = seen_unseen_curve(10.0 * np.eye(3)[labels], labels, SEEN)
    assert perfect.area == pytest.approx(1.0)
    wrong = seen_unseen_curve(-10.0 * np.eye(3)[labels], labels, SEEN)
    assert wrong.area == pytest.approx(0.0)
    with pytest.raises(DataError, match="needs rows of seen and of unseen classes"):
        seen_unseen_curve(np.eye(3), np.array([0, 1, 1]), SEEN)


def test_options_and_gamma_come_from_seen_classes():
    table = np.random.default_rng(3).integers(0, 2, (20, 10)).astype(float)
    features, labels, signatures, train = world(table, 14, noise=0.5)
    given = (features[train], labels[train], signatures[:14])
    first, second = (choose_options("eszsl", *given, splits=3, seed=1) for _ in range(2))
    assert first == second
    assert 0.3 < first.pseudo_unseen <= 1.0
    bad = choose_options("eszsl", *given, splits=3, seed=1, tries={"gamma": [1e9], "penalty": [1e9]})
    assert bad.options == {"gamma": 1e9, "penalty": 1e9}
    fitted = fitted_method("eszsl", first.options, *given)
    scores = fitted.scores(features, signatures).numpy()
    seen = np.arange(20) < 14
    said = stacked(scores / spread_of(fitted, given[0]), seen, first.gamma).argmax(axis=1)
    true, of_seen = labels.numpy(), train.numpy()
    unseen = per_class_accuracy(true[~of_seen], said[~of_seen])
    assert harmonic_mean(per_class_accuracy(true[of_seen], said[of_seen]), unseen) > 0.6
    with pytest.raises(SettingsError, match=r"3 seen classes, .* at least 4 seen classes"):
        choose_options("eszsl", features[:60], torch.arange(60) % 3, signatures[:3])


def test_splits_of_classes():
    names = ("a", "b", "c", "d", "e")
    split = hold_out(names, ["d", "b"])
    assert (split.seen, split.unseen, split.classes) == (("a", "c", "e"), ("d", "b"), ("a", "c", "e", "d", "b"))
    drawn = random_hold_outs(names, 2, count=6, seed=1)
    assert len({split.unseen for split in drawn}) == 6
    assert drawn == random_hold_outs(names, 2, count=6, seed=1)
    assert len(random_hold_outs(names, 2, count=100)) == 10  # all there are
    split.check_no_leak(["a", "c", "c"])
    with pytest.raises(DataError, match=r"must stay unseen: d \(2 rows\)"):
        split.check_no_leak(["a", "d", "d"])
    with pytest.raises(SettingsError, match="wolf is no class; the classes are a, b"):
        hold_out(names, ["wolf", "a"])
    with pytest.raises(SettingsError, match="two unseen ones"):
        hold_out(names, ["a"])
    with pytest.raises(SettingsError, match="fewer than all"):
        random_hold_outs(names, 5, count=1)
