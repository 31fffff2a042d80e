"""The rates that parameters really learned with, whatever set them."""

import pytest
import tiny
import torch
from transformers import Trainer

from hf_transfer_kit import layer_groups
from hf_transfer_kit.reports.layer_rows import layer_rows, rate_text
from hf_transfer_kit.selection import make_strategy
from hf_transfer_kit.tuning import LearnedRates, rates_of

STEPS = 10


@pytest.fixture
def trained(training_arguments):
    """Strategy -> the rate of each layer group in a run whose rate falls from 0.01 to 0 in a line."""

    def train(text, resume=None, **settings):
        model, inputs = tiny.classifiers()["bert"]()
        strategy = make_strategy(text)
        model = strategy.prepare_model(model, seed=0)
        rows = [{"input_ids": inputs["input_ids"][0], "labels": index % 3} for index in range(4)]
        args = training_arguments(max_steps=STEPS, learning_rate=0.01, per_device_train_batch_size=2, **settings)
        trainer = Trainer(
            model, args, train_dataset=rows, callbacks=[*strategy.callbacks(model), LearnedRates()],
            optimizer_cls_and_kwargs=strategy.optimizer(model, args),
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=resume)
        optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
        assert not optimizer._optimizer_step_pre_hooks
        return model, rates_of(trainer.callback_handler.callbacks)

    return train


def rates(model, known):
    return [row["learning_rate"] for row in layer_rows(model, known)]


@pytest.mark.parametrize("text", ["full", "l2sp", "from_scratch"])
def test_one_rate(trained, text):
    found = rates(*trained(text))
    assert found == pytest.approx([0.01] * len(found))


def test_rates_by_depth(trained):
    found = rates(*trained("layerwise:decay=0.5,head_rate=2"))
    body = len(found) - 1
    assert found == pytest.approx([0.01 * 0.5 ** (body - depth) for depth in range(body)] + [0.02])


@pytest.mark.parametrize("text", ["head_only", "lora:r=2"])
def test_frozen_groups_learned_nothing(trained, text):
    model, known = trained(text)
    found = rates(model, known)
    if text == "head_only":
        assert found[:-1] == [0.0] * (len(found) - 1)
    else:
        named = dict(model.named_parameters())
        assert set(known) == {name for name, parameter in named.items() if parameter.requires_grad}
    assert found[-1] == pytest.approx(0.01)


def test_a_layer_that_thaws_late_has_the_rate_of_then(trained):
    """After half of the steps, at a tenth of what the line has fallen to."""
    found = rates(*trained("lp_ft:head_fraction=0.5,full_rate=0.1"))
    assert found == pytest.approx([0.01 * 0.5 * 0.1] * (len(found) - 1) + [0.01])


def test_a_layer_that_never_thaws_is_frozen_though_it_may_move_again(trained):
    model, known = trained("gradual:keep_frozen=1")
    rows = layer_rows(model, known)
    assert rows[0]["trainable"] == 1.0
    assert rate_text(rows[0]) == "frozen"
    assert rate_text(rows[-1]) == "0.01"


def test_of_a_resumed_run_nothing_is_claimed(trained, training_arguments):
    trained("full", save_strategy="steps", save_steps=5)
    folder = training_arguments().output_dir
    model, known = trained("full", resume=f"{folder}/checkpoint-5", save_strategy="steps", save_steps=5)
    assert known == {}
    assert layer_rows(model, known) == layer_groups(model).rows()
    assert rate_text(layer_rows(model)[0]) == "\N{EN DASH}"


def test_an_optimizer_of_other_tensors_tells_nothing():
    callback = LearnedRates()
    state = type("State", (), {"global_step": 0})
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD([torch.ones(3, requires_grad=True)], lr=0.1)
    callback.on_train_begin(None, state, None, model=model, optimizer=optimizer)
    optimizer.param_groups[0]["params"][0].sum().backward()
    optimizer.step()
    assert callback.highest == {}
