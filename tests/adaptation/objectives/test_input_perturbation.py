"""Methods that look at target rows twice: adversarial directions, strong views, pseudo-labels, the teacher."""

import pytest
import torch
from domain_batches import CLASSES, WIDTH, domain_batch
from torch.nn import functional

from hf_transfer_kit.adaptation.objectives import OBJECTIVES
from hf_transfer_kit.adaptation.objectives.adamatch import (
    AdaMatch,
    aligned,
    pseudo_label_loss,
    relative_threshold,
    warm_up,
)
from hf_transfer_kit.adaptation.objectives.self_training import SelfTraining, taught
from hf_transfer_kit.adaptation.objectives.strong_view import strong_view
from hf_transfer_kit.adaptation.objectives.vada import VADA
from hf_transfer_kit.adaptation.objectives.virtual_adversary import (
    adversarial_direction,
    divergence,
    virtual_adversarial_loss,
)
from hf_transfer_kit.errors import ModelError, SettingsError


def test_divergence_is_the_double_sum():
    first, second = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    p, q = first.softmax(-1), second.softmax(-1)
    expected = sum(float(p[i, c] * (p[i, c] / q[i, c]).log()) for i in range(4) for c in range(3)) / 4
    assert divergence(first, second).item() == pytest.approx(expected, abs=1e-12)


def test_the_direction_is_the_leading_one_of_the_curvature():
    """With logits a x, KL grows as |a^T d|^2 weighted by the class covariance: its largest eigenvector wins."""
    weight = torch.randn(3, 5, dtype=torch.float64)
    inputs = torch.randn(2, 5, dtype=torch.float64)
    logits = inputs @ weight.T
    found = adversarial_direction(lambda x: x @ weight.T, inputs, logits, step=1e-3, iterations=60)
    for row in range(2):
        p = logits[row].softmax(-1)
        curvature = weight.T @ (torch.diag(p) - torch.outer(p, p)) @ weight
        leading = torch.linalg.eigh(curvature).eigenvectors[:, -1]
        assert abs(float(found[row] @ leading)) == pytest.approx(1, abs=1e-3)


def test_the_adversary_changes_more_than_chance_and_leaves_no_gradient_behind():
    torch.manual_seed(0)
    weight = torch.randn(3, 40, dtype=torch.float64, requires_grad=True)
    inputs = torch.randn(8, 40, dtype=torch.float64)

    def predict(rows):
        return rows @ weight.T

    direction = adversarial_direction(predict, inputs, predict(inputs))
    assert weight.grad is None
    torch.testing.assert_close(direction.norm(dim=1), torch.ones(8, dtype=torch.float64))
    loss = virtual_adversarial_loss(predict, inputs, predict(inputs), radius=1.0)
    random = torch.nn.functional.normalize(torch.randn(8, 40, dtype=torch.float64), dim=1)
    assert loss.item() > 5 * divergence(predict(inputs), predict(inputs + random)).item()
    loss.backward()
    assert weight.grad.abs().sum() > 0


def test_vada_refuses_tokens():
    batch, *_ = domain_batch()
    object.__setattr__(batch, "target_inputs", {"input_ids": torch.ones(4, 2, dtype=torch.long)})
    with pytest.raises(ModelError, match=r"vada moves the input .* inputs input_ids hold no real numbers"):
        VADA(width=WIDTH, num_labels=CLASSES).terms(batch)


@pytest.mark.parametrize("shape", [(3, 3, 8, 8), (3, 50), (3, 6, 7)])
def test_strong_views_are_random_keep_shape_and_type_and_follow_the_seed(shape):
    inputs = torch.randn(shape)
    torch.manual_seed(5)
    first = strong_view(inputs)
    assert first.shape == inputs.shape
    assert first.dtype == inputs.dtype
    assert torch.isfinite(first).all()
    assert not torch.equal(first, strong_view(inputs))
    torch.manual_seed(5)
    assert torch.equal(first, strong_view(inputs))
    assert strong_view(inputs, 0) is inputs
    assert strong_view(inputs.bfloat16()).dtype == torch.bfloat16


