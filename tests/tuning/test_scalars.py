"""Named scalars reach log_history, TensorBoard and the console, averaged over steps and processes."""

import copy
import json

import pytest
import torch
from torch import nn
from transformers import Trainer, TrainerCallback

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.scalars import LogScalars, ScalarCallback, record_scalars, take_scalars


class Recorder(nn.Module):
    """Hands in the mean of its input, and every other time a second name."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 1)
        self.calls = 0

    def forward(self, x, labels=None):
        self.calls += self.training
        record_scalars(self, {"input_mean": x.mean()})
        if self.calls % 2 == 0:
            record_scalars(self, {"even": self.calls})
        loss = ((self.head(x).squeeze(-1) - labels) ** 2).mean()
        return {"loss": loss, "logits": self.head(x)}


class Seven(ScalarCallback):
    def scalars(self, model):
        return {"seven": torch.tensor(7.0)}


class Eight(ScalarCallback):
    def scalars(self, model):
        return {"eight": 8}


ROWS = [{"x": torch.tensor([float(i), float(i)]), "labels": torch.tensor(0.0)} for i in range(12)]


class InOrder(Trainer):
    def _get_train_sampler(self, *args, **kwargs):
        return torch.utils.data.SequentialSampler(self.train_dataset)


@pytest.fixture
def make_trainer(training_arguments):
    def make(*callbacks, **settings):
        given = {"per_device_train_batch_size": 2, "logging_steps": 3, "max_steps": 6, "learning_rate": 0.0}
        args = training_arguments(**{**given, **settings})
        return InOrder(Recorder(), args, train_dataset=ROWS, eval_dataset=ROWS, callbacks=list(callbacks))

    return make


def training_logs(trainer):
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def test_log_history_holds_the_mean_over_the_steps_since_the_last_log(make_trainer):
    trainer = make_trainer(LogScalars(), Seven())
    trainer.train()
    first, second = training_logs(trainer)
    assert first["input_mean"] == pytest.approx(sum(range(6)) / 6)
    assert second["input_mean"] == pytest.approx(sum(range(6, 12)) / 6)
    assert first["even"] == 2  # handed in once in steps 1 to 3
    assert second["even"] == 5  # 4 and 6
    assert first["seven"] == second["seven"] == 7.0
    assert first["step"] == 3


def test_evaluation_neither_records_nor_logs(make_trainer):
    trainer = make_trainer(LogScalars(), eval_strategy="steps", eval_steps=1)
    trainer.train()
    assert training_logs(trainer)[0]["input_mean"] == pytest.approx(2.5)
    evaluations = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(evaluations) == 6
    assert not any("input_mean" in entry for entry in evaluations)


def test_tensorboard_gets_the_scalars(make_trainer, tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer = make_trainer(LogScalars(), Seven(), report_to=["tensorboard"])
    trainer.train()
    (folder,) = (tmp_path / "run" / "runs").iterdir()
    events = event_accumulator.EventAccumulator(str(folder)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/input_mean")] == [(3, 2.5), (6, 8.5)]
    assert [event.value for event in events.Scalars("train/seven")] == [7.0, 7.0]


@pytest.mark.parametrize("disable_tqdm", [True, False])
def test_the_console_shows_the_scalars(make_trainer, capfd, disable_tqdm):
    make_trainer(LogScalars(), disable_tqdm=disable_tqdm).train()
    written = "".join(capfd.readouterr())
    assert "'input_mean': '2.5'" in written
    assert "'input_mean': '8.5'" in written


def test_a_callback_added_later_works_too_and_the_order_of_ours_stays(make_trainer):
    class Witness(TrainerCallback):
        seen = ()

        def on_log(self, args, state, control, logs=None, **kwargs):
            self.seen = (*self.seen, dict(logs))

        def on_step_begin(self, args, state, control, **kwargs):
            self.steps = getattr(self, "steps", 0) + 1

    witness, before = Witness(), Seven()
    trainer = make_trainer(witness, before)
    trainer.add_callback(Eight())
    trainer.train()
    assert [type(callback) for callback in trainer.callback_handler.callbacks[:2]] == [Seven, Eight]
    assert witness.steps == 6
    assert [entry["eight"] for entry in witness.seen if "loss" in entry] == [8.0, 8.0]


def test_moving_to_the_front_skips_and_repeats_nobody(make_trainer):
    calls = []

    class Counting(TrainerCallback):
        def __init__(self, name):
            self.name = name

        def on_train_begin(self, args, state, control, **kwargs):
            calls.append(self.name)

    trainer = make_trainer(Counting("a"), Counting("b"))
    trainer.add_callback(Seven())
    trainer.add_callback(Counting("c"))
    trainer.train()
    assert calls == ["a", "b", "c"]


def test_accumulation_counts_every_forward(make_trainer):
    trainer = make_trainer(LogScalars(), per_device_train_batch_size=1, gradient_accumulation_steps=2)
    trainer.train()
    assert training_logs(trainer)[0]["input_mean"] == pytest.approx(2.5)


def test_a_name_of_trainers_own_is_refused():
    with pytest.raises(SettingsError, match="'learning_rate' is logged by Trainer itself"):
        record_scalars(Recorder(), {"learning_rate": 1.0})


def test_two_callbacks_with_one_name_are_refused(make_trainer):
    class Again(Seven):
        pass

    with pytest.raises(SettingsError, match="Again logs seven"):
        make_trainer(Seven(), Again()).train()


def test_more_than_one_element_is_refused():
    with pytest.raises(SettingsError, match=r"'a' has shape \(2,\)"):
        record_scalars(Recorder(), {"a": torch.ones(2)})


def test_records_are_detached_and_no_part_of_the_state_dict():
    model = Recorder()
    keys = list(model.state_dict())
    value = model.head.weight.sum()
    record_scalars(model, {"weight": value})
    assert list(model.state_dict()) == keys
    twin = copy.deepcopy(model)
    assert take_scalars(nn.ModuleList([model])) == {"weight": (pytest.approx(value.item()), 1)}
    assert take_scalars(model) == {}
    assert take_scalars(twin) == {"weight": (pytest.approx(value.item()), 1)}


def test_recording_compiles_into_one_graph():
    class Plain(nn.Linear):
        def forward(self, x):
            record_scalars(self, {"input_mean": x.mean()})
            return super().forward(x)

    graphs = []

    def counting(graph, inputs):
        graphs.append(graph)
        return graph

    model = Plain(2, 1)
    compiled = torch.compile(model, backend=counting, fullgraph=True)
    for _ in range(2):
        for value in (1.0, 2.0, 3.0, 4.0):
            compiled(torch.full((2, 2), value))
        assert take_scalars(model) == {"input_mean": (10.0, 4)}
    assert len(graphs) <= 4


TWO_PROCESSES = """
import json, sys
import torch
from torch import nn
from transformers import Trainer, TrainingArguments
from hf_transfer_kit.tuning.scalars import LogScalars, ScalarCallback, record_scalars


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 1)

    def forward(self, x, labels=None):
        record_scalars(self, {"x": x.mean()})
        if x.mean() < 4:
            record_scalars(self, {"small": x.mean()})
        return {"loss": (self.head(x).squeeze(-1) - labels).pow(2).mean()}


