"""The model of several tasks: a packed step in numbers, in evaluation, saved, copied, checkpointed and spread."""

import copy

import pytest
import tiny
import torch
from multitask_packed import TEXT_TASKS, gradients, picture_batch, picture_model, text_batch, text_labels, text_model
from torch.nn import functional
from trainer_names import enable_checkpointing
from transformers import AutoModel, Trainer

from hf_transfer_kit import FreezeLayers
from hf_transfer_kit.errors import DataError, ModelError, SettingsError
from hf_transfer_kit.multitask import MultiTaskConfig, MultiTaskModel
from hf_transfer_kit.multitask.heads.classification import ClassificationHead
from hf_transfer_kit.tuning.scalars import take_scalars

FAMILIES = (
    "bert",
    "roberta",
    "distilbert",
    "gpt2",
    "llama",
    "t5",
    "vit",
    "resnet",
    "swin",
    "wav2vec2_stable",
    "whisper",
)
FAMILIES = (*FAMILIES, "wrapped/resnet18", "wrapped/vit_tiny_patch16_224", "wrapped/swin_tiny_patch4_window7_224")


def _close(one, other, tolerance=1e-6):
    assert one.keys() == other.keys()
    return all(torch.allclose(one[name], other[name], rtol=0, atol=tolerance) for name in one)


def test_gradients_of_a_packed_batch_are_the_sum_of_separate_passes():
    packed = text_model()
    loss = packed(**text_batch(), **text_labels()).loss
    loss.backward()
    apart = text_model()
    total = 0.0
    for task in TEXT_TASKS:
        rows = text_labels()[f"{task}__rows"]
        inputs = {name.removeprefix("default__"): value[rows] for name, value in text_batch().items()}
        # A single-task class of transformers stands for an ordinary pass: its own pooling, dropout and loss.
        alone = apart.export(task).train()
        labels = text_labels()[f"{task}__labels"]
        one = TEXT_TASKS[task].get("weight", 1.0) * alone(**inputs, labels=labels).loss
        one.backward()
        total += one.item()
        _add(apart, alone, task)
    assert loss.item() == pytest.approx(total, abs=1e-6)
    assert set(gradients(packed)) == {name for name, _ in packed.named_parameters()}
    assert _close(gradients(packed), gradients(apart))


def _add(model, alone, task):
    """Adds the gradients of an exported model to those of the parameters it was copied from."""
    for name, parameter in alone.named_parameters():
        if name.startswith("classifier."):
            mine = model.heads[task].linear.get_parameter(name.removeprefix("classifier."))
        else:
            mine = model.trunk.get_parameter(name)
        if parameter.grad is not None:
            mine.grad = parameter.grad.clone() if mine.grad is None else mine.grad + parameter.grad


def test_the_loss_is_the_weighted_sum_and_each_is_recorded():
    model = text_model()
    out = model(**text_batch(), **text_labels())
    recorded = {name: float(total) for name, (total, count) in take_scalars(model).items() if count == 1}
    assert set(recorded) == {f"loss_{task}" for task in TEXT_TASKS}
    weighted = sum(TEXT_TASKS[task].get("weight", 1.0) * recorded[f"loss_{task}"] for task in TEXT_TASKS)
    assert out.loss.item() == pytest.approx(weighted, rel=1e-6)
    labels = text_labels()
    assert recorded["loss_topic"] == pytest.approx(
        functional.cross_entropy(out.logits["topic"], labels["topic__labels"]).item()
    )
    assert recorded["loss_score"] == pytest.approx((out.logits["score"][0, 0] - 0.7).square().item(), rel=1e-5)


def test_rows_of_other_tasks_leave_a_heads_gradient_exactly_as_it_is():
    found = []
    for other in (0, 5):
        model = text_model()
        batch, labels = text_batch(), text_labels()
        batch["default__input_ids"][3] = other  # a row of "tags" alone
        labels["tags__labels"][2] = 1.0 - labels["tags__labels"][2]
        model(**batch, **labels).loss.backward()
        found.append({name: grad for name, grad in gradients(model).items() if name.startswith("heads.")})
    same = {name for name in found[0] if torch.equal(found[0][name], found[1][name])}
    assert same == {name for name in found[0] if not name.startswith("heads.tags.")}


def test_heads_without_rows_take_part_with_gradients_of_exactly_zero():
    model = text_model()
    labels = {name: value for name, value in text_labels().items() if name.startswith("entities")}
    model(**text_batch(), **labels).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    idle = [name for name, grad in gradients(model).items() if not grad.any()]
    pooled = {"trunk.bert.pooler.dense.weight", "trunk.bert.pooler.dense.bias"}
    assert pooled <= set(idle)
    assert {name for name in idle if name.startswith("heads")} == {
        f"heads.{task}.linear.{kind}" for task in ("topic", "tags", "score") for kind in ("weight", "bias")
    }


