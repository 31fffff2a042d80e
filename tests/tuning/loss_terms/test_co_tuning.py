"""The relationship and the loss equal their formulas; the source's head learns, resumes and disappears."""

import copy
from pathlib import Path

import processes
import pytest
import torch
from safetensors.torch import load_file
from term_cases import (
    FAMILIES,
    InOrder,
    assert_close_state,
    assert_same_state,
    batch_of,
    case,
    last_input,
    num_hooks,
    state_of,
)
from transformers import Trainer

from hf_transfer_kit import layerwise_optimizer, replace_head
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.tuning.loss_terms.co_tuning import CoTuning, class_relationship, co_tuning_loss


def pair(family, *, double=False, seed=0):
    """A source with seven classes, and the same network with a new head of three."""
    source, rows = case(family, double=double, seed=seed)
    replace_head(source, 7, seed=1)
    return source.eval(), replace_head(copy.deepcopy(source), 3, seed=2), rows


def test_the_relationship_is_the_mean_prediction_of_each_class():
    probabilities = torch.softmax(torch.randn(6, 4, dtype=torch.float64), -1)
    labels = torch.tensor([0, 2, 2, 0, 0, 2])
    relationship = class_relationship(probabilities, labels, 3)
    for target in (0, 2):
        rows = [probabilities[i] for i in range(6) if labels[i] == target]
        assert torch.allclose(relationship[target], sum(rows) / len(rows), rtol=0, atol=1e-12)
    assert relationship[1].tolist() == [0.25] * 4


