"""Positions into one row: padding never counts."""

import pytest
import torch

from hf_transfer_kit.backbones.pooling import pooled_positions
from hf_transfer_kit.errors import SettingsError

POSITIONS = torch.tensor([[[1.0], [2.0], [6.0]], [[4.0], [torch.nan], [8.0]], [[5.0], [5.0], [5.0]]])
MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]]).bool()


@pytest.mark.parametrize(
    ("how", "expected"), [("mean", [3, 4, 0]), ("first", [1, 4, 0]), ("last", [6, 4, 0]), ("max", [6, 4, 0])]
)
def test_only_what_is_no_padding_counts(how, expected):
    assert pooled_positions(POSITIONS, MASK, how=how).flatten().tolist() == expected


def test_padding_may_come_first():
    mask = torch.tensor([[0, 1, 1], [0, 0, 1], [0, 1, 1]]).bool()
    assert pooled_positions(POSITIONS, mask, how="first").flatten()[[0, 1]].tolist() == [2, 8]
    assert pooled_positions(POSITIONS, mask, how="mean").flatten()[[0, 1]].tolist() == [4, 8]


def test_half_precision_sums_in_float32():
    positions = torch.full((1, 4000, 1), 60.0, dtype=torch.float16)
    assert pooled_positions(positions, None, how="mean").item() == 60.0
    assert pooled_positions(positions, None, how="mean").dtype is torch.float16


def test_unknown_pooling():
    with pytest.raises(SettingsError, match="pooling='median' is unknown"):
        pooled_positions(POSITIONS, None, how="median")
