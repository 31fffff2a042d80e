"""The Fisher information is the mean squared gradient, is estimated once, and weights the penalty."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file
from small_net import Net, difference, rows, weights
from torch import nn
from torch.utils.data import default_collate
from transformers import Trainer

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.conservative.fisher import estimate_fisher, fisher_key, normalised
from hf_transfer_kit.tuning.conservative.l2sp_fisher import L2SPFisher

BODY = [name for name, _ in Net().named_parameters() if name.startswith("body")]


def slow_fisher(model, data):
    totals = {name: torch.zeros_like(model.get_parameter(name)) for name in BODY}
    for row in data:
        model.zero_grad()
        model(**default_collate([row]))["loss"].backward()
        for name in BODY:
            totals[name] += model.get_parameter(name).grad ** 2 / len(data)
    model.zero_grad()
    return totals


@pytest.fixture
def make_trainer(training_arguments):
    def make(model, *callbacks, dataset=None, **settings):
        given = {"max_steps": 6, "save_steps": 2, "save_strategy": "steps", "per_device_train_batch_size": 4}
        args = training_arguments(**{**given, "optim": "sgd", "learning_rate": 0.05, **settings})
        return Trainer(model, args, train_dataset=dataset or rows(), callbacks=list(callbacks))

    return make


def test_one_row_at_a_time_it_is_exact():
    found = estimate_fisher(Net(), rows(), default_collate, BODY, num_samples=1000)
    expected = slow_fisher(Net(), rows())
    for name in BODY:
        assert torch.allclose(found[name], expected[name], rtol=1e-12)


def test_a_batch_of_equal_rows_counts_them_all():
    equal = [rows(1)[0]] * 4
    expected = estimate_fisher(Net(), equal, default_collate, BODY)
    batched = estimate_fisher(Net(), equal, default_collate, BODY, batch_size=4)
    # Four equal gradients add up: B times the mean of the squares, the approximation's worst case.
    for name in BODY:
        assert torch.allclose(batched[name], 4 * expected[name], rtol=1e-12)


def test_with_sampled_labels_it_is_the_expectation_over_predictions():
    model = Net()
    row = rows(1)[0]
    probabilities = model(**default_collate([row]))["logits"].softmax(-1)[0].detach()
    expected = {name: torch.zeros_like(model.get_parameter(name)) for name in BODY}
    for label, probability in enumerate(probabilities):
        one = estimate_fisher(model, [{**row, "labels": torch.tensor(label)}], default_collate, BODY)
        expected = {name: expected[name] + probability * one[name] for name in BODY}
    found = estimate_fisher(model, [row] * 3000, default_collate, BODY, num_samples=3000, labels="sampled")
    total = sum(f.sum() for f in found.values()) / sum(f.sum() for f in expected.values())
    assert total.item() == pytest.approx(1, abs=0.1)


def test_it_disturbs_nothing():
    model = Net().train()
    model.body[0].requires_grad_(False)
    model.body[1].eval()
    states = torch.get_rng_state()
    before = weights(model)
    found = estimate_fisher(model, rows(), default_collate, BODY, num_samples=5, labels="sampled")
    assert torch.equal(states, torch.get_rng_state())
    assert difference(before, weights(model)) == 0
    assert all(p.grad is None for p in model.parameters())
    assert [model.training, model.body[1].training, model.body[0].weight.requires_grad] == [True, False, False]
    assert found["body.0.weight"].any()


def test_normalised_has_mean_one_and_refuses_zero():
    found = normalised({"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([[5.0]])})
    assert found["a"].tolist() == pytest.approx([1 / 3, 1])
    with pytest.raises(SettingsError, match="mean 0"):
        normalised({"a": torch.zeros(3)})


def test_the_key_tells_weights_data_and_settings():
    settings = {"num_samples": 8, "batch_size": 1, "labels": "empirical", "seed": 0}

    def key(model, data, **other):
        return fisher_key(model, data, default_collate, **{**settings, **other})

    moved = Net()
    with torch.no_grad():
        moved.head.bias += 1
    changed = rows()
    changed = [{**row, "x": row["x"] + 1} for row in changed]
    assert key(Net(), rows()) == key(Net(), rows())
    others = {key(moved, rows()), key(Net(), changed), key(Net(), rows(47)), key(Net(), rows(), labels="sampled")}
    assert len({key(Net(), rows()), *others}) == 5


def test_the_callback_alone_equals_the_penalty_in_the_loss(make_trainer):
    ours, theirs = Net(), Net()
    w0, fisher = weights(theirs), normalised(slow_fisher(Net(), rows()))

    def penalty(model):
        held = sum((fisher[n] * (model.get_parameter(n) - w0[n]).square()).sum() for n in BODY)
        return 0.3 / 2 * held + 0.2 / 2 * sum(p.square().sum() for p in model.head.parameters())

    theirs.penalised = penalty
    trainer = make_trainer(ours, L2SPFisher(0.3, 0.2, clipped=True))
    trainer.train()
    reference = make_trainer(theirs)
    reference.train()
    assert difference(weights(ours), weights(theirs)) < 1e-12
    assert trainer.state.log_history[-2]["l2sp_penalty"] == pytest.approx(penalty(ours).item(), rel=1e-6)


def test_it_is_kept_in_a_file_and_taken_from_there(make_trainer, tmp_path, monkeypatch):
    make_trainer(Net(), L2SPFisher(cache_dir=tmp_path / "kept", num_samples=7)).train()
    (path,) = (tmp_path / "kept").iterdir()
    assert path.name.startswith("fisher-")
    expected = estimate_fisher(Net(), rows(), default_collate, BODY, num_samples=7)
    assert all(torch.equal(value, expected[name]) for name, value in load_file(path).items())
    monkeypatch.setattr("hf_transfer_kit.tuning.conservative.l2sp_fisher.estimate_fisher", None)
    make_trainer(Net(), L2SPFisher(cache_dir=tmp_path / "kept", num_samples=7)).train()


@pytest.mark.parametrize("restore", [False, True])
def test_resumed_equals_uninterrupted_bit_for_bit(make_trainer, tmp_path, monkeypatch, restore):
    settings = {"restore_callback_states_from_checkpoint": restore}
    whole, resumed = Net(), Net()
    make_trainer(whole, L2SPFisher(0.3, num_samples=9), **settings).train()
    monkeypatch.setattr("hf_transfer_kit.tuning.conservative.l2sp_fisher.estimate_fisher", None)
    again = make_trainer(resumed, L2SPFisher(0.3, num_samples=9), **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert difference(weights(whole), weights(resumed)) == 0


def test_a_resume_without_the_file_is_refused(make_trainer, tmp_path):
    make_trainer(Net(), L2SPFisher()).train()
    for path in (tmp_path / "run").glob("fisher-*"):
        path.unlink()
    with pytest.raises(SettingsError, match="cannot be estimated again, since the weights have moved"):
        make_trainer(Net(), L2SPFisher()).train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))


def test_given_importances_are_used_as_they_are():
    model = Net()
    ones = {name: torch.ones_like(model.get_parameter(name)) for name in BODY}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    callback = L2SPFisher(2.0, 0.0, fisher=ones, normalise=False)
    callback.attach(model, optimizer)
    with torch.no_grad():
        model.body[0].bias += 1
    assert float(callback.scalars(model)["l2sp_penalty"]) == pytest.approx(6.0)
    with pytest.raises(SettingsError, match=r"no entry that fits 'body\.0\.bias'"):
        L2SPFisher(fisher={"body.0.weight": ones["body.0.weight"]}).attach(model, optimizer)


def test_a_head_of_zeros_is_refused(make_trainer):
    model = Net()
    nn.init.zeros_(model.head.weight)
    with pytest.raises(SettingsError, match="A head that starts at zero"):
        make_trainer(model, L2SPFisher()).train()


def test_wrong_arguments_are_refused():
    with pytest.raises(SettingsError, match="labels='true' is unknown"):
        estimate_fisher(Net(), rows(), default_collate, BODY, labels="true")
    with pytest.raises(SettingsError, match="has none"):
        estimate_fisher(Net(), [], default_collate, BODY)
    with pytest.raises(SettingsError, match="num_samples=0"):
        L2SPFisher(num_samples=0)
    model = Net()
    with pytest.raises(SettingsError, match="loop of your own"):
        L2SPFisher().attach(model, torch.optim.SGD(model.parameters(), lr=1.0))


def test_the_state_survives_json():
    callback = L2SPFisher(0.1, num_samples=3, labels="sampled")
    assert L2SPFisher.from_state(json.loads(json.dumps(callback.state()))).state() == callback.state()


TWO_PROCESSES = """
import sys
sys.path[:0] = [sys.argv[2]]
import torch
from transformers import Trainer, TrainingArguments
from hf_transfer_kit import L2SPFisher, WeightInterpolation
from small_net import Net, rows

