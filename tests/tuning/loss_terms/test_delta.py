"""DELTA equals its formula written out, keeps its source through a resume, and stops at another one."""

import copy

import pytest
import torch
from term_cases import (
    FAMILIES,
    InOrder,
    assert_close_state,
    assert_same_state,
    batch_of,
    case,
    num_hooks,
    perturbed,
    state_of,
)
from trainer_names import vit_layers
from transformers import Trainer

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.loss_terms.channel_attention import attention_weights
from hf_transfer_kit.tuning.loss_terms.delta import DELTA, feature_map_distance


def naive_distance(current, source, weights):
    """Sums over samples, channels and positions one by one; channels first."""
    total = 0.0
    for sample in range(len(current)):
        for channel in range(current.shape[1]):
            difference = (current[sample, channel] - source[sample, channel]).reshape(-1)
            total += weights[channel] * sum(float(d) ** 2 for d in difference) / len(difference)
    return float(total) / len(current)


@pytest.mark.parametrize("shape", [(2, 3, 2, 2), (2, 3, 5), (2, 3)])
def test_the_distance_is_its_formula(shape):
    current, source = torch.randn(2, *shape, dtype=torch.float64)
    weights = torch.softmax(torch.randn(3, dtype=torch.float64), 0)
    expected = naive_distance(current, source, weights)
    assert feature_map_distance(current, source, axis=1, weights=weights).item() == pytest.approx(expected, abs=1e-12)
    swapped = feature_map_distance(current.movedim(1, -1), source.movedim(1, -1), axis=len(shape) - 1, weights=weights)
    assert swapped.item() == pytest.approx(expected, abs=1e-12)
    uniform = feature_map_distance(current, source, axis=1)
    assert uniform.item() == pytest.approx(naive_distance(current, source, [1 / 3] * 3), abs=1e-12)


