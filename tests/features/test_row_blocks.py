"""Blocks of rows, sums over them, and the limit that they keep."""

import threading

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.preprocessing import StandardScaler

from hf_transfer_kit import memory_limit
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features.row_blocks import BLOCK, all_finite, check_held, holding, row_blocks, rows_at_once
from hf_transfer_kit.features.row_sums import (
    means_and_spreads,
    products,
    products_and_class_sums,
    scales,
    triangular_root,
)
from hf_transfer_kit.selection.measures.scores.h_score import ledoit_wolf


def rows_of(count=23, width=4, dtype=np.float32):
    return (5 + np.random.default_rng(0).normal(size=(count, width))).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("size", [1, 5, 23, 100])
def test_blocks_are_the_rows_in_order_and_not_the_callers_array(size, dtype):
    rows, chosen = rows_of(dtype=dtype), np.array([7, 2, 2, 19])
    before = rows.copy()
    blocks = list(row_blocks(rows, size, shift=rows.mean(0), scale=2.0))
    assert [place.stop - place.start for place, _ in blocks[:-1]] == [size] * (len(blocks) - 1)
    np.testing.assert_allclose(np.concatenate([b for _, b in blocks]), (rows - rows.mean(0)) / 2, rtol=1e-6)
    few = np.concatenate([block for _, block in row_blocks(rows, size, chosen=chosen)])
    np.testing.assert_array_equal(few, rows[chosen])
    for _, block in row_blocks(rows, size):
        block[:] = 0
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("size", [1, 5, 23])
def test_sums_over_blocks_are_those_of_all_rows(size):
    rows, places = rows_of(dtype=np.float64), np.arange(23) % 3
    mean, spread = means_and_spreads(rows, size)
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-13)
    np.testing.assert_allclose(spread, rows.std(0), rtol=1e-12)
    gram, sums = products_and_class_sums(row_blocks(rows, size), places, 3, 4)
    np.testing.assert_allclose(gram, rows.T @ rows, rtol=1e-13)
    np.testing.assert_allclose(products(row_blocks(rows, size), 4), gram)
    np.testing.assert_allclose(sums, [rows[places == c].sum(0) for c in range(3)], rtol=1e-13)
    root = triangular_root(row_blocks(rows, size), 4)
    np.testing.assert_allclose(root.T @ root, gram, rtol=1e-12)


def test_spreads_keep_their_digits_far_from_zero_and_constants_are_left_alone():
    rows = np.random.default_rng(0).normal([0.0, 1e9, 0.0], size=(50, 3))
    rows[:, 2] = 0.1
    mean, spread = means_and_spreads(rows, 7)
    np.testing.assert_allclose(spread[:2], (rows - rows.mean(0)).std(0)[:2], rtol=1e-6)
    np.testing.assert_allclose(scales(mean, spread, 50), StandardScaler().fit(rows).scale_, rtol=1e-6)
    assert scales(mean, spread, 50)[2] == 1


@pytest.mark.parametrize("count", [3, 12, 200])
def test_shrinkage_is_that_of_scikit_learn(count):
    rows = rows_of(count, 6, np.float64) * np.arange(1, 7)
    centred = rows - rows.mean(0)
    found = ledoit_wolf(centred.T @ centred / count, float(np.mean((centred**2).sum(1) ** 2)), count)
    assert found == pytest.approx(ledoit_wolf_shrinkage(centred, assume_centered=True), rel=1e-10)


def test_a_limit_makes_blocks_smaller_and_refuses_what_does_not_fit():
    assert rows_at_once(8, what="it") == BLOCK // 8
    with memory_limit("1 MiB"):
        assert rows_at_once(1024, what="it") == 1024
        assert rows_at_once(1024, beside=2**19, what="it") == 512
        with holding(2**19, "the first"):
            assert rows_at_once(1024, what="it") == 512
            with pytest.raises(
                SettingsError, match=r"^memory_limit=1\.0 MB is too little: it holds 600\.0 KB beside 524\.3 KB"
            ):
                check_held(600_000, "it")
        with memory_limit(2**30):  # the inner one counts
            check_held(2**29, "it")
        with pytest.raises(SettingsError, match=r"too little: it holds 2\.1 MB\. Raise the limit, or give fewer rows"):
            rows_at_once(2**17, what="it")
    assert rows_at_once(8, what="it") == BLOCK // 8
    with memory_limit("100 GiB"):
        assert rows_at_once(8, what="it") == BLOCK // 8  # larger blocks are no faster


def test_a_limit_holds_in_its_own_thread():
    found = []
    with memory_limit(100):
        thread = threading.Thread(target=lambda: found.append(rows_at_once(8, what="it")))
        thread.start()
        thread.join()
    assert found == [BLOCK // 8]


@pytest.mark.parametrize("limit", ["much", -1, "4XB", None, float("nan")])
def test_what_is_no_size_is_refused(limit):
    with pytest.raises(SettingsError, match=r"memory_limit=.* is no size"):
        memory_limit(limit)  # at once, not when it is entered


def test_one_number_that_is_not_finite_is_found_wherever_it_is(monkeypatch):
    monkeypatch.setattr("hf_transfer_kit.features.row_blocks.BLOCK", 16)
    rows = rows_of()
    assert all_finite(rows)
    for place in range(len(rows)):
        broken = rows.copy()
        broken[place, 3] = np.inf
        assert not all_finite(broken)
