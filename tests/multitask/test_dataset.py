"""Several datasets as one: exact counts, one meaning of an index everywhere, and batches of one task."""

from collections import Counter

import pytest
from row_recorder import Recorder, collator, numbered, two_sources
from torch.utils.data import DataLoader
from transformers import Trainer

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.multitask import MultiTaskDataset, MultiTaskEpochs, Source


def _values(dataset, indices=None):
    return [int(dataset[index].values["x"]) for index in (range(len(dataset)) if indices is None else indices)]


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({}, (12, 5)),
        ({"mixing": "equal"}, (9, 8)),
        ({"mixing": "temperature", "temperature": 1.0}, (12, 5)),
        ({"mixing": "temperature", "rows_per_epoch": 100}, (61, 39)),  # sqrt(12) / (sqrt(12) + sqrt(5)) = 0.6077
        ({"mixing": {"first": 1, "second": 3}, "rows_per_epoch": 40}, (10, 30)),
        ({"rows_per_epoch": 7}, (5, 2)),
        ({"mode": "per_task", "batch_size": 4}, (16, 4)),
        ({"mode": "per_task", "batch_size": 4, "mixing": "equal", "rows_per_epoch": 24}, (12, 12)),
    ],
)
def test_every_epoch_holds_exact_counts(settings, counts):
    dataset = MultiTaskDataset(two_sources(), **settings)
    assert len(dataset) == sum(counts)
    read = Counter()
    epochs = []
    for epoch in range(60):
        dataset.set_epoch(epoch)
        values = _values(dataset)
        assert (sum(value < 100 for value in values), sum(value >= 100 for value in values)) == counts
        epochs.append(values)
        read.update(values)
    assert len({tuple(values) for values in epochs}) == 60
    for rows, count in ((range(12), counts[0]), (range(100, 105), counts[1])):
        # 60 epochs are whole rounds of 12 and of 5 rows.
        assert {read[row] for row in rows} == {60 * count // len(rows)}


def test_an_index_means_the_same_row_everywhere():
    one, other = (MultiTaskDataset(two_sources(), seed=3) for _ in range(2))
    for dataset in (one, other):
        dataset.set_epoch(2)
    assert _values(one, [7, 0, 16]) == [int(other[i].values["x"]) for i in (7, 0, 16)]
    first = _values(one)
    one.set_epoch(5)
    assert _values(one) != first
    one.set_epoch(2)
    assert _values(one) == first
    assert first != _values(MultiTaskDataset(two_sources(), seed=4))


def test_workers_that_stay_alive_see_the_epoch():
    dataset = MultiTaskDataset(two_sources())
    loader = DataLoader(dataset, batch_size=4, num_workers=2, persistent_workers=True, collate_fn=list)
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        assert [int(row.values["x"]) for batch in loader for row in batch] == _values(dataset)


@pytest.fixture
def fit(training_arguments):
    def run(dataset, *, resume=None, callbacks=(MultiTaskEpochs,), **settings):
        model = Recorder()
        given = {"per_device_train_batch_size": 4, "num_train_epochs": 3, "max_grad_norm": 0.0, **settings}
        trainer = Trainer(
            model,
            training_arguments(**given),
            train_dataset=dataset,
            data_collator=collator(),
            callbacks=[callback() for callback in callbacks],
        )
        trainer.train(resume_from_checkpoint=resume)
        return model

    return run


@pytest.mark.parametrize(
    ("settings", "workers", "stop"),
    [
        ({}, 0, 7),
        ({}, 2, 7),
        ({}, 0, 10),  # the end of the second epoch
        ({"mode": "per_task", "batch_size": 4}, 0, 7),
        ({"mode": "per_task", "batch_size": 4}, 2, 10),
    ],
)
def test_a_resumed_run_sees_what_one_that_never_stopped_sees(fit, tmp_path, settings, workers, stop):
    order = {"train_sampling_strategy": "sequential"} if settings else {}
    order |= {"dataloader_num_workers": workers, "dataloader_persistent_workers": workers > 0}
    whole = fit(MultiTaskDataset(two_sources(), **settings), save_strategy="steps", save_steps=stop, **order)
    assert len(whole.seen) == 15
    checkpoint = str(tmp_path / "run" / f"checkpoint-{stop}")
    resumed = fit(MultiTaskDataset(two_sources(), **settings), resume=checkpoint, **order)
    assert resumed.seen == whole.seen[stop:]
    assert resumed.weight.item() == whole.weight.item()
    if not settings:
        # 17 rows an epoch in batches of 4, each row once.
        epochs = [[row for batch in whole.seen[start : start + 5] for row in batch] for start in (0, 5, 10)]
        assert all(sorted(epoch) == [*range(12), *range(100, 105)] for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == 3


def test_accumulated_batches_resume_alike(fit, tmp_path):
    # 5 batches are 3 steps of 2, 2 and 1.
    settings = {"gradient_accumulation_steps": 2}
    whole = fit(MultiTaskDataset(two_sources()), save_strategy="steps", save_steps=4, **settings)
    resumed = fit(MultiTaskDataset(two_sources()), resume=str(tmp_path / "run" / "checkpoint-4"), **settings)
    assert resumed.seen == whole.seen[7:]


def test_batches_of_one_task_come_from_trainer_in_mixed_order(fit):
    dataset = MultiTaskDataset(two_sources(), "equal", mode="per_task", batch_size=4, rows_per_epoch=32)
    model = fit(dataset, train_sampling_strategy="sequential", num_train_epochs=2)
    assert sorted(model.tasks) == [["a"]] * 8 + [["b"]] * 8
    assert model.tasks[:8] != model.tasks[8:]
    assert all(len({value >= 100 for value in batch}) == 1 for batch in model.seen)


def test_batches_that_would_mix_tasks_are_refused(fit):
    dataset = MultiTaskDataset(two_sources(), mode="per_task", batch_size=4)
    words = r"Set train_sampling_strategy='sequential' and per_device_train_batch_size=4 in TrainingArguments"
    with pytest.raises(SettingsError, match=words):
        fit(dataset)
    with pytest.raises(SettingsError, match=r"4 indices in a row, but a batch holds the indices 0, 1, 2, 3, 4, 5"):
        fit(dataset, train_sampling_strategy="sequential", per_device_train_batch_size=6)


class Doubling(Recorder):
    """Predicts twice the input."""

    def forward(self, labels=None, **batch):
        return {**super().forward(**batch), "logits": 2 * batch["default__x"]}


def test_trainer_evaluates_on_one_source_after_another(training_arguments):
    def metrics(prediction):
        return {"logits": prediction.predictions.tolist(), "labels": prediction.label_ids.tolist()}

    trainer = Trainer(
        Doubling(),
        training_arguments(per_device_eval_batch_size=4),
        eval_dataset=two_sources(first=6),
        data_collator=collator(),
        compute_metrics=metrics,
    )
    found = trainer.evaluate()
    assert found["eval_first_logits"] == [0, 2, 4, 6, 8, 10]
    assert found["eval_first_labels"] == [0.5] * 6
    assert found["eval_second_logits"] == [200, 202, 204, 206, 208]
    assert found["eval_second_labels"] == [1] * 5


TWO_PROCESSES = """
import json, sys
import torch
from row_recorder import Recorder, collator, two_sources
from transformers import Trainer, TrainingArguments
from hf_transfer_kit.multitask import MultiTaskDataset, MultiTaskEpochs

folder = sys.argv[1]
for name, settings, order in (
    ("mixed", {"rows_per_epoch": 16}, "random"),
    ("per_task", {"mode": "per_task", "batch_size": 2, "rows_per_epoch": 16}, "sequential"),
):
    model = Recorder()
    args = TrainingArguments(
        f"{folder}/{name}", per_device_train_batch_size=2, num_train_epochs=2, use_cpu=True, ddp_backend="gloo",
        report_to=[], save_strategy="no", disable_tqdm=True, seed=0, train_sampling_strategy=order,
        ddp_find_unused_parameters=False,
    )
    dataset = MultiTaskDataset(two_sources(), **settings)
    Trainer(model, args, train_dataset=dataset, data_collator=collator(), callbacks=[MultiTaskEpochs()]).train()
    json.dump([model.seen, model.tasks], open(f"{folder}/{name}{args.process_index}.json", "w"))
"""


def test_two_processes_together_see_what_one_sees(two_processes, fit, tmp_path):
    import json

    two_processes(TWO_PROCESSES, tmp_path)
    read = {
        name: [json.loads((tmp_path / f"{name}{rank}.json").read_text()) for rank in (0, 1)]
        for name in ("mixed", "per_task")
    }
    one = fit(MultiTaskDataset(two_sources(), rows_per_epoch=16), num_train_epochs=2)
    (first, _), (second, _) = read["mixed"]
    assert [ours + theirs for ours, theirs in zip(first, second, strict=True)] == one.seen
    single = MultiTaskDataset(two_sources(), rows_per_epoch=16, mode="per_task", batch_size=2)
    one = fit(single, num_train_epochs=2, per_device_train_batch_size=2, train_sampling_strategy="sequential")
    (first, tasks), (second, others) = read["per_task"]
    assert [batch for pair in zip(first, second, strict=True) for batch in pair] == one.seen
    assert all(len(names) == 1 for names in tasks + others)


def _source(rows=3, tasks=("a",), input="default", **more):
    return Source(
        numbered(rows, value=0.5, label=1, **more), {task: {"a": "value", "b": "label"}[task] for task in tasks}, input
    )


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        (dict, "There is no source"),
        (lambda: {"s": _source(0)}, "s has no rows. Check its split"),
        (lambda: {"s": _source(tasks=())}, "s is labelled for no task. Name the columns"),
        (
            lambda: {"s": Source(iter(numbered(2, value=1)), {"a": "value"})},
            "s has no length.*Use StreamedMultiTaskDataset",
        ),
        (
            lambda: {"s": _source(), "t": _source(y=1)},
            "Rows of s and t go into one input, 'default'.*only in t: y. Choose",
        ),
    ],
)
def test_sources_that_do_not_fit_are_sentences(sources, words):
    with pytest.raises(DataError, match=words):
        MultiTaskDataset(sources())


