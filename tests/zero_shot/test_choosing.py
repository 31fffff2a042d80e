"""What is chosen on seen classes alone, and which classes are seen."""

import numpy as np
import pytest
import torch
from zero_shot.test_methods import world

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.metrics import harmonic_mean, per_class_accuracy, stacked
from hf_transfer_kit.zero_shot import choose_options, fitted_method, hold_out, random_hold_outs, spread_of
from hf_transfer_kit.zero_shot.choosing import _splits


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


def test_all_classes_play_the_unseen_ones_equally_often():
    drawn = _splits(torch.arange(10).repeat(20), 10, 10, 0.3, 0.2, np.random.default_rng(0))
    counts = np.bincount(np.concatenate([split.unseen for split in drawn]), minlength=10)
    assert counts.tolist() == [3] * 10
    for split in drawn:
        assert len(split.unseen) == 3
        assert len(np.unique(split.unseen)) == 3
        assert not set(split.learned) & (set(split.held) | set(split.of_unseen))
        assert len(split.learned) + len(split.held) + len(split.of_unseen) == 200
    odd = _splits(torch.arange(7).repeat(4), 7, 5, 0.3, 0.2, np.random.default_rng(1))
    assert all(len(np.unique(split.unseen)) == 2 for split in odd)
    assert np.ptp(np.bincount(np.concatenate([split.unseen for split in odd]), minlength=7)) <= 1
