"""Streams by weight: frequencies, rounds, workers, processes, and going on after a stop."""

import json

import pytest
import torch
from datasets import Dataset
from row_recorder import Recorder, collator, numbered, two_sources
from torch import nn
from torch.utils.data import DataLoader, default_collate
from transformers import Trainer

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.multitask import MultiTaskCollator, MultiTaskEpochs, Source, StreamedMultiTaskDataset


def _read(stream, rows):
    return [int(row.values["x"]) for _, row in zip(range(rows), stream, strict=False)]


def _stream(name, label, rows, files=1, start=0.0):
    data = Dataset.from_list(numbered(rows, start=start, **{name: 1})).to_iterable_dataset(num_shards=files)
    return Source(data, {label: name})


def test_sources_come_as_often_as_their_weights_say():
    rows = 6000
    for mixing, share in (("equal", 0.5), ({"first": 3, "second": 1}, 0.75)):
        read = _read(StreamedMultiTaskDataset(two_sources(), mixing), rows)
        first = sum(value < 100 for value in read)
        # Four standard deviations of a binomial.
        assert abs(first - share * rows) < 4 * (rows * share * (1 - share)) ** 0.5


def test_a_stream_that_ends_begins_anew_and_each_round_holds_every_row_once():
    read = [value for value in _read(StreamedMultiTaskDataset(two_sources()), 200) if value >= 100]
    rounds = [read[start : start + 5] for start in range(0, len(read) - 4, 5)]
    assert len(rounds) > 10
    assert all(round_ == [100, 101, 102, 103, 104] for round_ in rounds)


def test_streams_of_datasets_shuffle_anew_each_round_and_epoch():
    source = _stream("label", "b", 12)
    shuffled = Source(source.dataset.shuffle(seed=1, buffer_size=12), source.tasks)
    stream = StreamedMultiTaskDataset({"s": shuffled})
    epochs = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        epochs.append(_read(stream, 24))
    assert epochs[0] == epochs[2]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0][:12]) == sorted(epochs[0][12:]) == list(range(12))
    assert epochs[0][:12] != epochs[0][12:]


def test_the_order_is_a_function_of_seed_and_epoch():
    one = StreamedMultiTaskDataset(two_sources(), seed=3)
    assert _read(one, 50) == _read(StreamedMultiTaskDataset(two_sources(), seed=3), 50)
    assert _read(one, 50) != _read(StreamedMultiTaskDataset(two_sources(), seed=4), 50)
    first = _read(one, 50)
    one.set_epoch(1)
    assert _read(one, 50) != first


def test_a_loaded_state_goes_on_where_it_was_taken():
    whole = StreamedMultiTaskDataset(two_sources())
    whole.set_epoch(2)
    rows = iter(whole)
    for _ in range(30):
        next(rows)
    state = json.loads(json.dumps(whole.state_dict()))
    assert state == {"epoch": 2, "rows": 30}
    rest = _read(rows, 40)
    other = StreamedMultiTaskDataset(two_sources())
    other.load_state_dict(state)
    rows = iter(other)
    assert _read(rows, 40) == rest
    assert other.state_dict()["rows"] == 70
    # The pass after that is a whole one.
    assert _read(other, 30) + rest == _read(whole, 70)


@pytest.mark.parametrize(
    ("files", "shares"),
    [(1, ((6, 6), (3, 3))), (2, ((6, 6), (3, 3))), (3, ((8, 4), (4, 2))), (None, ((6, 6), (3, 3)))],
    ids=["fewer files than workers", "a file each", "more files", "no datasets"],
)
def test_workers_share_each_round(files, shares):
    sources = two_sources(12, 6)
    if files is not None:
        sources = {"first": _stream("value", "a", 12, files), "second": _stream("label", "b", 6, files, start=100.0)}
    loader = DataLoader(StreamedMultiTaskDataset(sources), batch_size=1, num_workers=2, collate_fn=list)
    batches = [[int(row.values["x"]) for row in batch] for _, batch in zip(range(200), loader, strict=False)]
    workers = [[row for batch in batches[worker::2] for row in batch] for worker in (0, 1)]
    for rows, sizes in zip((range(12), range(100, 106)), shares, strict=True):
        mine = [[row for row in worker if row in rows] for worker in workers]
        for around in range(3):
            parts = [part[around * size : (around + 1) * size] for part, size in zip(mine, sizes, strict=True)]
            assert sorted(parts[0] + parts[1]) == list(rows)