def test_inputs_may_have_columns_of_their_own():
    assert len(MultiTaskDataset({"s": _source(), "t": _source(input="other", y=1)})) == 6


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seed": -1}, "seed=-1 must be a whole number"),
        ({"mode": "alternating"}, "mode='alternating' is unknown; choose 'mixed' or 'per_task'"),
        ({"batch_size": 4}, "batch_size=4 belongs to mode='per_task'"),
        ({"mode": "per_task"}, "mode='per_task' needs the rows of a batch"),
        ({"mode": "per_task", "batch_size": 0}, "but batch_size=0"),
        (
            {"mode": "per_task", "batch_size": 4, "rows_per_epoch": 6},
            "rows_per_epoch=6 must be .* in whole batches of 4",
        ),
        ({"rows_per_epoch": 0}, r"rows_per_epoch=0 must be a number of rows, at least 1\."),
        (
            {"mixing": {"first": 1, "second": 1000}},
            r"first has 12 rows and a share of 0\.001, which of 17 rows an epoch is none",
        ),
        ({"mixing": {"first": 1}}, "but second has none"),
    ],
)
def test_settings_that_do_not_fit_are_sentences(settings, words):
    with pytest.raises(SettingsError, match=words):
        MultiTaskDataset(two_sources(), **settings)


def test_batches_of_one_task_need_sources_of_one_task():
    with pytest.raises(SettingsError, match=r"rows of s are labelled for a, b\. Use mode='mixed', or give"):
        MultiTaskDataset({"s": _source(tasks=("a", "b"))}, mode="per_task", batch_size=2)


def test_what_is_no_source_or_no_row_is_a_sentence():
    with pytest.raises(SettingsError, match=r"s is a list, but must be a Source"):
        MultiTaskDataset({"s": numbered(2)})
    with pytest.raises(IndexError, match="An epoch has 17 rows, so not all of these: 17"):
        MultiTaskDataset(two_sources())[17]
