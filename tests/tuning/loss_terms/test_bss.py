"""The shrunk singular values equal the naive formula; the callback equals the loss written out."""

import copy

import pytest
import torch
from term_cases import FAMILIES, InOrder, assert_close_state, batch_of, case, last_input, state_of

from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.tuning.loss_terms.bss import BSS, batch_spectral_shrinkage


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (1, 3)])
@pytest.mark.parametrize("k", [1, 2, 9])
def test_the_term_is_the_sum_of_the_smallest_eigenvalues_of_the_gram_matrix(shape, k):
    features = torch.randn(*shape, dtype=torch.float64)
    gram = features @ features.T if shape[0] <= shape[1] else features.T @ features
    assert batch_spectral_shrinkage(features, k).item() == pytest.approx(
        torch.linalg.eigvalsh(gram)[:k].sum().item(), abs=1e-12
    )


def test_its_gradient_is_right():
    features = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: batch_spectral_shrinkage(f, 2), features)


def test_it_grows_with_the_square_of_the_features_and_half_precision_is_widened():
    features = torch.randn(5, 4)
    assert batch_spectral_shrinkage(1e3 * features, 2).item() == pytest.approx(
        1e6 * batch_spectral_shrinkage(features, 2).item(), rel=1e-4
    )
    assert batch_spectral_shrinkage(features.bfloat16(), 2).dtype == torch.float32
    zeros = torch.zeros(3, 2, requires_grad=True)
    batch_spectral_shrinkage(zeros).backward()
    assert torch.equal(zeros.grad, torch.zeros(3, 2))


@pytest.mark.parametrize("family", ["vit", "bert"])
def test_training_equals_the_loss_written_out(training_arguments, family):
    model, rows = case(family, double=True)
    twin = copy.deepcopy(model)
    args = training_arguments(
        max_steps=1, per_device_train_batch_size=6, optim="sgd", learning_rate=0.1, max_grad_norm=0.0
    )
    trainer = InOrder(model, args, train_dataset=rows, callbacks=[BSS(alpha=0.5, k=2)])
    trainer.train()
    batch = batch_of(rows)
    singular = torch.linalg.svdvals(last_input(twin, batch))
    penalty = 0.5 * (singular[-1] ** 2 + singular[-2] ** 2)
    (twin(**batch).loss + penalty).backward()
    with torch.no_grad():
        for parameter in twin.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    assert_close_state(state_of(model), state_of(twin), 1e-7)
    assert trainer.state.log_history[0]["bss_penalty"] == pytest.approx(penalty.item(), abs=1e-6)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_trains(training_arguments, family):
    model, rows = case(family)
    args = training_arguments(max_steps=2, per_device_train_batch_size=4)
    trainer = InOrder(model, args, train_dataset=rows, callbacks=[BSS()])
    trainer.train()
    assert trainer.state.log_history[0]["bss_penalty"] > 0


def test_what_cannot_be_is_refused(training_arguments):
    with pytest.raises(SettingsError, match=r"alpha=-1 is negative"):
        BSS(alpha=-1)
    with pytest.raises(SettingsError, match=r"k=0 is out of range"):
        BSS(k=0)
    model, rows = case("vit")
    trainer = InOrder(model.vit, training_arguments(max_steps=1), train_dataset=rows, callbacks=[BSS()])
    with pytest.raises(ModelError, match="ViTModel has no head"):
        trainer.train()