def test_one_forward_of_the_trunk_carries_all_tasks():
    model, calls = text_model(), []
    model.trunk.register_forward_hook(lambda *_: calls.append(1))
    model(**text_batch(), **text_labels())
    assert len(calls) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_keeps_its_weights_saves_and_comes_back_bit_for_bit(family, tmp_path):
    network, inputs = tiny.classifiers()[family]()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    tasks = {"one": {"type": "classification", "id2label": ["a", "b", "c", "d"]}, "two": {"type": "regression"}}
    model = MultiTaskModel.from_backbone(network.eval(), tasks)
    kept = model.trunk.state_dict()
    assert all(torch.equal(kept[name], before[name]) for name in kept)
    assert len(before) - len(kept) in (1, 2)
    model.train()
    model(**inputs, task="two", labels=torch.tensor([0.5, 1.0])).loss.backward()
    model.eval()
    with torch.no_grad():
        logits = model(**inputs).logits
        assert {name: tuple(of_task.shape) for name, of_task in logits.items()} == {"one": (2, 4), "two": (2, 1)}
        model.save_pretrained(tmp_path)
        again = AutoModel.from_pretrained(tmp_path).eval()
        assert again.state_dict().keys() == model.state_dict().keys()
        assert all(torch.equal(again(**inputs, task=name).logits, logits[name]) for name in logits)
    assert again.config.tasks["one"]["id2label"] == {0: "a", 1: "b", 2: "c", 3: "d"}
    assert again.config.tasks == model.config.tasks


def test_an_encoder_alone_becomes_the_trunk():
    network, inputs = tiny.TRANSFORMERS["bert"]()
    model = MultiTaskModel.from_backbone(
        network.bert, {"one": {"type": "classification", "num_labels": 2}}, seed=1
    ).eval()
    assert torch.equal(model.trunk(**inputs).logits, network.eval().bert(**inputs).pooler_output)
    timm, pictures = tiny.timm_wrapped("resnet18")
    encoder = AutoModel.from_config(timm.config)
    model = MultiTaskModel.from_backbone(encoder, {"one": {"type": "classification", "num_labels": 2}}).eval()
    assert torch.equal(model.trunk(**pictures).logits, encoder.eval()(**pictures).pooler_output)


def test_the_seed_draws_the_heads_and_leaves_the_global_state_alone():
    tasks = {"one": {"type": "classification", "num_labels": 2}}
    heads = []
    for _ in range(2):
        network, _ = tiny.TRANSFORMERS["bert"]()
        state = torch.get_rng_state()
        heads.append(MultiTaskModel.from_backbone(network, tasks, seed=3).heads["one"].linear.weight)
        assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(*heads)


def test_evaluation_of_one_task_gives_its_loss_and_logits():
    model = text_model().eval()
    labels = {name: value for name, value in text_labels().items() if name.startswith("tags")}
    out = model(**text_batch(), **labels, labels=labels["tags__labels"])
    assert out.logits.shape == (3, 4)
    expected = functional.binary_cross_entropy_with_logits(out.logits, labels["tags__labels"])
    assert out.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert take_scalars(model) == {}


def test_stock_trainer_trains_and_evaluates_one_task(training_arguments):
    model = text_model()
    rows = [{**text_batch(), **text_labels()}]
    arguments = training_arguments(max_steps=3, learning_rate=1e-2, remove_unused_columns=False)

    def evaluated(task):
        part = {name: value for name, value in text_labels().items() if name.startswith(task)}
        return [{**text_batch(), **part, "labels": part[f"{task}__labels"]}]

    trainer = Trainer(
        model,
        arguments,
        train_dataset=rows * 4,
        data_collator=lambda batch: batch[0],
        compute_metrics=lambda given: {"rows": len(given.predictions), "same": len(given.label_ids)},
    )
    arguments.per_device_train_batch_size = arguments.per_device_eval_batch_size = 1
    before = trainer.evaluate(evaluated("topic"))
    trainer.train()
    after = trainer.evaluate(evaluated("topic"))
    assert after["eval_rows"] == after["eval_same"] == 2
    assert after["eval_loss"] < before["eval_loss"]


