"""What is measured is what is saved is what is left: the average, and the run itself goes on as without it."""

import copy

import pytest
import small_net
import tiny
import torch
from safetensors.torch import load_file
from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator

from hf_transfer_kit import EMA, SWA, FreezeLayers, FreezeSchedule, replace_head
from hf_transfer_kit.adaptation import DomainAdversarialModel, DomainCollator, DomainPairs
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.tuning.averaging.averaged_weights import FILE
from hf_transfer_kit.tuning.averaging.means import warm_decay

MEANS = {"ema": lambda: EMA(0.6), "swa": lambda: SWA(0.4), "swa of every other": lambda: SWA(0.2, every=2)}


def pictures(count=12):
    noise = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    return [{"pixel_values": noise[i] + i % 3, "labels": i % 3} for i in range(count)]


def network(kind):
    """A network and rows: without BatchNorm, with it, with dropout."""
    torch.manual_seed(0)
    if kind == "net":
        return small_net.Net(), small_net.rows(12)
    if kind == "bert":
        model, inputs = tiny.TRANSFORMERS["bert"]()
        rows = [{**{name: value[i % 2] for name, value in inputs.items()}, "labels": i % 3} for i in range(12)]
        return model, rows
    return replace_head(tiny.TRANSFORMERS["resnet"]()[0], 3, seed=0), pictures()


def trainer_of(folder, kind, callbacks, *, steps=6, optimizer=None, **settings):
    model, rows = network(kind)
    given = {
        "max_steps": steps, "per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "learning_rate": 0.05,
        "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2, "report_to": [],
        "use_cpu": True, "disable_tqdm": True, "seed": 0,
    }  # fmt: skip
    args = TrainingArguments(str(folder), **{**given, **settings})
    return Trainer(model, args, train_dataset=rows, eval_dataset=rows[:7], callbacks=callbacks)


class Own(TrainerCallback):
    """The weights that every step leaves; stands before the average."""

    def __init__(self):
        self.steps = []

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.steps.append({name: value.detach().clone() for name, value in model.state_dict().items()})


class Measured(TrainerCallback):
    """The weights of every evaluation and of every checkpoint."""

    def __init__(self):
        self.evaluated, self.saved = {}, {}

    def on_evaluate(self, args, state, control, model=None, **kwargs):
        self.evaluated[state.global_step] = copy.deepcopy(model.state_dict())

    def on_save(self, args, state, control, model=None, **kwargs):
        self.saved[state.global_step] = copy.deepcopy(model.state_dict())


def assert_equal(one, two, **tolerance):
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], **(tolerance or {"rtol": 0, "atol": 0}), msg=name)


def expected_mean(name, steps, parameter):
    """The formula, slowly."""
    if name == "ema":
        mean = steps[0][parameter]
        for number, step in enumerate(steps[1:], 2):
            decay = warm_decay(number, 0.6)
            mean = decay * mean + (1 - decay) * step[parameter]
        return mean
    start, every = {"swa": (0.4, 1), "swa of every other": (0.2, 2)}[name]
    late = [n for n in range(1, 7) if n > int(start * 6) and ((n - 1 - int(start * 6)) % every == 0 or n == 6)]
    chosen = [steps[number - 1][parameter] for number in late if number <= len(steps)]
    return torch.stack(chosen).mean(0) if chosen else steps[-1][parameter]


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("kind", ["net", "resnet", "bert"])
def test_evaluations_checkpoints_and_the_end_are_of_the_mean_and_the_run_does_not_notice(name, kind, tmp_path):
    plain, own, measured = Own(), Own(), Measured()
    trainer_of(tmp_path / "plain", kind, [plain]).train()
    trainer = trainer_of(tmp_path / "averaged", kind, [own, MEANS[name](), measured])
    trainer.train()
    for one, two in zip(plain.steps, own.steps, strict=True):
        assert_equal(one, two)
    parameters = [name for name, _ in trainer.model.named_parameters()]
    assert measured.evaluated.keys() == measured.saved.keys() == {2, 4, 6}
    for step, state in measured.evaluated.items():
        assert_equal(state, measured.saved[step])
        stored = load_file(tmp_path / "averaged" / f"checkpoint-{step}" / "model.safetensors")
        assert_equal(stored, {key: state[key] for key in stored})
        for parameter in parameters:
            torch.testing.assert_close(state[parameter], expected_mean(name, own.steps[:step], parameter))
    assert_equal(trainer.model.state_dict(), measured.evaluated[6])
    again = trainer.evaluate()
    assert again["eval_loss"] == [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry][-2]


