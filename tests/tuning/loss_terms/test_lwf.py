"""Distillation equals its formula; the source task is kept where plain training loses it."""

import copy

import pytest
import tiny
import torch
import transformers as tf
from peft import LoraConfig, get_peft_model
from term_cases import (
    FAMILIES,
    InOrder,
    assert_close_state,
    assert_same_state,
    batch_of,
    case,
    last_input,
    num_hooks,
    perturbed,
    state_of,
)
from transformers import Trainer

from hf_transfer_kit import extend_head, replace_head
from hf_transfer_kit.backbones import (
    DannMnistConfig,
    DannMnistForImageClassification,
    TorchvisionConfig,
    TorchvisionForImageClassification,
)
from hf_transfer_kit.backbones.feature_maps import logits_layer
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.loss_terms.lwf import LwF, distillation_loss


def new_task(source, num_labels=3):
    """The source with a new head, as a user makes it."""
    return replace_head(copy.deepcopy(source), num_labels, seed=5)


def test_the_loss_is_its_formula():
    now, before = torch.randn(2, 4, 3, dtype=torch.float64)
    p, q = torch.softmax(before / 3, -1), torch.softmax(now / 3, -1)
    expected = 9 * sum(p[b, c] * (p[b, c] / q[b, c]).log() for b in range(4) for c in range(3)) / 4
    assert distillation_loss(now, before, 3.0).item() == pytest.approx(expected.item(), abs=1e-12)
    assert distillation_loss(before, before).item() == pytest.approx(0.0, abs=1e-12)