def test_a_balancer_gets_losses_of_present_tasks_and_features_that_do_not_depend_on_each_other():
    seen = {}

    class Balancer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = torch.nn.Parameter(torch.ones(()))

        def forward(self, losses, shared):
            seen.update(losses=losses, shared=shared)
            return self.factor * sum(losses.values())

        def weights(self):
            return {"topic": 0.25}

    model = text_model()
    model.balancer = Balancer()
    out = model(**text_batch(), **text_labels())
    assert list(seen["losses"]) == list(TEXT_TASKS)
    assert [tuple(tensor.shape) for tensor in seen["shared"]] == [(6, 8), (6, 6, 8)]
    pooled, sequence = seen["shared"]
    assert torch.autograd.grad(seen["losses"]["topic"], sequence, retain_graph=True, allow_unused=True)[0] is None
    assert torch.autograd.grad(seen["losses"]["topic"], pooled, retain_graph=True)[0][:2].abs().sum() > 0
    assert out.loss.item() == pytest.approx(sum(loss.item() for loss in seen["losses"].values()), rel=1e-6)
    assert take_scalars(model)["weight_topic"] == (0.25, 1.0)
    assert "balancer.factor" in model.state_dict()


def test_a_saved_balancer_is_no_part_of_the_model_that_is_loaded(tmp_path):
    model = text_model()
    model.balancer = torch.nn.Linear(1, 1)
    model.save_pretrained(tmp_path)
    again, report = MultiTaskModel.from_pretrained(tmp_path, output_loading_info=True)
    assert again.balancer is None
    assert not report["unexpected_keys"]


def test_a_copy_is_a_model_of_its_own():
    model = picture_model(shared_from=2)
    twin = copy.deepcopy(model)
    assert torch.equal(model(**picture_batch()).loss, twin(**picture_batch()).loss)
    twin.reading.name = "grey"
    assert twin.trunk.timm_model.conv1.reading is twin.reading
    model._read("rgb", {"pixel_values": picture_batch()["rgb__pixel_values"]})
    assert (model.reading.name, twin.reading.name) == ("rgb", "grey")
    text = copy.deepcopy(text_model())
    assert text(**text_batch(), task="entities").logits.shape == (6, 6, 5)


def test_checkpointed_activations_give_the_same_gradients_and_are_refused_beside_batch_norm():
    inputs = {"english": {}, "german": {"vocab_size": 30}}
    tasks = {name: {"type": "classification", "num_labels": 2, "input": name} for name in inputs}
    found = []
    for checkpointing in (False, True):
        model = text_model(tasks, inputs=inputs, shared_from=2)
        if checkpointing:
            enable_checkpointing(model, {"use_reentrant": False})
        batch = {**text_batch(4, prefix="english"), **text_batch(4, prefix="german")}
        batch["german__input_ids"] = batch["german__input_ids"] % 30
        for name in inputs:
            batch |= {f"{name}__rows": torch.arange(4), f"{name}__labels": torch.arange(4) % 2}
        model(**batch).loss.backward()
        found.append(gradients(model))
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    with pytest.raises(ValueError, match="does not support"):
        enable_checkpointing(picture_model())


def test_mixed_precision_keeps_losses_in_float32():
    model = text_model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(**text_batch(), **text_labels())
    assert out.logits["topic"].dtype == torch.float32
    assert out.loss.dtype == torch.float32
    out.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_first_layers_freeze():
    model = text_model()
    FreezeLayers(first=2, quiet=True).apply(model)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {
        name
        for name, _ in model.named_parameters()
        if name.startswith(("trunk.bert.embeddings", "trunk.bert.encoder.layer.0"))
    }


TWO_PROCESSES = """
import os, sys
import torch
from torch.nn.parallel import DistributedDataParallel

torch.distributed.init_process_group("gloo")
from multitask_packed import text_batch, text_labels, text_model

rank = torch.distributed.get_rank()
model = text_model()
spread = DistributedDataParallel(model)  # without a search for unused parameters
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
rows = torch.arange(4) if rank == 0 else torch.tensor([4, 5])
labels = text_labels()
for step in range(3):
    batch = {name: value[rows] for name, value in text_batch().items()}
    for task in ("topic", "tags", "score", "entities"):
        mine = torch.isin(labels[f"{task}__rows"], rows)
        if mine.any():  # each process lacks two of the tasks
            batch[f"{task}__rows"] = labels[f"{task}__rows"][mine] - rows[0]
            batch[f"{task}__labels"] = labels[f"{task}__labels"][mine]
    spread(**batch).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
if rank == 0:
    torch.save(model.state_dict(), sys.argv[1])
"""