def test_without_an_evaluation_at_the_end_the_mean_is_left(tmp_path):
    own = Own()
    trainer = trainer_of(tmp_path, "net", [own, EMA(0.6)], eval_strategy="no", save_strategy="no")
    trainer.train()
    for name, parameter in trainer.model.named_parameters():
        torch.testing.assert_close(parameter.data, expected_mean("ema", own.steps, name))
    before = small_net.weights(trainer.model)
    trainer.train()  # begins anew from what it has
    assert small_net.difference(before, small_net.weights(trainer.model)) > 0


@pytest.mark.parametrize("last", [6, 3])  # the third step is not evaluated
@pytest.mark.parametrize("kind", ["net", "resnet"])
def test_the_best_checkpoint_is_that_of_the_best_mean(kind, last, tmp_path):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step >= last

    measured = Measured()
    settings = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "learning_rate": 0.8}
    trainer = trainer_of(tmp_path, kind, [Stop(), EMA(0.6), measured], **settings)
    trainer.train()
    losses = {entry["step"]: entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry}
    best = min(losses, key=losses.get)
    assert_equal(trainer.model.state_dict(), measured.evaluated[best])
    assert trainer.evaluate()["eval_loss"] == pytest.approx(losses[best])


@pytest.mark.parametrize("by", ["epoch", "best"])
def test_at_the_end_of_an_epoch_and_for_the_best_alone_too(by, tmp_path):
    measured, own = Measured(), Own()
    settings = {"eval_strategy": "epoch", "save_strategy": by, "num_train_epochs": 2, "metric_for_best_model": "loss"}
    trainer = trainer_of(tmp_path, "resnet", [own, EMA(0.6), measured], steps=-1, **settings)
    trainer.train()
    assert measured.evaluated.keys() == {3, 6}
    for step, state in measured.evaluated.items():
        for name, _ in trainer.model.named_parameters():
            torch.testing.assert_close(state[name], expected_mean("ema", own.steps[:step], name))
    for step, state in measured.saved.items():
        assert_equal(state, measured.evaluated[step])


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("kind", ["net", "resnet", "bert"])
def test_a_resumed_run_is_an_uninterrupted_one(name, kind, tmp_path):
    own = Own()
    whole = trainer_of(tmp_path, kind, [own, MEANS[name]()], eval_on_start=True)
    whole.train()
    for step in (2, 4):
        rest = Own()
        resumed = trainer_of(tmp_path, kind, [rest, MEANS[name]()], eval_on_start=True)
        resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        for one, two in zip(own.steps[step:], rest.steps, strict=True):
            assert_equal(one, two)
        assert_equal(resumed.model.state_dict(), whole.model.state_dict())


def test_statistics_are_those_of_the_averaged_weights_on_training_rows(tmp_path):
    trainer = trainer_of(tmp_path, "resnet", [EMA(0.6, batch_size=6)])
    trainer.train()
    model, (_, rows) = trainer.model, network("resnet")
    norm = model.resnet.embedder.embedder.normalization
    inputs = []
    norm.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    model.eval()
    with torch.no_grad():
        for part in (rows[:6], rows[6:]):
            model(pixel_values=torch.stack([row["pixel_values"] for row in part]))
    means = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
    variances = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in inputs]).mean(0)
    torch.testing.assert_close(norm.running_mean, means)
    torch.testing.assert_close(norm.running_var, variances)


