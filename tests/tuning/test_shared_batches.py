"""N processes on the batches of one: the same rows in the same order, tails of epochs included."""

import json

import loss_cases
import pytest
import term_cases
import torch
from transformers import Trainer, TrainingArguments

from hf_transfer_kit import SharedBatches
from hf_transfer_kit.errors import SettingsError

RUNS = {
    **{name: (name, {"size": 4}) for name in loss_cases.FAMILIES},
    "bert, two pieces": ("bert", {"size": 2, "pieces": 2}),
    "bert, three rows": ("bert", {"size": 3}),
    "bert, one row at the end": ("bert", {"size": 5}),
    "tokens": ("bert_tokens", {"size": 4}),
    "smoothed": ("bert", {"size": 4, "label_smoothing_factor": 0.2}),
    "of like length": ("bert", {"size": 4, "train_sampling_strategy": "group_by_length"}),
}
ALONE = """
import sys
import torch.distributed as dist
import adaptation_run, generalisation_run
from tuning.test_shared_batches import _trainer
from hf_transfer_kit import BSS, SharedBatches
from hf_transfer_kit.errors import SettingsError
import term_cases

dist.init_process_group("gloo")
alone = {"use_cpu": False}  # as on a CPU where nobody says so
if _trainer([{}], **alone).args.world_size == 2:
    sys.exit()  # transformers of this version sees that there are two
_, rows = term_cases.case("bert")
runs = {
    "shared": lambda: _trainer(rows, SharedBatches(4), **alone),
    "term": lambda: _trainer(rows, BSS(), **alone),
    "adapting": lambda: adaptation_run.trainer(sys.argv[1], layers=False, **alone),
    "sources": lambda: generalisation_run.trainer(sys.argv[1], layers=False, **alone),
}
for name, run in runs.items():
    try:
        run().train()
    except SettingsError as error:
        assert "2 processes were started together" in str(error), error
    else:
        raise AssertionError(name)
"""
if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 8):  # earlier ones lose names where a graph breaks
    RUNS["compiled"] = ("bert", {"size": 3, "torch_compile": True, "torch_compile_backend": "eager"})
TWO_RANKS = """
import json, sys
from pathlib import Path

import torch.distributed as dist
from tuning.test_shared_batches import RUNS, figures

found = {name: figures(name, sys.argv[1], 2) for name in RUNS}
if dist.get_rank() == 0:
    Path(sys.argv[1], "found.json").write_text(json.dumps(found))
"""


def figures(name, folder, ranks):
    """Losses, norms and the sum of the weights of a run over two epochs and a half, by ``ranks`` processes."""
    case, options = RUNS[name]
    size, pieces = options["size"], options.get("pieces", 1)
    others = {key: value for key, value in options.items() if key not in ("size", "pieces")}
    model, logs = loss_cases.trained(
        case, folder, size=-(-size // ranks), pieces=pieces, callbacks=[SharedBatches(size)], steps=5, shuffled=True,
        **others,
    )  # fmt: skip
    total = sum(p.double().abs().sum().item() for p in model.parameters())
    return [e["loss"] for e in logs], [e["grad_norm"] for e in logs], total


def test_two_ranks_train_as_one(two_processes, tmp_path):
    two_processes(TWO_RANKS, tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    wrong = {}
    for name in RUNS:
        losses, norms, total = figures(name, tmp_path, 1)
        two = found[name]
        alike = [two[1] == pytest.approx(norms, rel=1e-5), two[2] == pytest.approx(total, rel=1e-8)]
        if name != "smoothed":  # whose loss is logged as Trainer takes it, each process's alike
            alike.append(two[0] == pytest.approx(losses, rel=1e-5))
        if not all(alike):
            wrong[name] = (alike, two, (losses, norms, total))
    assert not wrong, wrong


def _trainer(rows, *callbacks, size=2, use_cpu=True, **settings):
    model, _ = term_cases.case("bert")
    args = TrainingArguments(
        "unused", per_device_train_batch_size=size, report_to=[], use_cpu=use_cpu, save_strategy="no", **settings
    )
    return Trainer(model, args, train_dataset=rows, callbacks=list(callbacks))


@pytest.mark.skipif(torch.accelerator.is_available(), reason="with a GPU transformers knows that there are several")
def test_processes_that_would_each_train_alone_are_refused(two_processes, tmp_path):
    two_processes(ALONE, tmp_path)


def test_one_process_reads_batches_of_the_size_that_is_given():
    _, rows = term_cases.case("bert")
    sizes = [len(batch["labels"]) for batch in _trainer(rows, SharedBatches(4)).get_train_dataloader()]
    assert sizes == [4, 2]
    plain = [batch["input_ids"][:, 0].tolist() for batch in _trainer(rows).get_train_dataloader()]
    shared = [batch["input_ids"][:, 0].tolist() for batch in _trainer(rows, SharedBatches()).get_train_dataloader()]
    assert [len(batch) for batch in shared] == [len(batch) for batch in plain] == [2, 2, 2]


def test_added_late_and_batches_of_ones_own_are_refused(tmp_path):
    _, rows = term_cases.case("bert")
    late = _trainer(rows)
    late.add_callback(SharedBatches(4))
    with pytest.raises(SettingsError, match="was made"):
        late.train()
    with pytest.raises(SettingsError, match="whole number"):
        SharedBatches(0)
    with pytest.raises(SettingsError, match="auto_find_batch_size"):
        _trainer(rows, SharedBatches(4), auto_find_batch_size=True)

    class Own(torch.utils.data.BatchSampler):
        pass

    class OwnBatches(Trainer):
        def get_train_dataloader(self):
            sampler = torch.utils.data.SequentialSampler(self.train_dataset)
            return torch.utils.data.DataLoader(self.train_dataset, batch_sampler=Own(sampler, 2, False))

    model, _ = term_cases.case("bert")
    own = OwnBatches(model, TrainingArguments(tmp_path, use_cpu=True), train_dataset=rows, callbacks=[SharedBatches(4)])
    with pytest.raises(SettingsError, match="Own makes batches"):
        own.train()