def test_half_of_the_images_are_inverted_unless_told_not_to():
    stripes = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(400, 3, 16, 4).repeat_interleave(4, dim=3)
    for invert, share in ((True, 0.5), (False, 0.0)):
        view = strong_view(stripes, 0.2, invert=invert)
        turned = (view[..., 12:].mean((1, 2, 3)) < view[..., :4].mean((1, 2, 3))).float().mean()
        assert abs(turned.item() - share) < 0.08


def test_alignment_moves_class_shares_to_the_sources():
    source = torch.tensor([[0.8, 0.2], [0.6, 0.4]])
    target = torch.tensor([[0.2, 0.8], [0.4, 0.6]])
    expected = target * torch.tensor([0.7 / 0.3, 0.3 / 0.7])
    torch.testing.assert_close(aligned(target, source), expected / expected.sum(1, keepdim=True))
    torch.testing.assert_close(aligned(source, source), source)
    assert relative_threshold(source, 0.9).item() == pytest.approx(0.9 * 0.7)


def test_warm_up_ends_in_the_middle():
    assert [warm_up(p).item() for p in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([0, 0.5, 1, 1], abs=1e-6)


def test_only_sure_rows_count_and_all_rows_divide():
    strong = torch.randn(3, 2)
    soft = torch.tensor([[0.95, 0.05], [0.6, 0.4], [0.5, 0.5]])
    expected = -(soft[0] * strong[0].log_softmax(-1)).sum() / 3
    assert pseudo_label_loss(strong, soft, 0.9).item() == pytest.approx(expected.item(), abs=1e-6)
    teacher = torch.tensor([[5.0, 0.0], [0.1, 0.0], [0.0, 0.0]])
    expected = functional.cross_entropy(strong[:1], torch.tensor([0])) / 3
    assert taught(strong, teacher, 0.9).item() == pytest.approx(expected.item(), abs=1e-6)
    assert taught(strong, teacher, 1.0).item() == 0


def test_pseudo_labels_teach_the_changed_rows_alone():
    batch, _, head = domain_batch(progress=1.0)
    objective = AdaMatch(width=WIDTH, num_labels=CLASSES, threshold=0.0, align=False, amount=0.0)
    found = objective.terms(batch)["pseudo_label_loss"]
    p = batch.target_logits.softmax(-1)
    assert found.item() == pytest.approx(-(p * p.log()).sum(-1).mean().item(), abs=1e-12)
    found.backward()
    assert batch.target_features.grad is None  # the weak view is taken as given
    assert head.weight.grad.abs().sum() > 0
    assert objective.diagnostics(batch)["pseudo_labelled"].item() == 1.0


@pytest.mark.parametrize("name", ["adamatch", "self_training"])
def test_changed_source_rows_are_learnt_where_they_weigh_something(name):
    batch, *_ = domain_batch()
    for weight in (0.0, 0.5):
        objective = OBJECTIVES[name](width=WIDTH, num_labels=CLASSES, source_weight=weight, amount=0.0)
        if name == "self_training":
            objective.teacher_logits = batch.target_logits.detach()
        terms = objective.terms(batch)
        assert ("strong_class_loss" in terms) == (weight > 0)
    expected = 0.5 * functional.cross_entropy(batch.source_logits, batch.labels)
    assert terms["strong_class_loss"].item() == pytest.approx(expected.item(), abs=1e-12)


def test_without_a_teacher_self_training_says_what_is_missing():
    batch, *_ = domain_batch()
    objective = SelfTraining(width=WIDTH, num_labels=CLASSES)
    with pytest.raises(SettingsError, match=r"no teacher for this step: add .*MeanTeacher"):
        objective.terms(batch)
