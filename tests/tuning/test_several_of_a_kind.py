"""Several parts of a kind in one Trainer: told apart by name, and as strong as one with their strengths added."""

import pytest
import term_cases

from hf_transfer_kit import BSS, DELTA, L2SP, CoTuning, L2SPFisher, LwF
from hf_transfer_kit.errors import SettingsError

KINDS = {
    "L2SP": lambda source, rows, strength, name: L2SP(strength, strength, name=name),
    "L2SPFisher": lambda source, rows, strength, name: L2SPFisher(
        strength, strength, dataset=rows, num_samples=4, name=name
    ),
    "DELTA": lambda source, rows, strength, name: DELTA(alpha=strength, name=name),
    "BSS": lambda source, rows, strength, name: BSS(alpha=strength, name=name),
    "LwF": lambda source, rows, strength, name: LwF(source=source, alpha=strength, name=name),
    "CoTuning": lambda source, rows, strength, name: CoTuning(source=source, alpha=strength, name=name),
}


@pytest.fixture
def train(training_arguments):
    def run(*parts, checkpoint=None, **settings):
        model, rows = term_cases.case("bert", double=True)
        source, _ = term_cases.case("bert", seed=1, double=True)
        args = training_arguments(
            **{
                "max_steps": 4, "per_device_train_batch_size": 3, "learning_rate": 0.05, "optim": "sgd",
                "lr_scheduler_type": "constant", **settings,
            }
        )  # fmt: skip
        trainer = term_cases.InOrder(
            model, args, train_dataset=rows, eval_dataset=rows, callbacks=[part(source, rows) for part in parts]
        )
        trainer.train(resume_from_checkpoint=checkpoint)
        return trainer

    return run


def _part(kind, strength, name=None):
    return lambda source, rows: KINDS[kind](source, rows, strength, name)


@pytest.mark.parametrize("kind", KINDS)
def test_two_weigh_as_much_as_their_sum_and_are_logged_by_name(train, kind):
    two = train(_part(kind, 0.1, "first.one"), _part(kind, 0.2, "second"))
    one = train(_part(kind, 0.3))
    if kind != "CoTuning":  # of which each trains a source's layer of its own
        for (name, ours), theirs in zip(two.model.named_parameters(), one.model.parameters(), strict=True):
            assert (ours - theirs).abs().max() < 1e-9, name
    assert "source_head" not in "".join(two.model.state_dict())
    first = two.state.log_history[0]
    assert first["second"] == pytest.approx(2 * first["first.one"], rel=1e-6)
    usual = next(key for key in one.state.log_history[0] if key.endswith("_penalty"))
    assert one.state.log_history[0][usual] == pytest.approx(first["first.one"] + first["second"], rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_two_of_one_name_are_refused_when_the_trainer_is_made(train, kind):
    with pytest.raises(SettingsError, match=r"would both be logged as '\w+_penalty'.*name='second'"):
        train(_part(kind, 0.1), _part(kind, 0.2), max_steps=0)
    with pytest.raises(SettingsError, match="would both be logged as 'a'"):
        train(_part(kind, 0.1, "a"), _part("BSS", 0.2, "a"), max_steps=0)


def test_two_kinds_of_l2sp_are_told_apart(train):
    with pytest.raises(SettingsError, match="L2SPFisher and L2SP would both be logged as 'l2sp_penalty'"):
        train(_part("L2SP", 0.1), _part("L2SPFisher", 0.1))
    logs = train(_part("L2SP", 0.1), _part("L2SPFisher", 0.1, "fisher")).state.log_history[0]
    assert {"l2sp_penalty", "fisher"} <= set(logs)


def test_each_logs_its_own_distances(train):
    parts = [lambda source, rows, n=n: L2SP(0.1, log_distances=True, name=n) for n in ("a", "b")]
    logs = train(*parts).state.log_history[0]
    assert logs["a/distance/encoder.layer.0"] == logs["b/distance/encoder.layer.0"] > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["loss", "learning_rate", "", 3])
def test_what_cannot_be_a_name_is_refused(kind, name):
    with pytest.raises(SettingsError, match=f"{kind}: name={name!r} cannot be logged"):
        KINDS[kind](None, [], 0.1, name)


@pytest.mark.parametrize("kind", KINDS)
def test_two_resume_where_an_uninterrupted_run_would_be(train, kind, tmp_path):
    parts = [_part(kind, 0.1, "a"), _part(kind, 0.2, "b")]
    saving = {"output_dir": str(tmp_path), "save_strategy": "steps", "save_steps": 2}
    whole = train(*parts, **saving)
    resumed = train(*parts, checkpoint=str(tmp_path / "checkpoint-2"), **saving)
    term_cases.assert_same_state(resumed.model.state_dict(), whole.model.state_dict())


def test_restored_ones_keep_their_names(train, tmp_path):
    parts = [_part("L2SP", 0.1, "a"), _part("L2SP", 0.2, "b")]
    saving = {"output_dir": str(tmp_path), "save_strategy": "steps", "save_steps": 2}
    whole = train(*parts, **saving)
    restored = train(
        *parts, checkpoint=str(tmp_path / "checkpoint-2"), restore_callback_states_from_checkpoint=True, **saving
    )
    term_cases.assert_same_state(restored.model.state_dict(), whole.model.state_dict())
    assert {"a", "b"} <= set(restored.state.log_history[-2])
