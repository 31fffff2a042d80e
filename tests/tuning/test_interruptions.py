"""A run that is broken off leaves nothing of its parts: the next plain Trainer trains as if they had never been."""

import copy

import pytest
import term_cases
from part_cases import PARTS
from transformers import TrainerCallback

from hf_transfer_kit import CoTuning, FreezeSchedule, find_learning_rate, layerwise_optimizer

ALL = {
    **{name: make for name, make in PARTS.items() if name != "FreezeLayers"},  # which stays until ``undo``
    "FreezeSchedule": lambda source, rows: FreezeSchedule.lp_ft(quiet=True),
    "CoTuning": lambda source, rows: CoTuning(source=source),
}


class Breaks(TrainerCallback):
    def __init__(self, event, error):
        self.error = error
        setattr(self, event, self._break)

    def _break(self, args, state, control, **kwargs):
        if state.global_step >= 1:
            raise self.error


def _case():
    model, rows = term_cases.case("bert")
    model.accepts_loss_kwargs = False
    return model, rows, copy.deepcopy(model)


def _plain(model, rows, make_args):
    args = make_args(max_steps=5, learning_rate=0.05, per_device_train_batch_size=2, weight_decay=0.1)
    term_cases.InOrder(model, args, train_dataset=rows).train()
    return term_cases.state_of(model)


@pytest.mark.parametrize("event", ["on_step_begin", "on_substep_end", "on_pre_optimizer_step", "on_step_end"])
@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()], ids=["exception", "keyboard"])
@pytest.mark.parametrize("name", ALL)
def test_a_plain_run_after_a_broken_one_is_a_plain_run(name, error, event, training_arguments, tmp_path):
    model, rows, source = _case()
    args = training_arguments(
        max_steps=5, learning_rate=0.05, per_device_train_batch_size=1, gradient_accumulation_steps=2
    )
    parts = [ALL[name](source, rows), Breaks(event, error)]
    trainer = term_cases.InOrder(model, args, train_dataset=rows, eval_dataset=rows, callbacks=parts)
    with pytest.raises(type(error)):
        trainer.train()
    assert term_cases.num_hooks(model) == 0
    assert all(parameter.requires_grad for parameter in model.parameters())
    clean, _, _ = _case()
    assert list(model.state_dict()) == list(clean.state_dict())
    clean.load_state_dict(model.state_dict())
    term_cases.assert_same_state(_plain(model, rows, training_arguments), _plain(clean, rows, training_arguments))


@pytest.mark.parametrize("name", ALL)
def test_a_broken_run_goes_on_from_its_checkpoint(name, training_arguments, tmp_path):
    states = []
    for is_broken in (False, True):
        model, rows, source = _case()
        args = training_arguments(
            max_steps=4, learning_rate=0.05, per_device_train_batch_size=2, save_strategy="steps", save_steps=1,
            output_dir=str(tmp_path / str(is_broken)), lr_scheduler_type="constant",
        )  # fmt: skip
        breaks = Breaks("on_step_begin" if is_broken else "never", KeyboardInterrupt())
        callbacks = [ALL[name](source, rows), breaks]
        trainer = term_cases.InOrder(model, args, train_dataset=rows, eval_dataset=rows, callbacks=callbacks)
        if is_broken:
            with pytest.raises(KeyboardInterrupt):
                trainer.train()
            trainer.remove_callback(breaks)
        trainer.train(resume_from_checkpoint=is_broken)
        states.append(term_cases.state_of(model))
    term_cases.assert_same_state(*states)


@pytest.mark.parametrize("is_broken", [False, True])
@pytest.mark.parametrize("name", [*ALL, "FreezeLayers"])
def test_a_rate_test_leaves_everything_as_it_was(name, is_broken, training_arguments):
    model, rows, source = _case()
    model.train()
    seen = []
    handle = model.register_forward_hook(lambda *_: seen.append(1))
    before = term_cases.state_of(model)
    modes = {n: m.training for n, m in model.named_modules()}
    args = training_arguments(max_steps=5, learning_rate=0.05, per_device_train_batch_size=2)
    breaks = [Breaks("on_step_begin", RuntimeError("broken"))] if is_broken else []
    make = {**ALL, **PARTS}[name]

    def make_trainer():
        return term_cases.InOrder(
            model, args, train_dataset=rows, eval_dataset=rows, callbacks=[make(source, rows), *breaks],
            optimizer_cls_and_kwargs=layerwise_optimizer(model, args, decay=0.5),
        )  # fmt: skip

    if is_broken:
        with pytest.raises(RuntimeError, match="broken"):
            find_learning_rate(make_trainer, steps=5)
    else:
        find_learning_rate(make_trainer, steps=5)
    assert term_cases.num_hooks(model) == 0
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert {n: m.training for n, m in model.named_modules()} == modes
    assert not [m for m in model.modules() if "train" in vars(m)]
    handle.remove()  # a hook of somebody else's stays one that its handle takes off
    seen.clear()
    model(**term_cases.batch_of(rows))
    assert not seen
    term_cases.assert_same_state(term_cases.state_of(model), before)
