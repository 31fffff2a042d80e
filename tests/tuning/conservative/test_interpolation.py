"""The path between pretrained and fine-tuned weights is straight, measured on every row, and its best point is kept."""

import json
import math

import pytest
import torch
from small_net import Net, difference, rows, weights
from tiny import TRANSFORMERS, sequential
from torch import nn
from torch.utils.data import default_collate
from transformers import Trainer

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.conservative.interpolation import WeightInterpolation, best_alpha, interpolated, measured


@pytest.fixture
def make_trainer(training_arguments):
    def make(model, *callbacks, dataset=None, evaluation=None, **settings):
        given = {"max_steps": 6, "per_device_train_batch_size": 4, "per_device_eval_batch_size": 4}
        args = training_arguments(**{**given, "optim": "sgd", "learning_rate": 0.05, **settings})
        return Trainer(model, args, train_dataset=dataset or rows(), eval_dataset=evaluation, callbacks=list(callbacks))

    return make


def path_of(trainer, name):
    key = f"interpolation/{name}"
    return [entry[key] for entry in trainer.state.log_history if key in entry]


def test_interpolated_is_a_straight_line_with_exact_ends():
    w0, w = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64) * 1e3
    assert torch.equal(interpolated(w0, w, 0.0), w0)
    assert torch.equal(interpolated(w0, w, 1.0), w)
    assert torch.allclose(interpolated(w0, w, 0.3), w0 + 0.3 * (w - w0), rtol=1e-12)


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_the_best_point_is_kept_and_the_path_is_logged(make_trainer, metric):
    tuned, model = Net(), Net()
    make_trainer(tuned).train()
    evaluation = rows(10)
    alphas = [0.0, 0.25, 0.5, 1.0]
    callback = WeightInterpolation(alphas, metric)
    trainer = make_trainer(model, callback, evaluation=evaluation, eval_strategy="steps", eval_steps=3)
    trainer.train()
    start, end = weights(Net()), weights(tuned)
    assert path_of(trainer, "alpha") == alphas
    for alpha, loss, accuracy in zip(alphas, path_of(trainer, "loss"), path_of(trainer, "accuracy"), strict=True):
        point = Net()
        point.load_state_dict(
            {n: end[n] if n.startswith("head") else start[n] + alpha * (end[n] - start[n]) for n in start}
        )
        outputs = point.eval()(**default_collate(evaluation))
        assert loss == pytest.approx(outputs["loss"].item(), rel=1e-9)
        right = (outputs["logits"].argmax(-1) == default_collate(evaluation)["labels"]).double().mean()
        assert accuracy == pytest.approx(right.item())
    (best,) = path_of(trainer, "best_alpha")
    expected = {n: end[n] if n.startswith("head") else start[n] + best * (end[n] - start[n]) for n in start}
    assert difference(weights(model), expected) < 1e-12
    scores = path_of(trainer, metric)
    assert scores[alphas.index(best)] == (max(scores) if metric == "accuracy" else min(scores))


def test_among_equals_the_point_nearest_one_wins_and_no_number_loses():
    assert best_alpha([0.0, 0.5, 1.0, 0.7], [0.3, 0.9, 0.1, 0.9], larger=True) == 0.7
    assert best_alpha([0.0, 0.5, 1.0], [0.3, 0.3, math.nan], larger=False) == 0.5
    assert best_alpha([0.0, 1.0], [math.nan, math.nan], larger=False) == 1.0


