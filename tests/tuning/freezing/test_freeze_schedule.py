"""FreezeSchedule: stages written out as a list, a mapping or YAML."""

import pytest
import tiny
import torch
import yaml
from snapshots import Snapshots, labelled_rows, moved, snapshot
from transformers import Trainer

from hf_transfer_kit import FreezeSchedule, layer_groups
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.freezing.schedule import Horizon

HORIZON = Horizon(max_steps=100, steps_per_epoch=10)
STAGES = [
    {"train": "head", "until": "1 epoch"},
    {"train": ["head", -2, "encoder.layer.1"], "until": 0.5, "rates": {"all": 0.5, "head": 2}},
    {"train": "all", "early_stopping": {"metric": "eval_loss", "patience": 2}},
]


@pytest.fixture
def groups():
    return layer_groups(tiny.TRANSFORMERS["bert"]()[0])


@pytest.fixture
def make_trainer(training_arguments):
    def make(*callbacks, **settings):
        model, inputs = tiny.TRANSFORMERS["bert"]()
        rows = labelled_rows(inputs)
        args = training_arguments(**{"per_device_train_batch_size": 4, "max_steps": 10, **settings})
        return Trainer(model, args, train_dataset=rows, eval_dataset=rows, callbacks=list(callbacks))

    return make


def test_stages_are_resolved_for_the_model(groups):
    first, second, third = FreezeSchedule(STAGES).stages(groups, HORIZON)
    names = [set(group.parameters) for group in groups]
    assert first.trainable == names[4]
    assert second.trainable == names[2] | names[3] | names[4]
    assert third.trainable == set().union(*names)
    assert [stage.until for stage in (first, second, third)] == [10, 50, None]
    assert second.factors == {name: 2.0 if name in names[4] else 0.5 for name in second.trainable}
    assert third.plateau.key == "eval_loss"
    assert third.plateau.patience == 2


def test_list_mapping_and_file_say_the_same(groups, tmp_path):
    path = tmp_path / "stages.yaml"
    path.write_text(yaml.safe_dump({"stages": STAGES}))
    expected = FreezeSchedule(STAGES).stages(groups, HORIZON)
    for form in ({"stages": STAGES}, path, str(path)):
        assert FreezeSchedule(form).stages(groups, HORIZON) == expected


def test_lp_ft_is_the_head_then_everything(make_trainer):
    watch = Snapshots()
    make_trainer(FreezeSchedule.lp_ft(head_fraction=0.4, full_rate=0.1, quiet=True), watch).train()
    assert [len(watch.trainable[step]) for step in range(1, 11)] == [2] * 4 + [41] * 6


def test_early_stopping_in_the_last_stage_stops_training(make_trainer):
    trainer = make_trainer(FreezeSchedule(STAGES, quiet=True), learning_rate=0.0, eval_strategy="steps", eval_steps=1)
    trainer.train()
    # The last stage begins at step 5, whose evaluation the next two do not better.
    assert trainer.state.global_step == 7
    assert trainer.state.log_history[-1]["step"] == 7


def test_early_stopping_of_a_stage_before_its_end(make_trainer):
    watch = Snapshots()
    stages = [{"train": "head", "until": 0.9, "early_stopping": {"metric": "loss", "patience": 1}}, {"train": "all"}]
    make_trainer(
        FreezeSchedule(stages, quiet=True), watch, learning_rate=0.0, eval_strategy="steps", eval_steps=2
    ).train()
    assert [len(watch.trainable[step]) for step in range(1, 7)] == [2, 2, 2, 2, 41, 41]


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ([], r'takes a list of stages such as \{"until": 0.3, "train": "head"\}'),
        ("nowhere.yaml", "'nowhere.yaml': there is no such file"),
        ({"steps": []}, r"a mapping must have the one key 'stages', not \['steps'\]"),
        (
            [{"train": "head", "untl": 1}],
            "stage 0 has unknown keys untl; known are train, until, rates, early_stopping",
        ),
        ([{"until": 0.5}, {"train": "all"}], "stage 0 does not say what to train"),
        ([{"train": "head"}, {"train": "all"}], "stage 0 has no end: give 'until' or 'early_stopping'"),
        ([{"train": "all", "until": 0.5}], "stage 0 is the last and lasts to the end of training"),
        ([{"train": "head", "until": "soon"}, {"train": "all"}], "'soon' is no span of training"),
        ([{"train": "all", "rates": {"head": -1}}], "stage 0: the rate of 'head' is -1; give a factor of at least 0"),
        ([{"train": "all", "rates": [0.1]}], r"stage 0: rates=\[0.1\] must map selectors to factors"),
        ([{"train": "all", "early_stopping": {"metric": "loss"}}], "must be a mapping with metric and patience"),
        ([{"train": "all", "early_stopping": {"metric": "loss", "patience": 0}}], "patience=0 must be"),
    ],
)
def test_stages_that_cannot_be_read(stages, sentence):
    with pytest.raises(SettingsError, match=sentence):
        FreezeSchedule(stages)


def test_a_file_that_is_no_yaml(tmp_path):
    path = tmp_path / "stages.yaml"
    path.write_text("stages: [")
    with pytest.raises(SettingsError, match="is no YAML"):
        FreezeSchedule(path)


@pytest.mark.parametrize("stage", [{"train": "decoder.*"}, {"train": "all", "rates": {"decoder.*": 0.1}}])
def test_selectors_are_checked_when_the_trainer_is_made(make_trainer, stage):
    with pytest.raises(SettingsError, match=r"'decoder.\*' matches no parameter"):
        make_trainer(FreezeSchedule([stage]))


@pytest.mark.parametrize("begins", [0, 1])
def test_an_optimizer_with_a_state_in_its_groups_cannot_have_rates_by_stage(training_arguments, begins):
    class Counting(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                group["count"] = group.get("count", 0) + 1
            super().step(closure)

    model, inputs = tiny.TRANSFORMERS["bert"]()
    torch.optim.SGD(model.parameters(), lr=0.1)  # from now on the parent's step is hooked as well
    before = snapshot(model)
    stages = [{"train": "head", "until": 1}, {"train": "all", "rates": {"body": 0.1}}]
    schedule = FreezeSchedule(stages[1 - begins :], quiet=True)
    trainer = Trainer(
        model,
        training_arguments(max_steps=2),
        train_dataset=labelled_rows(inputs),
        callbacks=[schedule],
        optimizer_cls_and_kwargs=(Counting, {"lr": 0.1}),
    )
    with pytest.raises(SettingsError, match=r"Counting keeps a state in its parameter groups \(count\)"):
        trainer.train()
    assert not moved(before, model)  # also where the rates begin later


def test_an_optimizer_that_holds_none_of_the_parameters_is_told_as_such(training_arguments):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)  # as galore's layerwise ones
    trainer = Trainer(
        model,
        training_arguments(max_steps=2),
        train_dataset=labelled_rows(inputs),
        callbacks=[FreezeSchedule.lp_ft(quiet=True)],
        optimizers=(optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer)),
    )
    with pytest.raises(SettingsError, match="SGD holds none of the model's parameters"):
        trainer.train()
