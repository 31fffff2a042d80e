"""Shares, whole counts, and rounds that never favour a row."""

from collections import Counter

import numpy as np
import pytest

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask.mixing import epoch_rows, mixing_shares, whole_counts

SIZES = {"small": 100, "large": 10_000}


@pytest.mark.parametrize(
    ("mixing", "temperature", "small"),
    [
        ("proportional", 2.0, 1 / 101),
        ("equal", 2.0, 1 / 2),
        ("temperature", 1.0, 1 / 101),
        ("temperature", 2.0, 10 / 110),
        ("temperature", 1e9, 1 / 2),
        ({"large": 3, "small": 1}, 2.0, 1 / 4),
    ],
)
def test_shares_are_those_of_the_formula(mixing, temperature, small):
    shares = mixing_shares(SIZES, mixing, temperature=temperature)
    assert list(shares) == ["small", "large"]
    assert shares["small"] == pytest.approx(small)
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("shares", "total", "counts"),
    [
        ([0.5, 0.5], 7, [4, 3]),
        ([1 / 3, 1 / 3, 1 / 3], 3, [1, 1, 1]),
        ([0.62, 0.26, 0.12], 10, [6, 3, 1]),
        ([0.44, 0.33, 0.23], 4, [2, 1, 1]),
    ],
)
def test_counts_go_to_the_largest_remainders(shares, total, counts):
    assert list(whole_counts(dict(enumerate(shares)), total).values()) == counts


def test_counts_of_any_shares_sum_up_and_stay_within_one():
    generator = np.random.default_rng(0)
    for _ in range(200):
        weights = generator.random(generator.integers(1, 8)) + 1e-3
        shares = dict(enumerate(weights / weights.sum()))
        total = int(generator.integers(1, 1000))
        counts = whole_counts(shares, total)
        assert sum(counts.values()) == total
        assert all(abs(counts[name] - share * total) < 1 for name, share in shares.items())


@pytest.mark.parametrize("count", [3, 7, 18])
def test_rounds_go_on_over_epochs_and_each_holds_every_row_once(count):
    read = []
    for epoch in range(14):
        _, rows = epoch_rows({"s": 7}, {"s": count}, seed=1, epoch=epoch)
        read.append(rows)
        counts = Counter(np.concatenate(read).tolist())
        assert max(counts.values()) - min(counts.get(row, 0) for row in range(7)) <= 1
    assert set(counts.values()) == {2 * count}


def test_rounds_have_different_orders_and_are_a_function_of_seed_and_epoch():
    def rows(seed, epoch):
        return [part.tolist() for part in epoch_rows({"s": 50, "t": 50}, {"s": 50, "t": 50}, seed=seed, epoch=epoch)]

    assert rows(0, 3) == rows(0, 3)
    assert rows(0, 3) != rows(0, 4)
    assert rows(0, 3) != rows(1, 3)
    numbers, rows = epoch_rows({"s": 50, "t": 50}, {"s": 50, "t": 50}, seed=0, epoch=0)
    assert rows[numbers == 0].tolist() != rows[numbers == 1].tolist()
    # Sources are mixed: half of the neighbours have different sources, 49.5 of 99 expected.
    assert 30 < (numbers[1:] != numbers[:-1]).sum() < 70


def test_each_round_deals_rows_to_epochs_anew():
    halves = [set(epoch_rows({"s": 20}, {"s": 10}, seed=0, epoch=epoch)[1].tolist()) for epoch in range(6)]
    assert all(halves[epoch] | halves[epoch + 1] == set(range(20)) for epoch in (0, 2, 4))
    assert halves[0] not in (halves[2], halves[4])


def test_blocks_hold_one_source():
    numbers, _ = epoch_rows({"s": 5, "t": 9}, {"s": 8, "t": 12}, seed=0, epoch=0, block=4)
    blocks = numbers.reshape(-1, 4)
    assert (blocks == blocks[:, :1]).all()
    assert sorted(blocks[:, 0].tolist()) == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("mixing", "temperature", "words"),
    [
        ("size", 2.0, "mixing='size' is unknown; choose 'proportional', 'equal', 'temperature', or give a weight"),
        ("temperature", 0.0, "temperature=0.0 must be above 0"),
        ({"small": 1}, 2.0, "sources small, large, but large has none"),
        ({"small": 1, "large": 1, "tiny": 1}, 2.0, "but tiny is no source"),
        ({"small": 0, "large": 1}, 2.0, "mixing gives small the weight 0, but weights must be above 0"),
        ({"small": float("nan"), "large": 1}, 2.0, "mixing gives small the weight nan"),
    ],
)
def test_settings_that_do_not_fit_are_sentences(mixing, temperature, words):
    with pytest.raises(SettingsError, match=words):
        mixing_shares(SIZES, mixing, temperature=temperature)