def test_workers_do_not_write_one_anothers_epoch():
    source = _stream("value", "a", 12, 3)
    shuffled = Source(source.dataset.shuffle(seed=0, buffer_size=2), dict(source.tasks))
    loader = DataLoader(StreamedMultiTaskDataset({"only": shuffled}), batch_size=1, num_workers=2, collate_fn=list)
    batches = [[int(row.values["x"]) for row in batch] for _, batch in zip(range(48), loader, strict=False)]
    workers = [[row for batch in batches[worker::2] for row in batch] for worker in (0, 1)]
    # One has two files and one has one, so that the second is in its sixth round when the first is in its third.
    rounds = [sorted(workers[0][8 * n : 8 * n + 8] + workers[1][4 * n : 4 * n + 4]) for n in range(3)]
    assert rounds == [list(range(12))] * 3
    assert shuffled.dataset.epoch == 0  # in this process nobody began a pass


def test_workers_that_stay_alive_see_the_epoch():
    stream = StreamedMultiTaskDataset(two_sources())
    loader = DataLoader(stream, batch_size=50, num_workers=1, persistent_workers=True, collate_fn=list)
    for epoch in (0, 1):
        stream.set_epoch(epoch)
        assert [int(row.values["x"]) for row in next(iter(loader))] == _read(stream, 50)


@pytest.fixture
def fit(training_arguments):
    def run(stream, *, resume=None, **settings):
        model = Recorder()
        given = {"per_device_train_batch_size": 4, "max_steps": 10, "max_grad_norm": 0.0, **settings}
        trainer = Trainer(
            model,
            training_arguments(**given),
            train_dataset=stream,
            data_collator=collator(),
            callbacks=[MultiTaskEpochs()],
        )
        trainer.train(resume_from_checkpoint=resume)
        return model

    return run


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_what_one_that_never_stopped_sees(fit, tmp_path, workers):
    order = {"dataloader_num_workers": workers}
    whole = fit(StreamedMultiTaskDataset(two_sources()), save_strategy="steps", save_steps=4, **order)
    assert len(whole.seen) == 10
    resumed = fit(StreamedMultiTaskDataset(two_sources()), resume=str(tmp_path / "run" / "checkpoint-4"), **order)
    assert resumed.seen == whole.seen[4:]
    assert resumed.weight.item() == whole.weight.item()


class TwoInputs(nn.Module):
    """Remembers the rows of both inputs of each batch."""

    accepts_loss_kwargs = False

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen = []

    def forward(self, **batch):
        self.seen.append({name: sorted(batch[f"{name}__x"].int().tolist()) for name in ("few", "many")})
        assert len(batch["b__labels"]) == len(self.seen[-1]["many"])
        return {"loss": self.weight}


def test_no_row_of_any_input_is_lost_on_the_way_through_accelerate(training_arguments):
    # Its loader for streams cuts every tensor of a batch to the length of the first one.
    sources = {
        "first": Source(numbered(50, value=0.5), {"a": "value"}, "few"),
        "second": Source(numbered(50, start=100.0, label=1), {"b": "label"}, "many"),
    }
    stream = StreamedMultiTaskDataset(sources, {"first": 1, "second": 4})
    tasks = {"a": {"type": "regression", "input": "few"}, "b": {"type": "classification", "input": "many"}}
    collate = MultiTaskCollator({"few": default_collate, "many": default_collate}, tasks)
    arguments = training_arguments(per_device_train_batch_size=32, max_steps=3, max_grad_norm=0.0)
    model = TwoInputs()
    Trainer(model, arguments, train_dataset=stream, data_collator=collate, callbacks=[MultiTaskEpochs()]).train()
    read = _read(stream, 96)
    assert model.seen == [
        {
            "few": sorted(row for row in read[start : start + 32] if row < 100),
            "many": sorted(row for row in read[start : start + 32] if row >= 100),
        }
        for start in (0, 32, 64)
    ]


