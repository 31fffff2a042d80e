"""The two means are their formulas."""

import copy
import math

import pytest
import torch
from torch import nn

from hf_transfer_kit.tuning.averaging.means import Average, follow, warm_decay, wide_copies
from hf_transfer_kit.tuning.averaging.statistics import even_batches


def test_decay_begins_short():
    assert [warm_decay(step, 0.99) for step in (0, 10, 10_000)] == [0.1, 0.55, 0.99]


def test_following_is_the_formula_over_weights_and_buffers():
    teacher, student = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    for tensor in student.state_dict().values():
        tensor.add_(3)
    before = copy.deepcopy(teacher.state_dict())
    follow(list(teacher.state_dict().values()), list(student.state_dict().values()), 0.75)
    for key, value in teacher.state_dict().items():
        expected = (
            0.75 * before[key] + 0.25 * student.state_dict()[key] if value.is_floating_point() else torch.tensor(3)
        )
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_equal_mean_is_that_of_all_steps_in_float32_or_wider(dtype):
    torch.manual_seed(0)
    steps = [[torch.randn(3, dtype=torch.float64).to(dtype), torch.randn(2, 2).to(dtype)] for _ in range(7)]
    average = Average(wide_copies(steps[0]), 1)
    for step in steps[1:4]:
        average = average.with_more(step)
    rest = Average(wide_copies(steps[4]), 1).with_more(steps[5]).with_more(steps[6])
    average = average.with_more(rest.tensors, rest.count)
    assert average.count == 7
    for i, mean in enumerate(average.tensors):
        assert mean.dtype == torch.promote_types(dtype, torch.float32)
        torch.testing.assert_close(mean, torch.stack([step[i].to(mean.dtype) for step in steps]).mean(0))


@pytest.mark.parametrize(
    ("size", "batch_size", "max_rows"),
    [(10, 4, None), (9, 4, None), (5, 4, None), (3, 8, None), (100, 8, 20), (2, 2, 2)],
)
def test_batches_weigh_alike_and_spread_over_all_rows(size, batch_size, max_rows):
    batches = even_batches(size, batch_size, max_rows)
    lengths = [len(batch) for batch in batches]
    assert set(lengths[:-1]) <= {batch_size}
    assert len(batches) == 1 or lengths[-1] >= max(batch_size // 2, 2)
    places = [place for batch in batches for place in batch]
    assert places == sorted(set(places))
    assert math.isclose(len(places), min(size, max_rows or size), abs_tol=max(batch_size // 2, 2))
