"""Heads and balancers where networks run in half precision: what they compute is what float32 gives."""

import pytest
import tiny
import torch
from several_tasks import TASKS, Toy
from transformers import Trainer, TrainingArguments

from hf_transfer_kit.multitask import BALANCERS, MultiTaskModel
from hf_transfer_kit.multitask.heads import HEADS

HALF = (torch.float16, torch.bfloat16)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
ROWS, WIDTH = 12, 16
YEARS = {"mean": 1990.0, "scale": 10.0}
LABELS = {
    "classification": torch.arange(ROWS) % 3,
    "multi_label": (torch.arange(ROWS * 3).reshape(ROWS, 3) % 2).float(),
    "regression": 1990 + 10 * torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(2)),
    "token_classification": torch.arange(ROWS * 7).reshape(ROWS, 7) % 3,
    "ctc": torch.tensor([[1, 2]] * ROWS),
}


def head_of(kind):
    torch.manual_seed(0)
    head = HEADS[kind](WIDTH, 3, **(YEARS if kind == "regression" else {}))
    head.linear.weight.data = head.linear.weight.data.bfloat16().float()
    head.linear.bias.data = head.linear.bias.data.bfloat16().float()
    return head


def features_of(kind):
    shape = (ROWS, WIDTH) if HEADS[kind].reads == "pooled" else (ROWS, 7, WIDTH)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).bfloat16().half().float()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("how", ["autocast", "weights"])
@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("kind", HEADS)
def test_logits_losses_and_gradients_are_those_of_float32(kind, dtype, how, device):
    found = []
    for half in (False, True):
        head, features, labels = head_of(kind), features_of(kind), LABELS[kind]
        if half:
            head, features, labels = head.to(device), features.to(device), labels.to(device)
            features = features.to(dtype)
            head = head.to(dtype) if how == "weights" else head
        features.requires_grad_()
        with torch.autocast(features.device.type, dtype=dtype, enabled=half and how == "autocast"):
            logits = head(features)
            total, count = head.loss(logits, labels)
            (total / count).backward()
        gradients = [features.grad, *(parameter.grad for parameter in head.parameters())]
        flat = torch.cat([gradient.float().flatten() for gradient in gradients]).double()
        found.append((logits.cpu(), total.cpu(), flat.cpu()))
    (exact, total, one), (logits, other, two) = found
    assert logits.dtype == other.dtype == torch.float32
    torch.testing.assert_close(logits, exact, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(other, total, rtol=1e-5, atol=1e-5)
    assert float(one @ two / (one.norm() * two.norm())) >= 0.9999


@pytest.mark.parametrize("kind", HEADS)
def test_a_plain_layer_takes_a_head_of_half_precision_over(kind):
    head = head_of(kind)
    plain = torch.nn.Linear(WIDTH, 3)
    plain.load_state_dict(head.to(torch.bfloat16).plain_state())
    again = head_of(kind).to(torch.bfloat16)
    again.load_plain(plain.state_dict())
    with torch.no_grad():
        features = features_of(kind)
        torch.testing.assert_close(plain(features), head(features), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("name", BALANCERS)
def test_balanced_gradients_are_those_of_float32(name, dtype, device):
    try:
        balancers = [BALANCERS[name](TASKS).to(device) for _ in range(2)]
    except Exception as error:
        if "lacks packages" in str(error):
            pytest.skip(str(error))
        raise
    gradients = []
    for balancer, half in zip(balancers, (False, True), strict=True):
        toy = Toy(torch.float32).to(device)
        torch.manual_seed(3)
        with torch.autocast(device, dtype=dtype, enabled=half):
            loss = balancer(*toy.losses())
        loss.backward()
        gradients.append(torch.cat([parameter.grad.flatten().double().cpu() for parameter in toy.parameters()]))
    plain = []
    for half in (False, True):
        toy = Toy(torch.float32).to(device)
        with torch.autocast(device, dtype=dtype, enabled=half):
            loss = sum(toy.losses()[0].values())
        loss.backward()
        plain.append(torch.cat([parameter.grad.flatten().double().cpu() for parameter in toy.parameters()]))
    floor, found = (float(one @ two / (one.norm() * two.norm())) for one, two in (plain, gradients))
    assert floor >= 0.99
    assert found >= 0.99


def test_years_are_learned_in_bf16_as_in_float32(tmp_path):
    """Years of standard deviation 10: rounded outputs would give 1984, 1992 and 2000 only."""
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 3, 32, 32, generator=draw)
    years = 1990 + 10 * inputs.mean((1, 2, 3)) / inputs.mean((1, 2, 3)).std()
    rows = [{"pixel_values": image, "year__labels": year[None]} for image, year in zip(inputs, years, strict=True)]
    errors = {}
    for bf16 in (False, True):
        torch.manual_seed(0)
        network = tiny.TRANSFORMERS["resnet"]()[0]
        model = MultiTaskModel.from_backbone(network, {"year": {"type": "regression", **YEARS}}, seed=0)
        args = TrainingArguments(
            tmp_path, max_steps=60, bf16=bf16, use_cpu=True, learning_rate=3e-3, report_to=[], disable_tqdm=True,
            per_device_train_batch_size=32, remove_unused_columns=False, save_strategy="no",
        )  # fmt: skip
        Trainer(model, args, train_dataset=rows).train()
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            said = model.eval()(pixel_values=inputs).logits[:, 0]
        assert said.dtype == torch.float32
        errors[bf16] = float((said - years).square().mean().sqrt())
        assert len(said.unique()) > 80
    assert errors[True] <= 1.1 * errors[False] + 0.2


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_a_network_of_half_precision_is_exported_with_its_mean(dtype):
    model = MultiTaskModel.from_backbone(
        tiny.TRANSFORMERS["resnet"]()[0], {"year": {"type": "regression", **YEARS}}, seed=0
    )
    model.to(dtype).eval()
    plain = model.export("year")
    assert plain.dtype == torch.float32
    pictures = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        said = model(pixel_values=pictures.to(dtype)).logits
        torch.testing.assert_close(plain(pixel_values=pictures).logits, said, rtol=0, atol=0.1)


def test_each_of_several_numbers_has_its_own_unit():
    """Prices in thousands beside widths below one: each begins at its mean, and its error counts in its deviation."""
    mean, scale = [0.5, 20000.0], [0.1, 4000.0]
    head = HEADS["regression"](WIDTH, 2, mean=mean, scale=scale)
    torch.nn.init.zeros_(head.linear.weight)
    torch.nn.init.zeros_(head.linear.bias)
    logits = head(torch.randn(3, WIDTH))
    assert torch.equal(logits, torch.tensor(mean).expand(3, 2))
    labels = torch.tensor([[0.6, 20000.0], [0.5, 24000.0], [0.4, float("nan")]])
    total, count = head.loss(logits, labels)
    assert count == 3
    assert total.item() == pytest.approx(0.5 + 0.5 + 1, rel=1e-5)
    torch.nn.init.normal_(head.linear.weight)
    features, plain = torch.randn(4, WIDTH), torch.nn.Linear(WIDTH, 2)
    plain.load_state_dict(head.plain_state())
    assert torch.allclose(plain(features), head(features), rtol=1e-5)
    other = HEADS["regression"](WIDTH, 2, mean=mean, scale=scale)
    other.load_plain(head.plain_state())
    assert torch.allclose(other.linear.weight, head.linear.weight, rtol=1e-5)
