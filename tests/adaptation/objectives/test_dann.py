"""The domain loss is binary cross entropy; the reversal turns its gradient round for the features alone."""

import math

import pytest
import torch
from domain_batches import CLASSES, WIDTH, domain_batch
from torch.nn import functional

from hf_transfer_kit.adaptation.objectives.dann import DANN
from hf_transfer_kit.adaptation.objectives.domain_head import domain_accuracy, domain_loss


def test_with_as_many_rows_of_both_it_is_the_mean_binary_cross_entropy():
    source, target = torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    expected = functional.binary_cross_entropy_with_logits(
        torch.cat([source, target]), torch.tensor([1.0] * 4 + [0.0] * 4, dtype=torch.float64)
    )
    assert domain_loss(source, target).item() == pytest.approx(expected.item(), abs=1e-12)


def test_closed_forms():
    assert domain_loss(torch.zeros(3), torch.zeros(5)).item() == pytest.approx(math.log(2), abs=1e-6)
    assert domain_loss(torch.full((3,), 50.0), torch.full((5,), -50.0)).item() == pytest.approx(0, abs=1e-6)
    assert domain_accuracy(torch.tensor([1.0, 2.0, -1.0, -1.0]), torch.tensor([-1.0])).item() == 0.75


def test_weights_are_relative_to_their_own_domain():
    source, target = torch.randn(3, dtype=torch.float64), torch.randn(2, dtype=torch.float64)
    weights = torch.tensor([1.0, 0.0, 3.0], dtype=torch.float64)
    doubled = torch.cat([source[[0]], source[[2]], source[[2]], source[[2]]])
    assert domain_loss(source, target, 7 * weights).item() == pytest.approx(domain_loss(doubled, target).item())


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_features_get_minus_lambda_times_the_gradient_and_the_head_all_of_it(strength):
    batch, _, head = domain_batch(strength=strength)
    objective = DANN(width=WIDTH, num_labels=CLASSES).double()
    objective.terms(batch)["domain_loss"].backward()
    plain, *_ = domain_batch()
    other = DANN(width=WIDTH, num_labels=CLASSES).double()
    other.load_state_dict(objective.state_dict())
    domain_loss(other.domain_head(plain.source_features), other.domain_head(plain.target_features)).backward()
    for mine, theirs in zip(objective.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    for field in ("source_features", "target_features"):
        torch.testing.assert_close(getattr(batch, field).grad, -strength * getattr(plain, field).grad)
    assert head.weight.grad is None  # the label head is no part of it


def test_hidden_layers_are_as_asked():
    objective = DANN(width=WIDTH, num_labels=CLASSES, hidden=[7, 5], dropout=0.5)
    assert [tuple(parameter.shape) for parameter in objective.parameters()] == [
        (7, WIDTH), (7,), (5, 7), (5,), (1, 5), (1,),
    ]  # fmt: skip
    assert [type(module).__name__ for module in objective.domain_head] == [
        "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear",
    ]  # fmt: skip
