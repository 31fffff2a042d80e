"""The epoch reaches the dataset in every kind of run, and tasks of model and sources are compared first."""

from types import SimpleNamespace

import pytest
from row_recorder import TASKS, Recorder, collator, numbered, two_sources
from transformers import Trainer

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.multitask import MultiTaskDataset, MultiTaskEpochs


@pytest.fixture
def fit(training_arguments):
    def run(dataset, tasks=None, idle=(), **settings):
        model = Recorder()
        if tasks is not None:
            model.config = SimpleNamespace(tasks={name: {} for name in tasks} | dict(idle), to_json_string=lambda: "{}")
        trainer = Trainer(
            model,
            training_arguments(per_device_train_batch_size=4, **settings),
            train_dataset=dataset,
            data_collator=collator(),
            callbacks=[MultiTaskEpochs()],
        )
        trainer.train()
        return model

    return run


def test_each_epoch_is_told(fit, monkeypatch):
    told = []
    dataset = MultiTaskDataset(two_sources())
    monkeypatch.setattr(dataset, "set_epoch", told.append)
    fit(dataset, num_train_epochs=3)
    assert sorted(set(told)) == [0, 1, 2]
    assert told == sorted(told)


def test_tasks_of_model_and_sources_must_be_the_same(fit):
    fit(MultiTaskDataset(two_sources()), TASKS, max_steps=1)
    with pytest.raises(
        DataError, match=r"No source is labelled for mood, so the model cannot learn it; .* for a, b\. Add"
    ):
        fit(MultiTaskDataset(two_sources()), [*TASKS, "mood"], max_steps=1)
    fit(MultiTaskDataset(two_sources()), TASKS, idle={"mood": {"weight": 0.0}}, max_steps=1)
    with pytest.raises(DataError, match=r"Sources are labelled for b, but the model's tasks are a\. Rename"):
        fit(MultiTaskDataset(two_sources()), ["a"], max_steps=1)


def test_other_datasets_are_refused(fit):
    with pytest.raises(SettingsError, match=r"but training reads a list\. Give Trainer one of these"):
        fit(numbered(8), max_steps=1)
