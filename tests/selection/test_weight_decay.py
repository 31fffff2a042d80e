"""One rule of weight decay in every recipe: Trainer's, which leaves biases and what normalises alone."""

import pytest
import tiny
import torch
from bright_rows import Rows
from selection.adapting.domain_data import domains
from selection.multitasking.test_comparing import task
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit import load_model, replace_head
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.selection import STRATEGIES, Budget, make_strategy, run_strategy
from hf_transfer_kit.selection.adapting import METHODS, make_method, run_adaptation
from hf_transfer_kit.selection.multitasking import TaskSet, compare_multitask


class Groups(TrainerCallback):
    """Which parameters decay, of those that are trained, and which Trainer would let decay."""

    def __init__(self):
        self.runs = []

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        inner, _ = plain_model(model)
        names = {id(parameter): name for name, parameter in inner.named_parameters()}
        decays, trained = set(), set()
        for group in optimizer.param_groups:
            own = {names[id(parameter)] for parameter in group["params"]}
            trained |= own
            decays |= own if group["weight_decay"] else set()
            assert group["weight_decay"] in (0.0, args.weight_decay)
        wanted = set(Trainer.get_decay_parameter_names(None, inner)) & trained
        self.runs.append((decays, wanted))


def collate(rows):
    return {
        "pixel_values": torch.stack([row["pixel_values"] for row in rows]),
        "labels": torch.stack([row["labels"] for row in rows]),
    }


def arguments(folder, rows=4):
    return TrainingArguments(
        str(folder), weight_decay=0.1, per_device_train_batch_size=rows, use_cpu=True, report_to=[], disable_tqdm=True,
        remove_unused_columns=False,
    )  # fmt: skip


def check(groups):
    assert groups.runs
    for decays, wanted in groups.runs:
        assert decays == wanted
        assert decays


def network(seed=0):
    torch.manual_seed(seed)
    return replace_head(tiny.TRANSFORMERS["resnet"]()[0], 3, seed=seed)


@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize("name", sorted(set(METHODS) - {"shallow"}))
def test_of_adaptation(name, pretrained, tmp_path):
    groups, data = Groups(), domains()
    data = type(data)(data.source, data.target, labelled=data.labelled, pretrained=pretrained)
    run_adaptation(
        make_method(name), network, data, arguments(tmp_path, 6), Budget(1, 6, evaluations=1), seed=0, select="last",
        callbacks=[groups],
    )  # fmt: skip
    check(groups)


@pytest.mark.parametrize("pretrained", [True, False])
def test_of_several_tasks(pretrained, tmp_path):
    groups = Groups()
    tasks = TaskSet([task("shape"), task("size", "regression")], pretrained=pretrained)
    compare_multitask(
        ["single", "multitask"], network, tasks, arguments(tmp_path, 6), Budget(1, 6), callbacks=lambda *_: [groups]
    )
    check(groups)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "text_head"])  # it wants a text tower
def test_of_strategies(name, tmp_path):
    rows = {split: Rows(8, seed) for seed, split in enumerate(("train", "validation", "test"))}
    data = PreparedData(**rows, collator=collate, modality="image", label_names=("dark", "bright"))
    groups = Groups()
    text = {"freeze_first": "freeze_first:k=1", "freeze_last": "freeze_last:k=1"}.get(name, name)
    strategy = make_strategy(text)
    tiny.TRANSFORMERS["resnet"]()[0].save_pretrained(tmp_path / "network")
    run_strategy(
        strategy,
        lambda seed: load_model(tmp_path / "network", num_labels=2, seed=seed),
        data,
        arguments(tmp_path),
        Budget(2, 4, evaluations=1),
        seed=0,
        callbacks=(groups,),
    )
    check(groups)
