"""Every objective where networks run in half precision: what it computes of their features is what float32 gives."""

import pytest
import tiny
import torch
from domain_batches import CLASSES, WIDTH
from torch import nn

from hf_transfer_kit.adaptation import DomainAdversarialModel
from hf_transfer_kit.adaptation.objectives import OBJECTIVES, DomainBatch
from hf_transfer_kit.backbones.precision import called_in_float32

HALF = (torch.float16, torch.bfloat16)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
OPTIONS = {"adamatch": {"threshold": 0.0, "amount": 0.0}, "self_training": {"threshold": 0.0, "amount": 0.0}}
ROWS = 24


def objective_of(name, device):
    torch.manual_seed(1)
    objective = OBJECTIVES[name](width=WIDTH, num_labels=CLASSES, **OPTIONS.get(name, {})).to(device)
    if name == "self_training":
        objective.teacher_logits = torch.randn(ROWS, CLASSES).to(device)
    if name == "clusters":
        objective.pseudo_labels = (torch.arange(ROWS) % (CLASSES + 1) - 1).to(device)
    return objective


def terms_and_gradients(name, spread, *, device="cpu", network=torch.float32, autocast=None):
    """Of features that float16 and bfloat16 both hold; logits are the head's, in the precision that is asked for."""
    torch.manual_seed(0)
    rows = [(spread * torch.randn(ROWS, WIDTH) + shift).bfloat16().half().float() for shift in (0.0, 0.3 * spread)]
    head, body = nn.Linear(WIDTH, CLASSES), nn.Linear(WIDTH, WIDTH)
    for layer in (head, body):
        layer.weight.data = layer.weight.data.bfloat16().float() / (spread if layer is head else 1)
        layer.bias.data = layer.bias.data.bfloat16().float()
    objective = objective_of(name, device)
    kind = autocast or network
    with torch.autocast(device, dtype=autocast or torch.bfloat16, enabled=autocast is not None):
        head, body = head.to(device, network), body.to(device, network)
        source, target = (values.to(device, kind).requires_grad_() for values in rows)
        batch = DomainBatch(
            source_features=source,
            target_features=target,
            source_logits=called_in_float32(head, source),
            target_logits=called_in_float32(head, target),
            labels=torch.arange(ROWS, device=device) % CLASSES,
            progress=torch.tensor(0.7, device=device),
            strength=torch.tensor(0.7, device=device),
            classify=head,
            extract=lambda rows: body(rows),
            source_inputs={"rows": source.detach()},
            target_inputs={"rows": target.detach()},
            row_numbers=torch.arange(ROWS, device=device),
        )
        torch.manual_seed(7)
        terms = objective.terms(batch)
        diagnostics = objective.diagnostics(batch)
    loss = sum(terms.values(), torch.zeros((), device=device))
    loss.backward() if loss.requires_grad else None
    learned = [source, target, *head.parameters(), *objective.parameters()]
    gradients = [torch.zeros_like(t).float() if t.grad is None else t.grad.float() for t in learned]
    return terms, torch.cat([gradient.flatten() for gradient in gradients]).cpu(), diagnostics


def cosine(one, two):
    if not two.any():
        return 1.0 if not one.any() else 0.0
    return float(one.double() @ two.double() / (one.double().norm() * two.double().norm()))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("how", ["autocast", "weights"])
@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("spread", [1.0, 30.0])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_terms_and_gradients_are_those_of_float32(name, spread, dtype, how, device):
    wanted, exact, _ = terms_and_gradients(name, spread, device=device)
    given = {"autocast": dtype} if how == "autocast" else {"network": dtype}
    found, gradients, diagnostics = terms_and_gradients(name, spread, device=device, **given)
    for key, term in wanted.items():
        assert found[key].dtype == torch.float32, key
        assert float(found[key]) == pytest.approx(float(term), rel=0.02, abs=2e-3), key
    assert cosine(gradients, exact) >= 0.99
    assert all(value.isfinite() for value in diagnostics.values())


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_an_objective_stays_in_float32_wherever_its_model_goes(dtype, tmp_path):
    model = DomainAdversarialModel.from_classifier(tiny.TRANSFORMERS["resnet"]()[0])
    model.to(dtype)
    assert {parameter.dtype for parameter in model.network.parameters()} == {dtype}
    assert {parameter.dtype for parameter in model.objective.parameters()} == {torch.float32}
    model.save_pretrained(tmp_path)
    again = DomainAdversarialModel.from_pretrained(tmp_path, dtype=dtype)
    assert {parameter.dtype for parameter in again.objective.parameters()} == {torch.float32}
    rows = {"pixel_values": torch.randn(6, 3, 32, 32).to(dtype), "labels": torch.arange(6) % 3}
    out = model.train()(**rows, target_pixel_values=torch.randn(6, 3, 32, 32).to(dtype))
    assert out.loss.dtype == torch.float32
    out.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