def test_running_statistics_go_along(make_trainer):
    class WithNorm(nn.Module):
        accepts_loss_kwargs = False

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net, images = sequential()
            self.dummy_inputs = {"x": images, "labels": torch.zeros(len(images), dtype=torch.long)}

        def forward(self, x, labels=None):
            logits = self.net(x)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    data = [{"x": torch.randn(3, 8, 8), "labels": torch.tensor(i % 5)} for i in range(16)]
    start, tuned, model = WithNorm(), WithNorm(), WithNorm()
    make_trainer(tuned, dataset=data).train()
    make_trainer(model, WeightInterpolation([0.5], eval_dataset=data), dataset=data).train()
    for name in ("running_mean", "running_var", "weight"):
        first, last, middle = (getattr(m.net[1], name) for m in (start, tuned, model))
        assert torch.allclose(middle, (first + last) / 2, rtol=1e-5)
        assert not torch.equal(middle, last)
    assert torch.equal(model.net[8].weight, tuned.net[8].weight)
    assert int(model.net[1].num_batches_tracked) == 6


def test_after_a_resume_the_path_still_starts_at_the_pretrained_weights(make_trainer, tmp_path):
    whole, resumed = Net(), Net()
    settings = {"save_strategy": "steps", "save_steps": 2}
    make_trainer(whole, WeightInterpolation([0.0], eval_dataset=rows(4)), **settings).train()
    trainer = make_trainer(resumed, WeightInterpolation([0.0], eval_dataset=rows(4)), **settings)
    trainer.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))
    assert difference(weights(whole), weights(resumed)) == 0
    assert torch.equal(resumed.body[0].weight, Net().body[0].weight)
    assert not torch.equal(resumed.head.weight, Net().head.weight)


def test_without_an_evaluation_set_it_refuses_before_training(make_trainer):
    model = Net()
    with pytest.raises(SettingsError, match="this Trainer has none: give it an eval_dataset, or pass"):
        make_trainer(model, WeightInterpolation()).train()
    with pytest.raises(SettingsError, match=r"this Trainer has 2 \(a, b\): name the rows"):
        make_trainer(model, WeightInterpolation(), evaluation={"a": rows(4), "b": rows(4)}).train()
    assert difference(weights(model), weights(Net())) == 0


@pytest.mark.parametrize("settings", [{}, {"eval_strategy": "steps", "eval_steps": 500}])
def test_a_training_in_which_nothing_was_evaluated_works(make_trainer, settings):
    trainer = make_trainer(Net(), WeightInterpolation(), evaluation=rows(4), **settings)
    trainer.train()
    assert len(path_of(trainer, "alpha")) == 11


def test_a_lora_delta_is_scaled():
    peft = pytest.importorskip("peft")
    model, _ = TRANSFORMERS["bert"]()
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]))
    callback = WeightInterpolation([0.25])
    callback._keeper.at_init(model)
    layer = next(m for m in model.modules() if hasattr(m, "get_delta_weight") and "default" in m.lora_A)
    nn.init.normal_(layer.lora_B["default"].weight)
    before = layer.get_delta_weight("default").clone()
    starts, tensors = callback._ends(model)
    for start, tensor in zip(starts, tensors, strict=True):
        tensor.copy_(interpolated(start, tensor.clone(), 0.25))
    assert torch.allclose(layer.get_delta_weight("default"), 0.25 * before, rtol=1e-5)


def test_labels_below_zero_are_left_out():
    class Tokens(Net):
        def forward(self, x, labels):
            logits = nn.functional.one_hot(x, 3).double()
            return {"loss": self.head.bias.sum() * 0 + 1.0, "logits": logits}

    data = [{"x": torch.tensor([0, 1, 2]), "labels": torch.tensor([0, -100, 1])}]
    assert measured(Tokens(), data, default_collate, batch_size=2) == {"loss": 1.0, "accuracy": 0.5}


@pytest.mark.parametrize(
    ("words", "message"),
    [({"alphas": []}, "one or more points"), ({"alphas": [1.5]}, r"\[0, 1\]"), ({"metric": "f1"}, "metric='f1'")],
)
def test_wrong_arguments_are_refused(words, message):
    with pytest.raises(SettingsError, match=message):
        WeightInterpolation(**words)


def test_the_state_survives_json():
    callback = WeightInterpolation([0.5, 1.0], "loss", batch_size=3)
    assert WeightInterpolation.from_state(json.loads(json.dumps(callback.state()))).state() == callback.state()