def test_its_gradient_is_that_of_the_papers_cross_entropy():
    now, before = torch.randn(4, 3, dtype=torch.float64, requires_grad=True), torch.randn(4, 3, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(distillation_loss(now, before, 2.0), now)
    entropy = -(torch.softmax(before / 2, -1) * torch.log_softmax(now / 2, -1)).sum(-1).mean()
    assert torch.allclose(gradient, 4 * torch.autograd.grad(entropy, now)[0], rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(lambda n: distillation_loss(n, before), now)


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("family", ["vit", "bert"])
def test_training_equals_the_loss_written_out(training_arguments, family, accumulation):
    source, rows = case(family, double=True)
    model = perturbed(new_task(source))
    model.accepts_loss_kwargs = family == "vit"  # BERT's loss ignores num_items_in_batch
    twin = copy.deepcopy(model)
    args = training_arguments(
        max_steps=1,
        per_device_train_batch_size=6 // accumulation,
        gradient_accumulation_steps=accumulation,
        optim="sgd",
        learning_rate=0.1,
        max_grad_norm=0.0,
    )
    trainer = InOrder(model, args, train_dataset=rows, callbacks=[LwF(source=source, alpha=3.0)])
    trainer.train()
    batch = batch_of(rows)
    with torch.no_grad():
        old = source(**{n: v for n, v in batch.items() if n != "labels"}).logits
    now = torch.nn.functional.linear(last_input(twin, batch), source.classifier.weight, source.classifier.bias)
    penalty = 3 * distillation_loss(now, old)
    (twin(**batch).loss + penalty).backward()
    with torch.no_grad():
        for parameter in twin.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    assert trainer.state.log_history[0]["lwf_penalty"] == pytest.approx(penalty.item(), abs=1e-6)
    assert_close_state(state_of(model), state_of(twin), 1e-7)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_trains_and_the_source_stays(training_arguments, family):
    source, rows = case(family)
    replace_head(source, 7, seed=1)
    model = new_task(source)
    before, keys = state_of(source), list(model.state_dict())
    lwf = LwF(source=source)
    args = training_arguments(max_steps=2, per_device_train_batch_size=3, learning_rate=0.01)
    trainer = InOrder(model, args, train_dataset=rows, callbacks=[lwf])
    trainer.train()
    assert trainer.state.log_history[1]["lwf_penalty"] > 0
    assert_same_state(before, state_of(source))
    assert_same_state(before, state_of(lwf.source._network))
    assert list(model.state_dict()) == keys
    assert num_hooks(model) == num_hooks(lwf.source._network) == 0


def test_the_source_task_is_kept(training_arguments):
    gaps = {}
    for strength in (0.0, 30.0):
        source, rows = case("bert")
        replace_head(source, 7, seed=1)
        with torch.no_grad():
            source.classifier.weight *= 20
        model = new_task(source)
        args = training_arguments(max_steps=20, per_device_train_batch_size=6, learning_rate=0.01)
        InOrder(model, args, train_dataset=rows, callbacks=[LwF(source=source, alpha=strength)]).train()
        model.eval(), source.eval()
        inputs = {n: v for n, v in batch_of(rows).items() if n != "labels"}
        with torch.no_grad():
            old = source(**inputs).logits
            now = source.classifier(last_input(model, inputs))
        gaps[strength] = distillation_loss(now, old).item()
    assert gaps[30.0] < gaps[0.0] / 4


def test_a_resumed_run_equals_an_uninterrupted_one(training_arguments, tmp_path):
    def run(output, resume=None):
        source, rows = case("bert")
        args = training_arguments(
            output_dir=str(tmp_path / output),
            max_steps=4,
            per_device_train_batch_size=2,
            learning_rate=0.05,
            save_strategy="steps",
            save_steps=2,
        )
        model = new_task(source)
        trainer = Trainer(model, args, train_dataset=rows, callbacks=[LwF(source=source, alpha=5.0)])
        trainer.train(resume_from_checkpoint=resume)
        return state_of(model)

    assert_same_state(run("whole"), run("resumed", str(tmp_path / "whole" / "checkpoint-2")))
    source, rows = case("bert", seed=1)
    trainer = Trainer(
        new_task(source), training_arguments(max_steps=4), train_dataset=rows, callbacks=[LwF(source=source)]
    )
    with pytest.raises(SettingsError, match="LwF: the checkpoint at step 2 was trained with another source"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))


def test_what_cannot_be_is_refused(training_arguments):
    with pytest.raises(SettingsError, match="alpha=-1 is negative"):
        LwF(alpha=-1)
    with pytest.raises(SettingsError, match="temperature=0 is out of range"):
        LwF(temperature=0)
    model, rows = case("vit")
    with pytest.raises(SettingsError, match="LwF needs source="):
        InOrder(model, training_arguments(), train_dataset=rows, callbacks=[LwF()])
    wide = copy.deepcopy(model)
    name, _ = logits_layer(wide)
    wide.set_submodule(name, torch.nn.Linear(9, 3))
    trainer = InOrder(model, training_arguments(max_steps=1), train_dataset=rows, callbacks=[LwF(source=wide)])
    with pytest.raises(SettingsError, match="takes 9 features and that of the model 8"):
        trainer.train()


GROWN = {
    **FAMILIES,
    "electra": lambda: (  # a head of two linear layers
        tf.ElectraForSequenceClassification(
            tf.ElectraConfig(vocab_size=40, embedding_size=8, max_position_embeddings=32, num_labels=3, **tiny.SIZES)
        ),
        tiny.tokens(6),
    ),
    "gpt2": lambda: (tiny.TRANSFORMERS["gpt2"]()[0], tiny.tokens(6)),  # a head without bias, run on every token
    "whisper": lambda: (tiny.TRANSFORMERS["whisper"]()[0], tiny._features(6)),
    "torchvision": lambda: (
        TorchvisionForImageClassification(TorchvisionConfig("resnet18", num_labels=3, image_size=32)),
        tiny.images(32, 6),
    ),
    "dann": lambda: (
        DannMnistForImageClassification(DannMnistConfig(num_labels=3)),
        {"pixel_values": torch.randn(6, 3, 28, 28, generator=torch.Generator().manual_seed(0))},
    ),
}


def grown_case(family):
    """A source of 3 classes, the same with 5, and rows of all."""
    torch.manual_seed(0)
    source, inputs = GROWN[family]()
    if hasattr(source.config, "layerdrop"):
        source.config.layerdrop = 0.0
    with torch.no_grad():
        logits_layer(source)[1].weight.mul_(20)
    model = extend_head(copy.deepcopy(source), ["one", "two"], seed=1)
    labels = torch.tensor([0, 3, 2, 4, 1, 3])
    return source, model, [{**{n: v[i] for n, v in inputs.items()}, "labels": labels[i]} for i in range(6)]


def old_logits(model, rows):
    inputs = {name: value for name, value in batch_of(rows).items() if name != "labels"}
    with torch.no_grad():
        return model.eval()(**inputs).logits[:, :3]


@pytest.mark.parametrize("family", GROWN)
def test_the_own_first_logits_of_every_family_are_held(training_arguments, family):
    gaps = {}
    for strength in (0.0, 30.0):
        source, model, rows = grown_case(family)
        before = old_logits(source, rows)
        args = training_arguments(max_steps=20, per_device_train_batch_size=6, learning_rate=0.01)
        trainer = InOrder(
            model, args, train_dataset=rows, callbacks=[LwF(source=source, own_head=True, alpha=strength)]
        )
        trainer.train()
        assert len(old_logits(model, rows)) == 6
        gaps[strength] = distillation_loss(old_logits(model, rows), before).item()
        assert num_hooks(model) == 0
    assert gaps[30.0] < gaps[0.0] / 2


def test_with_the_own_head_training_equals_the_loss_written_out(training_arguments):
    source, rows = case("bert", double=True)
    model = perturbed(extend_head(copy.deepcopy(source), 2, seed=5))
    twin = copy.deepcopy(model)
    args = training_arguments(
        max_steps=1, per_device_train_batch_size=6, optim="sgd", learning_rate=0.1, max_grad_norm=0.0
    )
    lwf = LwF(source=source, own_head=True, alpha=2.0, temperature=3.0)
    trainer = InOrder(model, args, train_dataset=rows, callbacks=[lwf])
    trainer.train()
    batch = batch_of(rows)
    with torch.no_grad():
        old = source(**{n: v for n, v in batch.items() if n != "labels"}).logits
    output = twin(**batch)
    penalty = 2 * distillation_loss(output.logits[:, :3], old, 3.0)
    (output.loss + penalty).backward()
    with torch.no_grad():
        for parameter in twin.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    assert trainer.state.log_history[0]["lwf_penalty"] == pytest.approx(penalty.item(), abs=1e-6)
    assert_close_state(state_of(model), state_of(twin), 1e-7)


def test_the_own_head_is_held_inside_peft(training_arguments):
    source, model, rows = grown_case("bert")
    settings = LoraConfig(target_modules=["query"], modules_to_save=["classifier"], r=2)
    model = get_peft_model(model, settings)
    args = training_arguments(max_steps=2, per_device_train_batch_size=6, learning_rate=0.01)
    trainer = InOrder(model, args, train_dataset=rows, callbacks=[LwF(source=source, own_head=True)])
    trainer.train()
    assert trainer.state.log_history[0]["lwf_penalty"] == pytest.approx(0.0, abs=1e-2)  # but for dropout
    assert trainer.state.log_history[1]["lwf_penalty"] > 0


def test_a_resumed_run_of_a_grown_network_equals_an_uninterrupted_one(training_arguments, tmp_path):
    def run(output, resume=None):
        source, model, rows = grown_case("electra")
        args = training_arguments(
            output_dir=str(tmp_path / output),
            max_steps=4,
            per_device_train_batch_size=2,
            learning_rate=0.02,
            save_strategy="steps",
            save_steps=2,
        )
        Trainer(model, args, train_dataset=rows, callbacks=[LwF(source=source, own_head=True)]).train(
            resume_from_checkpoint=resume
        )
        return state_of(model)

    assert_same_state(run("whole"), run("resumed", str(tmp_path / "whole" / "checkpoint-2")))


@pytest.mark.parametrize("change", ["fewer", "names"])
def test_other_first_classes_are_refused(training_arguments, change):
    source, model, rows = grown_case("bert")
    replace_head(
        model, 2 if change == "fewer" else None, id2label=None if change == "fewer" else dict(enumerate("abcde"))
    )
    rows = [{**row, "labels": row["labels"] % 2} for row in rows]
    trainer = InOrder(
        model, training_arguments(max_steps=1), train_dataset=rows, callbacks=[LwF(source=source, own_head=True)]
    )
    with pytest.raises(SettingsError, match=r"its first classes are not those of the source\. Give the model more"):
        trainer.train()