def test_the_loss_is_its_formula():
    logits = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    relationship = torch.softmax(torch.randn(3, 5, dtype=torch.float64), -1)
    labels = torch.tensor([0, 2, -100, 1])
    log = torch.log_softmax(logits, -1)
    expected = -sum(relationship[labels[b], s] * log[b, s] for b in (0, 1, 3) for s in range(5)) / 3
    assert co_tuning_loss(logits, relationship, labels).item() == pytest.approx(expected.item(), abs=1e-12)
    assert torch.autograd.gradcheck(lambda value: co_tuning_loss(value, relationship, labels), logits)


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("family", ["vit", "bert"])
def test_training_equals_the_loss_written_out(training_arguments, family, accumulation):
    source, model, rows = pair(family, double=True)
    model.accepts_loss_kwargs = family == "vit"  # BERT's loss ignores num_items_in_batch
    twin, head = copy.deepcopy(model), copy.deepcopy(source.classifier)
    args = training_arguments(
        max_steps=2,
        per_device_train_batch_size=6 // accumulation,
        gradient_accumulation_steps=accumulation,
        optim="sgd",
        learning_rate=0.1,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
    )
    co_tuning = CoTuning(source=source, alpha=2.0)
    trainer = InOrder(model, args, train_dataset=rows, callbacks=[co_tuning])
    trainer.train()
    batch = batch_of(rows)
    with torch.no_grad():
        predicted = torch.softmax(source(**{n: v for n, v in batch.items() if n != "labels"}).logits, -1)
    relationship = class_relationship(predicted, batch["labels"], 3)
    learning = [*twin.parameters(), *head.parameters()]
    for step in range(2):
        penalty = 2 * co_tuning_loss(head(last_input(twin, batch)), relationship, batch["labels"])
        assert trainer.state.log_history[step]["co_tuning_penalty"] == pytest.approx(penalty.item(), abs=1e-5)
        gradients = torch.autograd.grad(twin(**batch).loss + penalty, learning, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(learning, gradients, strict=True):
                if gradient is not None:
                    parameter -= 0.1 * gradient
    assert_close_state(state_of(model), state_of(twin), 1e-7)
    assert torch.allclose(co_tuning._head.weight, head.weight, rtol=0, atol=1e-7)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_trains_and_the_head_is_gone_at_the_end(training_arguments, family, tmp_path):
    source, model, rows = pair(family)
    keys, before = list(model.state_dict()), state_of(source)
    co_tuning = CoTuning(source=source)
    args = training_arguments(max_steps=2, per_device_train_batch_size=3, learning_rate=0.01)
    trainer = InOrder(model, args, train_dataset=rows, callbacks=[co_tuning])
    trainer.train()
    assert trainer.state.log_history[1]["co_tuning_penalty"] > 0
    assert not torch.equal(
        co_tuning._head.weight, before[next(n for n in before if n.endswith(("classifier.weight", "fc.weight")))]
    )
    assert list(model.state_dict()) == keys
    assert num_hooks(model) == 0
    trainer.save_model(str(tmp_path / "final"))
    assert not any("source_head" in name for name in load_file(tmp_path / "final" / "model.safetensors"))
    assert_same_state(before, state_of(source))


def test_a_resumed_run_equals_an_uninterrupted_one_the_source_head_included(training_arguments, tmp_path):
    def run(output, resume=None):
        source, model, rows = pair("bert")
        args = training_arguments(
            output_dir=str(tmp_path / output),
            max_steps=4,
            per_device_train_batch_size=2,
            learning_rate=0.05,
            save_strategy="steps",
            save_steps=2,
        )
        co_tuning = CoTuning(source=source, alpha=2.0)
        trainer = Trainer(model, args, train_dataset=rows, callbacks=[co_tuning])
        trainer.train(resume_from_checkpoint=resume)
        return state_of(model), state_of(co_tuning._head)

    whole = run("whole")
    saved = load_file(tmp_path / "whole" / "checkpoint-2" / "model.safetensors")
    assert not torch.equal(saved["classifier.source_head.weight"], whole[1]["weight"])
    resumed = run("resumed", str(tmp_path / "whole" / "checkpoint-2"))
    assert_same_state(whole[0], resumed[0])
    assert_same_state(whole[1], resumed[1])


class Augmented(torch.utils.data.Dataset):
    """Rows whose second token is random each time."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        ids = self.rows[index]["input_ids"].clone()
        ids[1] = torch.randint(3, 39, ())
        return {**self.rows[index], "input_ids": ids}


def test_the_relationship_of_augmented_data_comes_back_from_the_checkpoint(training_arguments, tmp_path):
    relationships = []
    for resume in (None, str(tmp_path / "run" / "checkpoint-2")):
        source, model, rows = pair("bert")
        with torch.no_grad():
            source.classifier.weight *= 50
        args = training_arguments(max_steps=3, save_strategy="steps", save_steps=2, seed=len(relationships))
        co_tuning = CoTuning(source=source)
        trainer = Trainer(model, args, train_dataset=Augmented(rows), callbacks=[co_tuning])
        trainer.train(resume_from_checkpoint=resume)
        relationships.append(co_tuning._head.relationship)
    assert torch.equal(*relationships)


TWO_PROCESSES = """
import os, sys, torch
sys.path[:0] = sys.argv[2:4]
from term_cases import InOrder, state_of
from test_co_tuning import pair
from transformers import TrainingArguments
from hf_transfer_kit import BSS, DELTA, CoTuning, LwF

source, model, rows = pair("bert", double=True)
model.accepts_loss_kwargs = False  # else Trainer doubles a loss that ignores num_items_in_batch
alone = "RANK" not in os.environ
callbacks = [DELTA(alpha=2.0, beta=0.1), LwF(source=source), CoTuning(source=source, alpha=2.0)]
args = TrainingArguments(
    sys.argv[1], use_cpu=True, ddp_backend=None if alone else "gloo", report_to=[], max_steps=3, logging_steps=1,
    optim="sgd", learning_rate=0.1, per_device_train_batch_size=6 if alone else 3, save_strategy="no",
    disable_tqdm=True, dataloader_drop_last=True,
)
trainer = InOrder(model, args, train_dataset=rows, callbacks=callbacks)
trainer.train()
logs = [entry for entry in trainer.state.log_history if "loss" in entry]
rank = 0 if alone else args.process_index
torch.save((state_of(model), state_of(callbacks[2]._head), logs), f"{sys.argv[1]}/{'one' if alone else 'two'}-{rank}.pt")
if not alone:
    torch.distributed.barrier()
os._exit(0)
"""


def test_two_processes_equal_one(two_processes, tmp_path):
    here = Path(__file__).parent
    two_processes(TWO_PROCESSES, tmp_path, here.parents[1], here)
    alone = processes.run([tmp_path / "script.py", tmp_path, here.parents[1], here], timeout=200)
    assert alone.returncode == 0, alone.stderr
    one, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("one-0", "two-0", "two-1"))
    for two in (first, second):
        assert_close_state(one[0], two[0], 1e-7)
        assert_close_state(one[1], two[1], 1e-7)
        for alone, both in zip(one[2], two[2], strict=True):
            for name in ("loss", "delta_penalty", "lwf_penalty", "co_tuning_penalty"):
                assert both[name] == pytest.approx(alone[name], abs=1e-6)


def test_the_estimate_leaves_the_random_numbers_alone(training_arguments):
    source, model, rows = pair("vit")

    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, index):
            return {**rows[index], "pixel_values": rows[index]["pixel_values"] + torch.randn(())}

    losses = []
    for callbacks in ([], [CoTuning(source=source, alpha=0.0)]):
        twin = copy.deepcopy(model)
        trainer = Trainer(twin, training_arguments(max_steps=1), train_dataset=Noisy(), callbacks=callbacks)
        trainer.train()
        losses.append(trainer.state.log_history[0]["loss"])
    assert losses[0] == losses[1]


def test_layerwise_rates_hold_the_sources_head(training_arguments):
    source, model, rows = pair("bert")
    args = training_arguments(max_steps=1)
    co_tuning = CoTuning(source=source)
    rates = layerwise_optimizer(model, args, decay=0.5)
    trainer = Trainer(model, args, train_dataset=rows, callbacks=[co_tuning], optimizer_cls_and_kwargs=rates)
    trainer.train()
    assert not torch.equal(co_tuning._head.weight, source.classifier.weight)


def test_an_optimizer_without_the_sources_head_is_refused(training_arguments):
    source, model, rows = pair("bert")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    args = training_arguments(max_steps=1)
    callbacks = [CoTuning(source=source)]
    trainer = Trainer(model, args, train_dataset=rows, callbacks=callbacks, optimizers=(optimizer, None))
    with pytest.raises(SettingsError, match=r"Call co_tuning.attach\(model\) before the optimizer is made"):
        trainer.train()


def test_what_cannot_be_is_refused(training_arguments):
    with pytest.raises(SettingsError, match="alpha=-1 is negative"):
        CoTuning(alpha=-1)
    source, model, rows = pair("vit")
    with pytest.raises(SettingsError, match="CoTuning needs source="):
        Trainer(model, training_arguments(), train_dataset=rows, callbacks=[CoTuning()])
    trainer = Trainer(model, training_arguments(max_steps=1), train_dataset=rows, callbacks=[CoTuning(source=source)])
    trainer.train()
    with pytest.raises(SettingsError, match="Make a new Trainer with a new CoTuning"):
        trainer.train()
    source, model, rows = pair("vit")
    rows = [{**row, "labels": row["labels"].float()} for row in rows]
    trainer = Trainer(model, training_arguments(max_steps=1), train_dataset=rows, callbacks=[CoTuning(source=source)])
    with pytest.raises(DataError, match="CoTuning needs one class index a row"):
        trainer.train()
