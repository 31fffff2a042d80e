"""Products of features and probabilities, all or at random, and certainty as a weight."""

import math

import pytest
import torch
from domain_batches import CLASSES, WIDTH, domain_batch

from hf_transfer_kit.adaptation.objectives.cdan import CDAN, certainty_weights, multilinear, random_multilinear
from hf_transfer_kit.adaptation.objectives.domain_head import domain_loss


def test_multilinear_is_the_outer_product_of_each_row():
    features, probabilities = torch.randn(4, 3), torch.rand(4, 2)
    found = multilinear(features, probabilities)
    for row in range(4):
        torch.testing.assert_close(found[row], torch.outer(probabilities[row], features[row]).flatten())


def test_random_products_have_the_inner_products_of_the_whole_ones_on_average():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    probabilities = torch.rand(3, 2, generator=generator, dtype=torch.float64)
    whole = multilinear(features, probabilities)
    left = torch.randn(4, 200_000, generator=generator, dtype=torch.float64)
    right = torch.randn(2, 200_000, generator=generator, dtype=torch.float64)
    found = random_multilinear(features, probabilities, left, right)
    torch.testing.assert_close(found @ found.T, whole @ whole.T, atol=0.1, rtol=0.03)


def test_weights_run_from_one_over_c_to_two():
    rows = torch.tensor([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    assert certainty_weights(rows).tolist() == pytest.approx([2.0, 1 + 1 / 3], abs=1e-6)
    assert math.isclose(certainty_weights(torch.tensor([[0.5, 0.5, 0.0]])).item(), 1.5, abs_tol=1e-6)


@pytest.mark.parametrize("entropy", [True, False])
def test_the_loss_written_out(entropy):
    batch, _, head = domain_batch()
    objective = CDAN(width=WIDTH, num_labels=CLASSES, entropy=entropy).double()
    logits, weights = [], []
    for features, own in (
        (batch.source_features, batch.source_logits),
        (batch.target_features, batch.target_logits),
    ):
        g = own.softmax(-1)
        rows = torch.stack([torch.outer(p, f).flatten() for p, f in zip(g, features, strict=True)])
        logits.append(objective.domain_head(rows))
        weights.append(1 + torch.exp((g * g.log()).sum(-1)))
    expected = domain_loss(*logits, *(weights if entropy else ()))
    found = objective.terms(batch)["domain_loss"]
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)
    found.backward()
    assert head.weight.grad is None  # no gradient through the probabilities


def test_many_products_are_drawn_at_random_and_kept_in_the_checkpoint():
    assert set(CDAN(width=WIDTH, num_labels=CLASSES).state_dict()) & {"left", "right"} == set()
    objective = CDAN(width=WIDTH, num_labels=CLASSES, random_width=WIDTH * CLASSES - 1)
    assert objective.state_dict()["left"].shape == (WIDTH, WIDTH * CLASSES - 1)
    assert objective.state_dict()["right"].shape == (CLASSES, WIDTH * CLASSES - 1)