class Rank(ScalarCallback):
    def scalars(self, model):
        rank = torch.distributed.get_rank()
        return {"rank": rank, **({"only_second": 5.0} if rank == 1 else {})}


rows = [{"x": torch.tensor([float(i)]), "labels": torch.tensor(0.0)} for i in range(8)]
args = TrainingArguments(
    sys.argv[1], use_cpu=True, ddp_backend="gloo", report_to=[], max_steps=2, logging_steps=2,
    per_device_train_batch_size=2, save_strategy="no", disable_tqdm=True,
)
trainer = Trainer(Model(), args, train_dataset=rows, callbacks=[LogScalars(), Rank()])
trainer.train()
with open(f"{sys.argv[1]}/log-{args.process_index}.json", "w") as file:
    json.dump(trainer.state.log_history, file)
"""


def test_two_processes_log_the_mean_over_both(two_processes, tmp_path):
    two_processes(TWO_PROCESSES, tmp_path)
    logs = [json.loads((tmp_path / f"log-{rank}.json").read_text())[0] for rank in (0, 1)]
    for log in logs:
        assert log["x"] == pytest.approx(3.5)  # 0 to 7 over two steps and two processes
        assert log["rank"] == 0.5
        assert log["only_second"] == 5.0
    assert logs[0].get("small") == logs[1].get("small")