def test_two_processes_equal_one_though_each_lacks_tasks(two_processes, tmp_path):
    two_processes(TWO_PROCESSES, tmp_path / "spread.pt")
    model = text_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(3):
        model(**text_batch(), **text_labels()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    spread = torch.load(tmp_path / "spread.pt")
    assert _close(dict(model.state_dict()), dict(spread), tolerance=1e-5)


def test_bad_input_is_a_sentence():
    model = text_model()
    with pytest.raises(SettingsError, match="There is no task 'weather'; the model has topic, tags"):
        model(**text_batch(), task="weather")
    with pytest.raises(SettingsError, match="There is no task 'weather'"):
        model.export("weather")
    with pytest.raises(SettingsError, match="needs backbone_config"):
        MultiTaskModel(MultiTaskConfig())
    with pytest.raises(SettingsError, match="tasks is empty"):
        MultiTaskModel.from_backbone(tiny.TRANSFORMERS["bert"]()[0], {})
    with pytest.raises(ModelError, match="load_model\\('timm/NAME'\\)"):
        MultiTaskModel.from_backbone(torch.nn.Linear(2, 2), TEXT_TASKS)
    with pytest.raises(ModelError, match="without a class for token_classification"):
        MultiTaskModel.from_backbone(tiny.timm_wrapped("resnet18")[0], TEXT_TASKS)
    with pytest.raises(ModelError, match="'bert' is an architecture without a class for ctc"):
        MultiTaskModel.from_backbone(tiny.TRANSFORMERS["bert"]()[0], {"a": {"type": "ctc", "num_labels": 5}})
    with pytest.raises(DataError, match="need the input 'grey', but the batch holds rgb"):
        picture_model()(**picture_batch(grey=0), task="drawn")


def test_parameters_come_back_in_the_order_that_an_optimizers_state_has(tmp_path):
    model = picture_model(shared_from=1)  # "rgb" before "grey", "real" before "drawn"
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert [name for name, _ in again.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert again.main_input_name == model.main_input_name == "rgb__pixel_values"


def test_a_batch_without_labels_teaches_nothing_and_leaves_no_parameter_out():
    model = text_model()
    loss = model(**text_batch()).loss
    loss.backward()
    assert loss.item() == 0
    assert set(gradients(model)) == {name for name, _ in model.named_parameters()}
    assert not any(gradient.any() for gradient in gradients(model).values())
    assert model.eval()(**text_batch()).loss is None


def test_features_that_no_task_of_an_input_reads_take_part():
    tasks = {
        "topic": {"type": "classification", "num_labels": 3, "input": "a"},
        "names": {"type": "token_classification", "num_labels": 4, "input": "b"},
    }
    model = text_model(tasks, inputs={"a": {}, "b": {}}, shared_from=0)
    labels = {"names__rows": torch.tensor([0]), "names__labels": torch.tensor([[1, 2, -100, -100, -100, -100]])}
    model(**text_batch(prefix="b"), **labels).loss.backward()
    assert set(gradients(model)) == {name for name, _ in model.named_parameters()}


def test_shares_of_classes_are_no_logits_to_distil():
    head = ClassificationHead(4, 3).train()
    logits, classes = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    one_hot = torch.nn.functional.one_hot(classes, 3).float()
    smooth = 0.9 * one_hot + 0.1 / 3
    assert float(head.loss(logits, one_hot)[0]) == pytest.approx(float(head.loss(logits, classes)[0]), rel=1e-6)
    by_hand = -(smooth * logits.log_softmax(dim=1)).sum()
    assert float(head.loss(logits, smooth)[0]) == pytest.approx(float(by_hand), rel=1e-6)
    said = torch.randn(5, 3)
    student, teacher = (values.div(2.0).log_softmax(dim=1) for values in (logits, said))
    by_hand = 4 * (teacher.exp() * (teacher - student)).sum()
    assert float(head.loss(logits, said)[0]) == pytest.approx(float(by_hand), rel=1e-5)


def test_class_weights_count_in_training_alone():
    head = ClassificationHead(4, 3)
    logits, classes = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    plain = torch.nn.functional.cross_entropy(logits, classes, reduction="none")
    head.class_weights = torch.tensor([1.0, 2.0, 5.0])
    assert float(head.train().loss(logits, classes)[0]) == pytest.approx(
        float((plain * head.class_weights[classes]).sum())
    )
    assert float(head.eval().loss(logits, classes)[0]) == pytest.approx(float(plain.sum()))


@pytest.mark.parametrize("kind", ["multi_label", "regression"])
def test_of_a_partly_labelled_row_the_known_part_teaches(kind):
    from hf_transfer_kit.multitask.heads import HEADS

    head = HEADS[kind](4, 3)
    logits = torch.randn(2, 3, requires_grad=True)
    labels = torch.tensor([[1.0, float("nan"), 0.0], [float("nan"), 1.0, float("nan")]])
    total, count = head.loss(logits, labels)
    each = {
        "multi_label": torch.nn.functional.binary_cross_entropy_with_logits,
        "regression": torch.nn.functional.mse_loss,
    }[kind](logits, labels.nan_to_num(), reduction="none")
    assert float(total / count) == pytest.approx(float(((each[0, 0] + each[0, 2]) / 2 + each[1, 1]) / 2))
    total.backward()
    assert (logits.grad[labels.isnan()] == 0).all()
    assert (logits.grad[~labels.isnan()] != 0).all()
