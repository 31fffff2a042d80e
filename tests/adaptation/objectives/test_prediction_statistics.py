"""Values to watch, in closed form."""

import pytest
import torch

from hf_transfer_kit.adaptation.objectives.prediction_statistics import prediction_statistics


def test_closed_forms():
    same = torch.tensor([[3.0, 4.0]]).repeat(3, 1)
    apart = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    sure = torch.eye(4)[:3] * 200
    found = prediction_statistics(apart, same, torch.zeros(2, 4), sure)
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        {
            "source_entropy": 1.0,
            "target_entropy": 0.0,
            "target_diversity": 1.0,  # three rows, three classes: no more can be
            "source_feature_norm": 1.0,
            "target_feature_norm": 5.0,
            "feature_spread": 0.0,
        },
        abs=1e-4,
    )
    found = prediction_statistics(same, apart, sure, sure[[0, 0]])
    assert found["feature_spread"].item() == pytest.approx(1.0)
    assert found["target_diversity"].item() == pytest.approx(0.0, abs=1e-6)
