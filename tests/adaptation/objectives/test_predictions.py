"""Methods that look at predictions alone: entropy, class confusion, two classifiers."""

import math

import pytest
import torch
from domain_batches import CLASSES, WIDTH, domain_batch
from torch.nn import functional

from hf_transfer_kit.adaptation.objectives.entropy import (
    EntropyMinimisation,
    conditional_entropy,
    prediction_diversity,
)
from hf_transfer_kit.adaptation.objectives.entropy_of_rows import row_entropy
from hf_transfer_kit.adaptation.objectives.mcc import class_confusion
from hf_transfer_kit.adaptation.objectives.mcd import MCD, classifier_discrepancy

SURE = torch.eye(3).repeat(2, 1) * 100
FLAT = torch.zeros(6, 3)


def test_entropy_and_diversity_in_closed_form():
    assert conditional_entropy(SURE).item() == pytest.approx(0, abs=1e-6)
    assert conditional_entropy(FLAT).item() == pytest.approx(math.log(3), abs=1e-6)
    assert prediction_diversity(SURE).item() == pytest.approx(math.log(3), abs=1e-6)
    assert prediction_diversity(SURE[[0, 0]]).item() == pytest.approx(0, abs=1e-6)
    assert row_entropy(torch.tensor([[0.5, 0.5, 0.0]])).item() == pytest.approx(math.log(2), abs=1e-6)


def test_entropy_is_the_double_sum_with_a_finite_gradient_at_certainty():
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    p = logits.detach().softmax(-1)
    expected = -sum(float(p[i, c] * p[i, c].log()) for i in range(4) for c in range(3)) / 4
    assert conditional_entropy(logits).item() == pytest.approx(expected, abs=1e-12)
    assert torch.autograd.gradcheck(conditional_entropy, logits)
    sure = SURE.clone().requires_grad_()
    (conditional_entropy(sure) + prediction_diversity(sure[[0, 0]])).backward()
    assert torch.isfinite(sure.grad).all()


def test_diversity_is_subtracted_as_asked():
    batch, *_ = domain_batch()
    logits = batch.target_logits
    for diversity in (0.0, 2.0):
        objective = EntropyMinimisation(width=WIDTH, num_labels=CLASSES, weight=0.5, diversity=diversity)
        expected = 0.5 * (conditional_entropy(logits) - diversity * prediction_diversity(logits))
        assert objective.terms(batch)["target_entropy_loss"].item() == pytest.approx(expected.item(), abs=1e-12)


def test_class_confusion_is_the_formula_and_its_ends():
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    y = (logits / 2.5).softmax(-1)
    w = (1 + torch.exp((y * y.log()).sum(-1))).detach()
    w = 5 * w / w.sum()
    k = torch.stack([torch.stack([(y[:, a] * w * y[:, b]).sum() for b in range(3)]) for a in range(3)])
    k = k / k.sum(1, keepdim=True)
    expected = sum(k[a, b] for a in range(3) for b in range(3) if a != b) / 3
    found = class_confusion(logits)
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (found, expected)))
    assert class_confusion(SURE).item() == pytest.approx(0, abs=1e-6)
    assert class_confusion(FLAT).item() == pytest.approx(2 / 3, abs=1e-6)


def test_discrepancy_of_classifiers():
    assert classifier_discrepancy(SURE, SURE).item() == 0
    assert classifier_discrepancy(SURE, SURE.roll(1, dims=1)).item() == pytest.approx(2 / 3, abs=1e-6)


def test_classifiers_raise_the_discrepancy_and_features_lower_it():
    batch, _, head = domain_batch(strength=0.5)
    objective = MCD(width=WIDTH, num_labels=CLASSES).double()
    objective.terms(batch)["discrepancy_loss"].backward()
    plain, _, other_head = domain_batch()
    second = torch.nn.Linear(WIDTH, CLASSES).double()
    second.load_state_dict(objective.second.state_dict())
    classifier_discrepancy(other_head(plain.target_features), second(plain.target_features)).backward()
    torch.testing.assert_close(head.weight.grad, -other_head.weight.grad)
    torch.testing.assert_close(objective.second.weight.grad, -second.weight.grad)
    torch.testing.assert_close(batch.target_features.grad, 0.5 * plain.target_features.grad)


def test_the_second_classifier_learns_on_source_rows():
    batch, *_ = domain_batch()
    objective = MCD(width=WIDTH, num_labels=CLASSES).double()
    expected = functional.cross_entropy(objective.second(batch.source_features), batch.labels)
    assert objective.terms(batch)["second_class_loss"].item() == pytest.approx(expected.item(), abs=1e-12)
