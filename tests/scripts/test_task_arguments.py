"""Tasks and inputs as they stand in a YAML file."""

import pytest

from hf_transfer_kit.errors import SettingsError


@pytest.fixture
def loaded(monkeypatch):
    """Tasks, loaded and prepared for the paper's small network."""
    from hf_transfer_kit.commands.flags.arguments import PreparationArguments
    from hf_transfer_kit.commands.flags.network_arguments import ModelArguments
    from hf_transfer_kit.commands.flags.task_arguments import TaskArguments

    def load(tasks, **settings):
        arguments = TaskArguments(tasks=tasks, **settings)
        return arguments, *arguments.load(ModelArguments("dann_mnist"), PreparationArguments())

    return load


def test_tasks_on_the_same_rows_share_their_inputs(loaded):
    _, make_network, tasks = loaded(
        {
            "digit": {"dataset": "digits", "weight": 2.0},
            "ink": {"dataset": "digits", "label": "ink", "type": "regression", "metric": "pearson"},
            "few": {"dataset": "digits", "train_size": 100},
        },
        train_size=["few=60"],
    )
    digit, ink, few = tasks.tasks
    assert digit.group == ink.group != few.group
    assert ink.prepared.train.values is digit.prepared.train.values
    assert len(few.prepared.train) == 60
    assert (digit.config["weight"], ink.main_metric) == (2.0, "pearson")
    assert ink.config["mean"] == pytest.approx(sum(ink.labels("train")) / len(ink.labels("train")))
    assert not tasks.pretrained
    assert make_network(0).config.model_type == "dann_mnist"


def test_inputs_are_prepared_as_they_say_and_alike_within_one(loaded):
    _, _, tasks = loaded(
        "{a: {dataset: digits, input: grey}, b: {dataset: digits_m, input: grey}, c: {dataset: digits_m, input: rgb}}",
        inputs="{grey: {channels: 1}, rgb: {}}",
    )
    shapes = {task.name: task.prepared.train[0]["pixel_values"].shape[0] for task in tasks.tasks}
    assert shapes == {"a": 1, "b": 1, "c": 3}
    assert tasks.inputs == {"grey": {"channels": 1}, "rgb": {}}


@pytest.mark.parametrize(
    ("tasks", "settings", "message"),
    [
        ("[1, 2]", {}, "--tasks holds a list, but must map names to settings"),
        ("{a", {}, "--tasks is no YAML that can be read"),
        ({}, {}, "--tasks names no task"),
        ({"a": {"label": "b"}}, {}, "a has no dataset"),
        ({"a": {"dataset": "digits", "colour": "red"}}, {}, "a has unknown settings colour; known are dataset"),
        ({"a": {"dataset": "digits", "input": "x"}}, {"inputs": {"y": {}}}, "input 'x', but the inputs are y"),
        (
            {"a": {"dataset": "digits"}, "b": {"dataset": "digits", "label": "ink", "type": "regression"},
             "c": {"dataset": "digits"}},
            {},
            "a, b, c read the same rows, so each needs a label column of its own",
        ),
        ({"a": {"dataset": "digits"}}, {"train_size": ["b=5"]}, "--train_size b=5: write task=100"),
        ({"a": {"dataset": "digits"}}, {"train_size": ["a=x"]}, "--train_size x is neither a number of rows nor"),
        ({"a": {"dataset": "digits", "type": "rank"}}, {}, "task_type='rank' is unknown"),
        ({"a": {"dataset": "digits", "metric": "speed"}}, {}, "metric='speed', but classification is judged by"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_a_sentence(loaded, tasks, settings, message):
    with pytest.raises(SettingsError, match=message):
        loaded(tasks, **settings)