def test_padding_does_not_count():
    current, source = torch.randn(2, 2, 4, 3, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    expected = ((current[0, :2] - source[0, :2]) ** 2).mean() / 2 + ((current[1] - source[1]) ** 2).mean() / 2
    assert feature_map_distance(current, source, axis=2, mask=mask).item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_gradient_reaches_the_current_map_only():
    current, source = torch.randn(2, 2, 3, 2, dtype=torch.float64, requires_grad=True).unbind()
    gradients = torch.autograd.grad(feature_map_distance(current, source, axis=2), (current, source), allow_unused=True)
    assert gradients[1] is None
    assert torch.autograd.gradcheck(lambda f: feature_map_distance(f, source.detach(), axis=2), current)


def test_attention_is_a_softmax_of_what_a_missing_channel_costs():
    weights = attention_weights(torch.tensor([1.0, 2.0]), torch.tensor(0.5))
    assert weights.tolist() == pytest.approx([1 / (1 + torch.e), torch.e / (1 + torch.e)])


def written_out(model, source, batch, alpha, beta):
    """Loss of ViT or BERT with DELTA on both blocks, from the hidden states that transformers returns."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    now = model(**batch, output_hidden_states=True)
    with torch.no_grad():
        before = source(**inputs, output_hidden_states=True)
    mask = inputs.get("attention_mask", torch.ones(now.hidden_states[1].shape[:2])).double()
    distance = 0.0
    for current, old in list(zip(now.hidden_states, before.hidden_states, strict=True))[1:3]:
        squared = ((current - old) ** 2).mean(dim=-1)
        distance = distance + ((squared * mask).sum(dim=1) / mask.sum(dim=1)).mean()
    penalty = alpha * distance + beta / 2 * sum(p.square().sum() for p in model.classifier.parameters())
    return now.loss + penalty, penalty


LAYERS = {"vit": [f"{vit_layers()}.{i}" for i in (0, 1)], "bert": ["encoder.layer.0", "encoder.layer.1"]}


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("family", list(LAYERS))
def test_training_equals_the_loss_written_out(training_arguments, family, accumulation):
    source, rows = case(family, double=True)
    model = perturbed(copy.deepcopy(source))
    twin = copy.deepcopy(model)
    if family == "bert":
        # Its forward takes num_items_in_batch and its loss ignores it, so Trainer alone would triple the task's loss.
        model.accepts_loss_kwargs = False
    args = training_arguments(
        max_steps=2,
        per_device_train_batch_size=6 // accumulation,
        gradient_accumulation_steps=accumulation,
        optim="sgd",
        learning_rate=0.1,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
    )
    delta = DELTA(alpha=2.0, beta=0.3, layers=LAYERS[family], source=source)
    trainer = InOrder(model, args, train_dataset=rows, callbacks=[delta])
    trainer.train()
    for step in range(2):
        loss, penalty = written_out(twin, source, batch_of(rows), 2.0, 0.3)
        assert trainer.state.log_history[step]["delta_penalty"] == pytest.approx(penalty.item(), abs=1e-6)
        gradients = torch.autograd.grad(loss, list(twin.parameters()), allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(twin.parameters(), gradients, strict=True):
                if gradient is not None:
                    parameter -= 0.1 * gradient
    assert_close_state(state_of(model), state_of(twin), 1e-7)


@pytest.mark.parametrize("attention", ["uniform", "loss"])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_trains_and_the_source_stays(training_arguments, family, attention):
    model, rows = case(family)
    first = "layer1" if family == "cnn" else 1
    delta = DELTA(alpha=1.0, attention=attention, layers=4 if attention == "uniform" else first)
    args = training_arguments(max_steps=2, per_device_train_batch_size=3, learning_rate=0.01)
    trainer = InOrder(model, args, train_dataset=rows, callbacks=[delta])
    before = state_of(delta.source._network)
    keys = list(model.state_dict())
    trainer.train()
    assert trainer.state.log_history[1]["delta_penalty"] > 0
    assert_same_state(before, state_of(delta.source._network))
    assert list(model.state_dict()) == keys
    assert num_hooks(model) == num_hooks(delta.source._network) == 0
    if attention == "loss":
        for weights in delta.channel_weights.values():
            assert sum(weights) == pytest.approx(1.0, abs=1e-5)
            assert family == "wav2vec2" or max(weights) > min(weights)


def test_the_penalty_is_zero_while_nothing_has_moved(training_arguments):
    model, rows = case("vit")
    trainer = InOrder(model, training_arguments(max_steps=1), train_dataset=rows, callbacks=[DELTA(alpha=1e3)])
    trainer.train()
    assert trainer.state.log_history[0]["delta_penalty"] == 0.0


def test_a_layer_that_layerdrop_leaves_out_counts_zero_in_that_forward(training_arguments):
    """Of a network that skips both layers nothing is left but the decay of the head; of one that skips none, all."""
    penalties = {}
    for chance in (0.0, 1e-9, 1.0):
        model, rows = case("wav2vec2")
        model.config.use_weighted_layer_sum = False  # transformers' own sum does not bear layers left out
        source = copy.deepcopy(model)
        perturbed(model)
        model.config.layerdrop = chance
        names = ["wav2vec2.encoder.layers.0", "wav2vec2.encoder.layers.1"]
        delta = DELTA(alpha=1.0, layers=names, source=source)
        args = training_arguments(max_steps=2, per_device_train_batch_size=3)
        trainer = InOrder(model, args, train_dataset=rows, callbacks=[delta])
        trainer.train()
        penalties[chance] = [entry["delta_penalty"] for entry in trainer.state.log_history[:2]]
    assert penalties[1.0] == [0.0, 0.0]
    assert penalties[1e-9] == penalties[0.0]
    assert min(penalties[0.0]) > 0


def test_a_layer_that_never_runs_is_refused(training_arguments):
    model, rows = case("vit")
    model.aside = torch.nn.Linear(2, 2)
    trainer = InOrder(model, training_arguments(), train_dataset=rows, callbacks=[DELTA(layers=["aside"])])
    with pytest.raises(SettingsError, match=r"'aside' gave no tensor in the forward of ViT.*Leave it out of layers="):
        trainer.train()


def test_a_strong_alpha_holds_the_features(training_arguments):
    distances = {}
    for alpha in (0.0, 100.0):
        model, rows = case("bert")
        source = copy.deepcopy(model)
        args = training_arguments(max_steps=20, per_device_train_batch_size=6, learning_rate=0.01)
        InOrder(model, args, train_dataset=rows, callbacks=[DELTA(alpha=alpha)]).train()
        inputs = {n: v for n, v in batch_of(rows).items() if n != "labels"}
        model.eval(), source.eval()
        with torch.no_grad():
            now, before = (m.bert(**inputs).last_hidden_state for m in (model, source))
        distances[alpha] = (now - before).square().mean().item()
    assert distances[100.0] < distances[0.0] / 4


@pytest.mark.parametrize("attention", ["uniform", "loss"])
def test_a_resumed_run_equals_an_uninterrupted_one(training_arguments, attention, tmp_path):
    def run(output, *, resume=None, save=False):
        model, rows = case("bert")
        args = training_arguments(
            output_dir=str(tmp_path / output),
            max_steps=4,
            per_device_train_batch_size=2,
            learning_rate=0.05,
            save_strategy="steps" if save else "no",
            save_steps=2,
        )
        delta = DELTA(alpha=5.0, attention=attention, layers=2)
        trainer = Trainer(model, args, train_dataset=rows, callbacks=[delta])
        trainer.train(resume_from_checkpoint=resume)
        return state_of(model), trainer.state.log_history[-2]["delta_penalty"]

    whole, penalty = run("whole", save=True)
    resumed, again = run("resumed", resume=str(tmp_path / "whole" / "checkpoint-2"))
    assert penalty > 0
    assert again == penalty
    assert_same_state(whole, resumed)


@pytest.fixture
def checkpoint(training_arguments, tmp_path):
    model, rows = case("vit")
    args = training_arguments(
        output_dir=str(tmp_path / "first"), max_steps=2, save_strategy="steps", save_steps=1, learning_rate=0.05
    )
    InOrder(model, args, train_dataset=rows, callbacks=[DELTA()]).train()
    return str(tmp_path / "first" / "checkpoint-1")


def test_another_source_is_refused_on_resume(training_arguments, checkpoint):
    model, rows = case("vit", seed=1)
    trainer = InOrder(model, training_arguments(max_steps=2), train_dataset=rows, callbacks=[DELTA()])
    with pytest.raises(SettingsError, match=r"DELTA: the checkpoint at step 1 was trained with another source"):
        trainer.train(resume_from_checkpoint=checkpoint)


def test_another_random_head_is_the_same_source(training_arguments, checkpoint):
    model, rows = case("vit")
    torch.nn.init.normal_(model.classifier.weight)
    trainer = InOrder(model, training_arguments(max_steps=2), train_dataset=rows, callbacks=[DELTA()])
    trainer.train(resume_from_checkpoint=checkpoint)


@pytest.mark.parametrize("late", [True, False])
def test_half_trained_weights_never_become_the_source(training_arguments, checkpoint, late):
    model, rows = case("vit")
    args = training_arguments(max_steps=2, restore_callback_states_from_checkpoint=not late)
    trainer = InOrder(model, args, train_dataset=rows, callbacks=[] if late else [DELTA()])
    if late:
        trainer.add_callback(DELTA())
    with pytest.raises(SettingsError, match="has not seen the pretrained weights before the checkpoint was loaded"):
        trainer.train(resume_from_checkpoint=checkpoint)


def test_delta_can_be_added_to_a_checkpoint_made_without_it(training_arguments, tmp_path):
    model, rows = case("vit")
    settings = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1, "output_dir": str(tmp_path / "plain")}
    InOrder(model, training_arguments(**settings), train_dataset=rows).train()
    model, rows = case("vit")
    trainer = InOrder(model, training_arguments(**settings), train_dataset=rows, callbacks=[DELTA()])
    trainer.train(resume_from_checkpoint=str(tmp_path / "plain" / "checkpoint-1"))
    assert trainer.state.log_history[-2]["delta_penalty"] > 0


def test_a_source_can_be_named(training_arguments, tmp_path):
    source, rows = case("vit")
    source.save_pretrained(tmp_path / "source")
    model = perturbed(copy.deepcopy(source))
    delta = DELTA(source=tmp_path / "source")
    InOrder(model, training_arguments(max_steps=1), train_dataset=rows, callbacks=[delta]).train()
    assert_same_state(state_of(delta.source._network), state_of(source))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": -1}, "alpha=-1 is negative"),
        ({"attention": "paper"}, "choose 'uniform' or 'loss'"),
        ({"attention_rows": 1}, "at least 2 rows"),
    ],
)
def test_settings_are_checked_at_once(settings, message):
    with pytest.raises(SettingsError, match=message):
        DELTA(**settings)


@pytest.mark.parametrize(("layers", "message"), [("layer9", "neither a layer group nor a module"), (0, "at least 1")])
def test_unknown_layers_are_refused(training_arguments, layers, message):
    model, rows = case("vit")
    trainer = InOrder(model, training_arguments(max_steps=1), train_dataset=rows, callbacks=[DELTA(layers=layers)])
    with pytest.raises(SettingsError, match=message):
        trainer.train()
