"""What is computed in blocks is what all at once gives, and needs no more memory for more rows."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hf_transfer_kit.adaptation.objectives.kernels import gaussian_kernels, kernel_discrepancy, squared_distances
from hf_transfer_kit.adaptation.objectives.mmd import FACTORS
from hf_transfer_kit.features import probe_fitting, row_blocks
from hf_transfer_kit.selection.measures.distances import mean_discrepancy as module
from hf_transfer_kit.selection.measures.distances.chance import dealt


def rows_of_two_domains(sources=31, targets=26, width=5, seed=0):
    draw = np.random.default_rng(seed)
    return np.concatenate([draw.normal(size=(sources, width)), 0.3 + 1.2 * draw.normal(size=(targets, width))])


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("block", [1, 30_000, 2**20])
def test_mmd_in_blocks_is_mmd(block, biased, monkeypatch):
    rows = rows_of_two_domains()
    deals = dealt(31, 26, 20, np.random.default_rng(1))
    whole = module.mean_discrepancy(rows, deals, biased=biased)
    monkeypatch.setattr(row_blocks, "BLOCK", block)
    np.testing.assert_allclose(module.mean_discrepancy(rows, deals, biased=biased), whole, rtol=1e-10, atol=1e-13)
    if biased:
        size = np.abs(rows - rows.mean(0)).max()
        kernel = gaussian_kernels(squared_distances(torch.from_numpy((rows - rows.mean(0)) / size)), FACTORS)
        assert whole[0] == pytest.approx(float(kernel_discrepancy(kernel, 31)), rel=1e-9)


@pytest.mark.parametrize("rows", [3, 4, 17, 60])
@pytest.mark.parametrize("block", [1, 2_000, 2**25])
@pytest.mark.parametrize("far", [1.0, 1e6], ids=["even", "one row far off"])
def test_the_median_is_exact_however_it_is_found(far, block, rows, monkeypatch):
    points = np.random.default_rng(rows).normal(size=(rows, 4))
    points[1] = points[0]  # a distance of nothing
    points[2] *= far  # all other distances then look alike
    upper = squared_distances(torch.from_numpy(points))[torch.triu(torch.ones(rows, rows), 1) > 0]
    monkeypatch.setattr(row_blocks, "BLOCK", block)
    assert module._median_distance(points) == pytest.approx(float(upper.median()), rel=1e-9, abs=1e-12 * far**2)


def test_equal_distances_are_never_held_together(monkeypatch):
    points = np.repeat(np.eye(2), 30, axis=0)  # distances of 0 and of 2, and nothing between
    monkeypatch.setattr(row_blocks, "BLOCK", 800)
    assert module._median_distance(points) == 2


@pytest.mark.parametrize("block", [1, 100_000, 2**25])
def test_neighbours_are_those_of_scikit_learn(block, monkeypatch):
    monkeypatch.setattr(row_blocks, "BLOCK", block)
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 4, 120) * 2
    features = (2 * np.eye(7)[labels] + draw.normal(size=(120, 7))).astype(np.float32)
    asked = draw.normal(size=(50, 7)).astype(np.float32)
    found = probe_fitting.Neighbours(5, features, labels).predict(asked, [1, 3, 5])
    for k, said in found.items():
        nearest = KNeighborsClassifier(n_neighbors=k, metric="cosine")
        assert np.array_equal(said, make_pipeline(StandardScaler(), nearest).fit(features, labels).predict(asked)), k


def test_of_many_rows_some_are_asked(monkeypatch):
    monkeypatch.setattr(probe_fitting, "_MOST_ASKED", 50)
    labels = np.arange(400) % 2
    features = np.random.default_rng(0).normal(size=(400, 3)) + 3 * labels[:, None]
    few = probe_fitting.cross_validated("knn", [5], features, labels, seed=0)
    monkeypatch.undo()
    whole = probe_fitting.cross_validated("knn", [5], features, labels, seed=0)
    assert few[5] == pytest.approx(whole[5], abs=0.03)
    assert few[5] * 50 == pytest.approx(round(few[5] * 50))