TWO_PROCESSES = """
import json, sys
from row_recorder import Recorder, collator, two_sources
from transformers import Trainer, TrainingArguments
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask import MultiTaskEpochs, StreamedMultiTaskDataset

folder = sys.argv[1]


def fit(**settings):
    model = Recorder()
    args = TrainingArguments(
        f"{folder}/run", per_device_train_batch_size=2, max_steps=10, use_cpu=True, ddp_backend="gloo", report_to=[],
        save_strategy="no", disable_tqdm=True, seed=0, ddp_find_unused_parameters=False, **settings,
    )
    stream = StreamedMultiTaskDataset(two_sources())
    Trainer(model, args, train_dataset=stream, data_collator=collator(), callbacks=[MultiTaskEpochs()]).train()
    return model, args.process_index


model, rank = fit(accelerator_config={"dispatch_batches": False})
try:
    fit()
    refused = ""
except SettingsError as error:
    refused = str(error)
json.dump([model.seen, refused], open(f"{folder}/{rank}.json", "w"))
"""


def test_two_processes_together_see_what_one_sees_and_glued_batches_are_refused(two_processes, fit, tmp_path):
    two_processes(TWO_PROCESSES, tmp_path)
    (first, refused), (second, _) = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    one = fit(StreamedMultiTaskDataset(two_sources()))
    assert [ours + theirs for ours, theirs in zip(first, second, strict=True)] == one.seen
    assert "Set accelerator_config={'dispatch_batches': False} in TrainingArguments" in refused


@pytest.mark.parametrize(
    ("mixing", "words"),
    [
        ("proportional", "mixing='proportional' needs the sizes of the sources, and streams have none. Choose 'equal'"),
        ("temperature", "mixing='temperature' needs the sizes"),
        ("size", "mixing='size' is unknown"),
        ({"first": 1}, "but second has none"),
    ],
)
def test_settings_that_do_not_fit_are_sentences(mixing, words):
    with pytest.raises(SettingsError, match=words):
        StreamedMultiTaskDataset(two_sources(), mixing)


def test_streams_that_do_not_fit_are_sentences():
    with pytest.raises(SettingsError, match="seed=-1"):
        StreamedMultiTaskDataset(two_sources(), seed=-1)
    with pytest.raises(DataError, match="There is no source"):
        StreamedMultiTaskDataset({})
    with pytest.raises(DataError, match=r"The stream s has no rows for the loader\. Check its split or its filter"):
        _read(StreamedMultiTaskDataset({"s": Source(iter([]), {"a": "value"})}), 1)
    with pytest.raises(DataError, match="The stream s has no rows for the loader"):
        _read(StreamedMultiTaskDataset({"s": Source(iter(numbered(2, value=1)), {"a": "value"})}), 3)
    with pytest.raises(DataError, match="There is no column 'value'"):
        _read(StreamedMultiTaskDataset({"s": Source(iter(numbered(2)), {"a": "value"})}), 1)
    with pytest.raises(
        DataError, match="There is no column 'mood', named for the labels of a; the columns are x, label"
    ):
        Source(_stream("label", "b", 3).dataset, {"a": "mood"})
    loader = DataLoader(
        StreamedMultiTaskDataset({"s": Source(numbered(1, value=1), {"a": "value"})}), num_workers=2, collate_fn=list
    )
    with pytest.raises(DataError, match="The stream s has no rows for worker 1 of 2"):
        list(zip(range(3), loader, strict=False))
