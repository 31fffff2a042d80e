"""Factors on rates hold for one step and leave no trace."""

import pytest
import torch
from torch import nn

from hf_transfer_kit.tuning.step_rates import StepRates, split_by_factor


def trained(optimizer_class, kwargs, factors, steps=5, scheduled=True):
    """Two weights with constant gradients; the second is scaled through groups (factors None) or through StepRates."""
    torch.manual_seed(0)
    first, second = (nn.Parameter(torch.randn(3, dtype=torch.float64)) for _ in range(2))
    lr = kwargs.get("lr")
    groups = [{"params": [first, second]}] if factors else [{"params": [first]}, {"params": [second], "lr": lr * 0.1}]
    optimizer = optimizer_class(groups, **kwargs)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    if factors:
        StepRates(optimizer, lambda: {id(second): 0.1})
    for _ in range(steps):
        first.grad, second.grad = torch.ones_like(first), 2 * torch.ones_like(second)
        optimizer.step()
        if scheduled:
            scheduler.step()
    return first.detach(), second.detach(), optimizer


@pytest.mark.parametrize(
    ("optimizer", "kwargs"),
    [
        (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
        (torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.1}),
        (torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.1, "fused": True}),
    ],
)
def test_a_factor_equals_a_group_with_that_rate_under_a_scheduler(optimizer, kwargs):
    ours, theirs = trained(optimizer, kwargs, True), trained(optimizer, kwargs, False)
    assert all(torch.equal(a, b) for a, b in zip(ours[:2], theirs[:2], strict=True))


def test_groups_state_and_checkpoint_do_not_notice():
    kwargs = {"lr": 0.1, "weight_decay": 0.1}
    optimizer = trained(torch.optim.AdamW, kwargs, True)[2]
    saved = optimizer.state_dict()
    assert len(saved["param_groups"]) == 1
    assert saved["param_groups"][0]["lr"] == pytest.approx(0.1 / 6)
    assert sorted(saved["state"]) == [0, 1]


def test_removed_it_does_nothing():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    rates = StepRates(optimizer, lambda: {id(weight): 0.5})
    for expected in (-0.5, -1.5):
        weight.grad = torch.ones(1)
        optimizer.step()
        assert weight.item() == expected
        rates.remove()


def test_after_a_step_that_failed_the_groups_come_back():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    groups = optimizer.param_groups
    StepRates(optimizer, lambda: {id(weight): 0.5})

    def fail():
        raise RuntimeError("no loss")

    with pytest.raises(RuntimeError, match="no loss"):
        optimizer.step(fail)
    weight.grad = torch.ones(1)
    optimizer.step()
    assert weight.item() == -0.5
    assert optimizer.param_groups is groups


def test_split_by_factor_keeps_order_and_settings():
    a, b, c = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    copies = split_by_factor({"params": [a, b, c], "lr": 2.0, "momentum": 0.9}, {id(b): 0.5})
    assert [(len(copy["params"]), copy["lr"], copy["momentum"]) for copy in copies] == [(2, 2.0, 0.9), (1, 1.0, 0.9)]
    assert copies[0]["params"][1] is c
