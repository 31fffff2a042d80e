"""Relative gradient norms are the formula, set the rates, and choose the block; resumes notice nothing."""

import math
from itertools import pairwise

import pytest
import small_net
import tiny
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit import GradientRates, SurgicalTuning, layer_groups, replace_head
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.gradient_norms import MeanNorms, factors_of_norms, relative_gradient_norms


def pictures(count=12):
    noise = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    return [{"pixel_values": noise[i] + i % 3, "labels": i % 3} for i in range(count)]


def trainer_of(folder, callbacks, *, steps=6, kind="resnet", **settings):
    torch.manual_seed(0)
    if kind == "resnet":
        model, rows = replace_head(tiny.TRANSFORMERS["resnet"]()[0], 3, seed=0), pictures()
    else:
        model, inputs = tiny.TRANSFORMERS["bert"]()
        rows = [{**{name: value[i % 2] for name, value in inputs.items()}, "labels": i % 3} for i in range(12)]
    args = TrainingArguments(
        str(folder), max_steps=steps, per_device_train_batch_size=4, learning_rate=0.01, report_to=[], use_cpu=True,
        disable_tqdm=True, save_steps=1, seed=0, **settings,
    )  # fmt: skip
    return Trainer(model, args, train_dataset=rows, callbacks=callbacks)


def by_hand(model, group):
    """|gradient| / |weights| of a group, slowly."""
    gradients = sum(float((p.grad.double() ** 2).sum()) for p in group.parameters.values())
    return math.sqrt(gradients / sum(float((p.detach().double() ** 2).sum()) for p in group.parameters.values()))


class Watch(TrainerCallback):
    """Each step's norms by hand, the weights around it, and what asks for a gradient."""

    def __init__(self):
        self.norms, self.weights, self.asks = [], [], []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        body = layer_groups(model).body
        asks = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        self.asks.append(asks)
        whole = all(p.grad is not None for group in body for p in group.parameters.values())
        self.norms.append([by_hand(model, group) for group in body] if whole else None)
        self.weights.append(small_net.weights(model))

    def on_train_end(self, args, state, control, model=None, **kwargs):
        self.weights.append(small_net.weights(model))


@pytest.mark.parametrize("kind", ["resnet", "bert", "vit", "roberta", "distilbert"])
def test_the_norm_is_that_of_gradient_over_weights(kind):
    torch.manual_seed(0)
    model, inputs = tiny.TRANSFORMERS[kind]()
    model(**inputs)["logits"].square().sum().backward()
    groups = layer_groups(model)
    found = relative_gradient_norms(model, groups)
    assert found == pytest.approx([by_hand(model, group) for group in groups], rel=1e-5)
    for parameter in groups[0].parameters.values():
        parameter.grad = None
    assert relative_gradient_norms(model, groups)[0] == 0
    scaled = relative_gradient_norms(model, groups[1:])
    for parameter in model.parameters():
        parameter.data.mul_(4)
    assert relative_gradient_norms(model, groups[1:]) == pytest.approx([norm / 4 for norm in scaled], rel=1e-5)


def test_means_remember_as_they_say_and_leave_out_what_is_not_finite():
    equal, moving = MeanNorms(), MeanNorms(memory=2)
    for value in (1.0, math.inf, 3.0, 5.0):
        equal.add([value, 2.0])
        moving.add([value, 2.0])
    assert (equal.values, equal.steps) == ([3.0, 2.0], 3)
    assert moving.values == [3.5, 2.0]  # (1 + 3) / 2, then half way to 5
    assert factors_of_norms([1.0, 4.0, 0.0]) == [0.25, 1.0, 0.0]
    assert factors_of_norms([0.0, 0.0]) == [1.0, 1.0]


def test_rates_are_in_proportion_to_the_norms(tmp_path):
    """With SGD and without momentum a step is rate times gradient: factors are read off the weights."""
    watch, rates = Watch(), GradientRates(memory=1)
    settings = {"optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    trainer = trainer_of(tmp_path, [watch, rates], steps=2, **settings)
    trainer.train()
    groups = layer_groups(trainer.model)
    before, after = watch.weights[-2:]
    moved = {n: float((after[n] - before[n]).norm()) for n in before}
    steps = [math.hypot(*(moved[n] for n in group.parameters)) for group in groups]
    sizes = [math.hypot(*(float(before[n].norm()) for n in group.parameters)) for group in groups.body]
    norms = watch.norms[-1]
    for step, size, norm, name in zip(steps, sizes, norms, rates.factors, strict=False):
        assert step == pytest.approx(0.01 * (norm / max(norms)) * norm * size, rel=2e-3)
        assert rates.factors[name] == pytest.approx(norm / max(norms), rel=1e-4)
    assert len(set(rates.factors.values())) > 1


@pytest.mark.parametrize("kind", ["resnet", "bert"])
@pytest.mark.parametrize("make", [GradientRates, lambda: SurgicalTuning(quiet=True)], ids=["rates", "surgical"])
def test_a_resumed_run_is_an_uninterrupted_one(make, kind, tmp_path):
    whole = trainer_of(tmp_path, [make()], kind=kind)
    whole.train()
    for step in range(1, 6):  # in the midst of every stage
        resumed = trainer_of(tmp_path, [make()], kind=kind)
        resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, resumed.model.state_dict()[name]), (step, name)


@pytest.mark.parametrize("blocks", [1, 2])
def test_the_head_learns_alone_then_with_the_groups_of_the_largest_norm(blocks, tmp_path):
    watch = Watch()
    surgical = SurgicalTuning(head_fraction=0.25, measure=0.25, blocks=blocks, quiet=True)
    trainer = trainer_of(tmp_path, [surgical, watch], steps=8)
    trainer.train()
    groups = layer_groups(trainer.model)
    moved = [{n for n in a if not torch.equal(a[n], b[n])} for a, b in pairwise(watch.weights)]
    head = set(groups.head.parameters)
    assert moved[:4] == [head] * 4
    measured = [sum(step[i] for step in watch.norms[2:4]) for i in range(len(groups.body))]
    best = sorted(range(len(measured)), key=lambda i: -measured[i])[:blocks]
    assert set(surgical.chosen) == {groups[i].name for i in best}
    chosen = head | {name for i in best for name in groups[i].parameters}
    assert moved[4:] == [chosen] * 4
    assert watch.asks[4:] == [chosen] * 4
    assert all(parameter.requires_grad for parameter in trainer.model.parameters())


@pytest.mark.parametrize("blocks", [0, 99, 1.5])
def test_blocks_that_do_not_fit_are_a_sentence(blocks, tmp_path):
    with pytest.raises(SettingsError, match="blocks="):
        trainer_of(tmp_path, [SurgicalTuning(blocks=blocks)])


def test_nothing_left_to_train_is_a_sentence():
    with pytest.raises(SettingsError, match="leave nothing of training"):
        SurgicalTuning(head_fraction=0.9, measure=0.1)