model = Net()
args = TrainingArguments(sys.argv[1], use_cpu=True, ddp_backend="gloo", report_to=[], max_steps=4, logging_steps=1,
    per_device_train_batch_size=2, save_strategy="no", disable_tqdm=True, seed=0, learning_rate=0.05, optim="sgd")
callbacks = [L2SPFisher(0.3, num_samples=13), WeightInterpolation([0, 0.5, 1], eval_dataset=rows(9))]
trainer = Trainer(model, args, train_dataset=rows(), callbacks=callbacks)
trainer.train()
torch.save([model.state_dict(), trainer.state.log_history], f"{sys.argv[1]}/end-{args.process_index}.pt")
"""


def test_two_processes_equal_one_with_interpolation_too(two_processes, make_trainer, tmp_path):
    from hf_transfer_kit.tuning.conservative.interpolation import WeightInterpolation

    two_processes(TWO_PROCESSES, tmp_path, os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    model = Net()
    callbacks = [L2SPFisher(0.3, num_samples=13), WeightInterpolation([0, 0.5, 1], eval_dataset=rows(9))]
    trainer = make_trainer(model, *callbacks, max_steps=4)
    trainer.train()
    for rank in (0, 1):
        state, log = torch.load(tmp_path / f"end-{rank}.pt")
        assert difference(weights(model), state) < 1e-9
        for ours, theirs in zip(trainer.state.log_history, log, strict=True):
            for key in ("l2sp_penalty", "interpolation/loss", "interpolation/accuracy", "interpolation/best_alpha"):
                assert (key in ours) is (key in theirs)
                assert key not in ours or ours[key] == pytest.approx(theirs[key], rel=1e-6)
