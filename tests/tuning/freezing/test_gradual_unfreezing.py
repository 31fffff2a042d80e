"""GradualUnfreezing: which groups thaw in which order, and when."""

import pytest
import tiny
from snapshots import Snapshots, labelled_rows
from transformers import Trainer

from hf_transfer_kit import GradualUnfreezing, layer_groups
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.freezing.schedule import Horizon

HORIZON = Horizon(max_steps=100, steps_per_epoch=10)


@pytest.fixture
def groups():
    return layer_groups(tiny.TRANSFORMERS["bert"]()[0])


def depths(groups, stages):
    """For each stage the depths of the groups it trains."""
    return [
        [depth for depth, group in enumerate(groups) if set(group.parameters) <= stage.trainable] for stage in stages
    ]


def test_top_down_thaws_from_the_head_to_the_input(groups):
    stages = GradualUnfreezing(every="1 epoch").stages(groups, HORIZON)
    assert depths(groups, stages) == [[4], [3, 4], [2, 3, 4], [1, 2, 3, 4], [0, 1, 2, 3, 4]]
    assert [stage.until for stage in stages] == [10, 20, 30, 40, None]
    assert [stage.title for stage in stages] == [
        "dropout, classifier",
        "+ pooler",
        "+ encoder.layer.1",
        "+ encoder.layer.0",
        "+ embeddings",
    ]


def test_bottom_up_thaws_from_the_input(groups):
    stages = GradualUnfreezing(every="20 steps", order="bottom_up").stages(groups, HORIZON)
    assert depths(groups, stages) == [[4], [0, 4], [0, 1, 4], [0, 1, 2, 4], [0, 1, 2, 3, 4]]
    assert [stage.until for stage in stages] == [20, 40, 60, 80, None]


def test_several_groups_at_a_time_and_some_never(groups):
    stages = GradualUnfreezing(every=0.25, groups_per_stage=2, keep_frozen=1).stages(groups, HORIZON)
    assert depths(groups, stages) == [[4], [2, 3, 4], [1, 2, 3, 4]]
    assert [stage.until for stage in stages] == [25, 50, None]


def test_a_list_holds_the_times_themselves(groups):
    stages = GradualUnfreezing(every=[0.1, "2 epochs", "50 steps"], groups_per_stage=2, keep_frozen=0, order="top_down")
    with pytest.raises(
        SettingsError, match="holds 3 times, but this model has 2 steps to thaw \\(2 of 4 groups at a time\\)"
    ):
        stages.check_model(groups)
    stages = GradualUnfreezing(every=[0.1, "2 epochs", "50 steps", 0.9]).stages(groups, HORIZON)
    assert [stage.until for stage in stages] == [10, 20, 50, 90, None]


def test_a_model_without_a_head_begins_with_its_first_group_in_the_order():
    groups = layer_groups(tiny.GENERATORS["gpt2_lm"]()[0])
    stages = GradualUnfreezing(every="1 epoch").stages(groups, HORIZON)
    assert depths(groups, stages)[0] == [len(groups) - 1]
    assert len(stages) == len(groups)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"every": "soon"}, "'soon' is no span of training"),
        ({"every": [0.1, 2]}, "2 is no span of training"),
        ({"every": 0.5, "order": "up"}, "order='up' is unknown; choose one of top_down, bottom_up"),
        ({"every": 0.5, "groups_per_stage": 0}, "groups_per_stage=0 must be a whole number, at least 1"),
        ({"every": 0.5, "keep_frozen": -1}, "keep_frozen=-1 must be a whole number, at least 0"),
        ({"every": 0.5, "adapters": "off"}, "adapters='off' is unknown; choose one of trained, staged"),
        ({"every": 0.5, "dropout": "no"}, "dropout='no' is unknown"),
        ({"on_plateau": "eval_loss"}, "on_plateau='eval_loss' must be a metric and a patience"),
        ({"on_plateau": ("eval_loss", 0)}, "patience=0 must be"),
    ],
)
def test_wrong_settings_are_told_at_once(settings, sentence):
    with pytest.raises(SettingsError, match=sentence):
        GradualUnfreezing(**settings)