@pytest.mark.parametrize("frozen", ["for good", "at first"])
def test_frozen_statistics_stay(frozen, tmp_path):
    first = {
        "for good": FreezeLayers(first=2, quiet=True),
        "at first": FreezeSchedule([{"train": "head", "until": 0.4}, {"train": "all"}], quiet=True),
    }[frozen]
    measured = Measured()
    trainer = trainer_of(tmp_path, "resnet", [first, EMA(0.6), measured])
    before = copy.deepcopy(trainer.model.state_dict())
    trainer.train()
    name = "resnet.embedder.embedder.normalization.running_mean"
    assert torch.equal(measured.evaluated[2][name], before[name])
    assert torch.equal(measured.evaluated[6][name], before[name]) is (frozen == "for good")


@pytest.mark.parametrize("name", ["ema", "swa"])
def test_a_step_that_the_scaler_left_out_is_none(name, tmp_path):
    own = Own()
    trainer = trainer_of(tmp_path, "net", [own, {"ema": EMA(0.6), "swa": SWA(0)}[name]], save_strategy="no")
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    calls = []

    def overflow(model):
        calls.append(1)
        return model.head.weight.sum() * (torch.inf if len(calls) in (3, 4) else 0.0)

    trainer.model.penalised = overflow
    trainer.train()
    for parameter, value in trainer.model.named_parameters():
        assert torch.equal(own.steps[1][parameter], own.steps[3][parameter])
        steps = [own.steps[i][parameter] for i in (0, 1, 4, 5)]
        if name == "swa":
            expected = torch.stack(steps).mean(0)
        else:
            expected = steps[0]
            for number, step in zip((2, 5, 6), steps[1:], strict=True):
                decay = warm_decay(number, 0.6)
                expected = decay * expected + (1 - decay) * step
        torch.testing.assert_close(value.data, expected)


def test_an_interrupted_run_leaves_its_own_weights(tmp_path):
    class Stop(TrainerCallback):
        def on_evaluate(self, args, state, control, **kwargs):
            if state.global_step == 4:
                raise KeyboardInterrupt

    own = Own()
    trainer = trainer_of(tmp_path, "resnet", [own, EMA(0.6), Stop()])
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert_equal(trainer.model.state_dict(), own.steps[3])


def test_what_would_be_measured_without_the_mean_is_refused(tmp_path):
    class Late(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_evaluate = state.global_step == 3
            return control

    with pytest.raises(SettingsError, match="Give EMA to the Trainer last"):
        trainer_of(tmp_path, "net", [EMA(), Late()]).train()
    trainer_of(tmp_path, "net", [Late(), EMA()]).train()


def test_two_averages_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="EMA and SWA both put averaged weights"):
        trainer_of(tmp_path, "net", [EMA(), SWA()]).train()


def test_a_stream_has_no_rows_to_gather_statistics_on(tmp_path):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(pictures())

    trainer = trainer_of(tmp_path, "resnet", [EMA()])
    trainer.train_dataset = Stream()
    with pytest.raises(DataError, match="rows are asked for by number"):
        trainer.train()


def test_statistics_of_several_domains_are_refused(tmp_path):
    trainer = trainer_of(tmp_path, "resnet", [EMA()], remove_unused_columns=False)
    model = DomainAdversarialModel.from_classifier(trainer.model, method="dann")
    rows = pictures()
    domains = Trainer(
        model, trainer.args, train_dataset=DomainPairs(rows, rows), eval_dataset=rows,
        data_collator=DomainCollator(default_data_collator), callbacks=[EMA()],
    )  # fmt: skip
    with pytest.raises(SettingsError, match="statistics of several domains, which EMA cannot gather"):
        domains.train()


def test_without_its_file_a_checkpoint_is_refused(tmp_path):
    trainer_of(tmp_path, "net", [EMA()]).train()
    (tmp_path / "checkpoint-2" / FILE).unlink()
    with pytest.raises(SettingsError, match="EMA resumes at step 2, and no averaged_weights"):
        trainer_of(tmp_path, "net", [EMA()]).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


@pytest.mark.parametrize(
    "make",
    [lambda: EMA(1.0), lambda: EMA(-0.1), lambda: SWA(1.0), lambda: SWA(every=0), lambda: EMA(max_rows=1)],
)
def test_arguments_out_of_range_are_sentences(make):
    with pytest.raises(SettingsError, match="give a "):
        make()