@pytest.fixture
def make_trainer(training_arguments):
    def make(*callbacks, **settings):
        model, inputs = tiny.TRANSFORMERS["bert"]()
        rows = labelled_rows(inputs)
        given = {"per_device_train_batch_size": 4, "max_steps": 10}
        args = training_arguments(**{**given, **settings})
        return Trainer(model, args, train_dataset=rows, eval_dataset=rows, callbacks=list(callbacks))

    return make


def test_what_does_not_fit_the_model_is_told_before_training(make_trainer):
    with pytest.raises(
        SettingsError, match="keep_frozen=4 leaves nothing to thaw: this model has 4 layer groups before"
    ):
        make_trainer(GradualUnfreezing(every=0.5, keep_frozen=4))


def test_times_must_not_fall(make_trainer):
    trainer = make_trainer(GradualUnfreezing(every=[0.5, 0.3, 0.8, 0.9]))
    with pytest.raises(SettingsError, match=r"stage 1 ends at step 3, before the one ahead of it \(step 5\)"):
        trainer.train()


def test_epochs_are_counted_in_optimizer_steps(make_trainer):
    watch = Snapshots()
    schedule = GradualUnfreezing(every="1 epoch", quiet=True)
    make_trainer(schedule, watch, per_device_train_batch_size=1, gradient_accumulation_steps=4, max_steps=6).train()
    assert [len(watch.trainable[step]) for step in range(1, 7)] == [2, 2, 4, 4, 20, 20]


def test_a_plateau_thaws_when_the_metric_is_flat(make_trainer):
    watch = Snapshots()
    trainer = make_trainer(
        GradualUnfreezing(on_plateau=("loss", 2), quiet=True),
        watch,
        learning_rate=0.0,
        eval_strategy="steps",
        eval_steps=1,
    )
    trainer.train()
    # The first evaluation is what the next two are compared with; later stages compare with the one at their start.
    assert [len(watch.trainable[step]) for step in range(1, 9)] == [2, 2, 2, 4, 4, 20, 20, 36]


def test_a_plateau_needs_evaluations_of_its_metric(make_trainer):
    trainer = make_trainer(GradualUnfreezing(on_plateau=("eval_loss", 2), quiet=True))
    with pytest.raises(SettingsError, match="ends when eval_loss stops improving, but nothing is evaluated"):
        trainer.train()
    trainer = make_trainer(
        GradualUnfreezing(on_plateau=("accuracy", 2), quiet=True), eval_strategy="steps", eval_steps=2
    )
    with pytest.raises(
        SettingsError, match="waits for eval_accuracy to stop improving, but evaluations report eval_loss"
    ):
        trainer.train()


def test_the_table_of_stages_is_logged(make_trainer, said):
    make_trainer(GradualUnfreezing(every="2 steps", on_plateau=("loss", 3)), eval_strategy="epoch").train()
    text = said()
    lines = text[text.index("stage  from step") :].splitlines()
    assert lines[0].split() == ["stage", "from", "step", "trained", "parameters", "share", "rates"]
    assert lines[2].split("  ")[0] == "1"
    assert "2 or eval_loss flat" in lines[2]
    assert "100.0%" in lines[5]


@pytest.mark.parametrize(("steps", "times"), [(100, [20, 40, 60, 80]), (39, [8, 16, 23, 31]), (5, [1, 2, 3, 4])])
def test_by_itself_the_stages_spread_over_the_run(groups, steps, times):
    for schedule in (GradualUnfreezing(), GradualUnfreezing(every="auto")):
        stages = schedule.stages(groups, Horizon(max_steps=steps, steps_per_epoch=None))
        assert [stage.until for stage in stages] == [*times, None]
    assert [s.until for s in GradualUnfreezing(on_plateau=("eval_loss", 1)).stages(groups, HORIZON)] == [None] * 5
