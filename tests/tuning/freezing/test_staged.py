"""Schedules of stages through the stock Trainer: exact where frozen, after a kill, and in two processes."""

import json
from pathlib import Path

import processes
import pytest
import tiny
import torch
from snapshots import Snapshots, inside, labelled_rows, moved, snapshot
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit import FreezeLayers, FreezeSchedule, GradualUnfreezing, layer_groups, layerwise_optimizer
from hf_transfer_kit.errors import SettingsError


def wav2vec2():
    """Without dropping whole layers, which transformers cannot do under a weighted sum over them."""
    model, inputs = tiny.TRANSFORMERS["wav2vec2"]()
    model.config.layerdrop = 0.0
    return model, inputs


FAMILIES = {**{name: tiny.TRANSFORMERS[name] for name in ("resnet", "vit", "bert")}, "wav2vec2": wav2vec2}
OPTIMIZERS = {
    "adamw": (torch.optim.AdamW, {"lr": 1e-3}),
    "momentum": (torch.optim.SGD, {"lr": 1e-2, "momentum": 0.9}),
}


@pytest.fixture
def make_trainer(training_arguments):
    def make(model, inputs, *callbacks, optimizer=None, **settings):
        given = {"per_device_train_batch_size": 4, "max_steps": 10, "weight_decay": 0.1, "learning_rate": 1e-2}
        args = training_arguments(**{**given, **settings})
        rows = labelled_rows(inputs)
        return Trainer(
            model,
            args,
            train_dataset=rows,
            eval_dataset=rows,
            callbacks=list(callbacks),
            optimizer_cls_and_kwargs=optimizer,
        )

    return make


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_for_50_steps_is_bit_identical_and_moves_after_its_stage(make_trainer, family, optimizer):
    model, inputs = FAMILIES[family]()
    groups = layer_groups(model)
    cls, kwargs = OPTIMIZERS[optimizer]
    schedule = GradualUnfreezing(every="50 steps", groups_per_stage=len(groups.body), quiet=True)
    watch, before = Snapshots(), snapshot(model)
    make_trainer(model, inputs, schedule, watch, optimizer=(cls, dict(kwargs)), max_steps=55).train()
    body = {name for group in groups.body for name in group.parameters}
    body |= inside(set(dict(model.named_buffers())), [name for group in groups.body for name in group.modules])
    assert all(torch.equal(watch.after[50][name], before[name]) for name in body)
    assert any(not torch.equal(watch.after[50][name], before[name]) for name in groups.head.parameters)
    changed = moved(before, model)
    for group in groups.body:
        assert changed & set(group.parameters), group.name
    assert {name for name in body if name.endswith(("running_mean", "running_var"))} <= changed


def test_what_thawed_before_and_refroze_stays_although_the_optimizer_is_warm(make_trainer):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    watch = Snapshots()
    stages = [{"train": "all", "until": 0.5}, {"train": "head"}]
    make_trainer(model, inputs, FreezeSchedule(stages, quiet=True), watch).train()
    body = {name for group in layer_groups(model).body for name in group.parameters}
    assert all(torch.equal(watch.after[5][name], watch.after[10][name]) for name in body)
    assert not torch.equal(watch.after[1]["bert.pooler.dense.weight"], watch.after[5]["bert.pooler.dense.weight"])
    assert not torch.equal(watch.after[5]["classifier.weight"], watch.after[10]["classifier.weight"])


def test_stage_and_share_reach_log_history(make_trainer):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    trainer = make_trainer(model, inputs, GradualUnfreezing(every="2 steps", quiet=True))
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["freezing_stage"] for entry in logs] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert [round(entry["trainable_share"] * 1907) for entry in logs] == [27] * 2 + [99] * 2 + [699] * 2 + [
        1299
    ] * 2 + [1907] * 2


def test_the_schedule_is_undone_after_training(make_trainer):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    make_trainer(model, inputs, GradualUnfreezing(every=1.0, quiet=True)).train()
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.train().modules())


def test_the_optimizer_holds_everything_from_the_start_but_has_no_state_for_what_never_thawed(make_trainer):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    trainer = make_trainer(model, inputs, GradualUnfreezing(every="2 steps", keep_frozen=2, quiet=True))
    trainer.train()
    held = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()}
    state = trainer.optimizer.optimizer.state
    assert not any(p in state for group in layer_groups(model)[:2] for p in group.parameters.values())


@pytest.mark.parametrize("scheduler", ["linear", "cosine"])
def test_learning_rates_follow_the_scheduler_whatever_the_stage(make_trainer, scheduler):
    rates = []
    stages = [{"train": "head", "until": 0.3}, {"train": "all", "rates": {"body": 0.1}, "until": 0.6}, {"train": "all"}]
    for callbacks in ([], [GradualUnfreezing(every="2 steps", quiet=True)], [FreezeSchedule(stages, quiet=True)]):
        model, inputs = tiny.TRANSFORMERS["bert"]()
        trainer = make_trainer(model, inputs, *callbacks, lr_scheduler_type=scheduler, warmup_steps=2)
        trainer.train()
        rates.append([entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry])
    assert rates[0] == rates[1] == rates[2]
    assert len(set(rates[0])) > 5


def test_layerwise_rates_static_and_gradual_freezing_together_in_any_order(make_trainer):
    results = []
    for order in (0, 1):
        torch.manual_seed(0)
        model, inputs = tiny.TRANSFORMERS["bert"]()
        before = snapshot(model)
        args = make_trainer(model, inputs).args
        callbacks = [FreezeLayers(first=2, quiet=True), GradualUnfreezing(every="2 steps", quiet=True)]
        watch = Snapshots()
        pair = layerwise_optimizer(model, args, decay=0.5)
        trainer = make_trainer(model, inputs, *callbacks[:: 1 - 2 * order], watch, optimizer=pair)
        trainer.train()
        static = {name for group in layer_groups(model)[:2] for name in group.parameters}
        assert moved(before, model).isdisjoint(static)
        assert not any(name in watch.trainable[step] for name in static for step in watch.trainable)
        assert [len(watch.trainable[step]) for step in (1, 3, 5, 7)] == [2, 4, 20, 20]
        assert not any(parameter.requires_grad for name, parameter in model.named_parameters() if name in static)
        results.append(snapshot(model))
    assert all(torch.equal(results[0][name], value) for name, value in results[1].items())


def test_rates_of_a_stage_multiply_the_step_exactly(make_trainer):
    """One step of SGD moves weights by rate x factor x gradient: twice the rate, twice the way."""
    ways = []
    for factor in (1, 2):
        torch.manual_seed(0)
        model, inputs = tiny.TRANSFORMERS["bert"]()
        model.double().eval()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        before = snapshot(model)
        schedule = FreezeSchedule([{"train": "all", "rates": {"body": factor, "head": 3 * factor}}], quiet=True)
        optimizer = (torch.optim.SGD, {"lr": 0.5})
        make_trainer(
            model, inputs, schedule, optimizer=optimizer, max_steps=1, max_grad_norm=0, weight_decay=0.0
        ).train()
        after = snapshot(model)
        ways.append({name: after[name] - before[name] for name, _ in model.named_parameters()})
    for name, way in ways[0].items():
        assert torch.allclose(2 * way, ways[1][name], rtol=0, atol=1e-15), name
    assert ways[0]["classifier.weight"].abs().max() > 0


def test_rates_of_a_stage_are_off_the_optimizer_after_training(make_trainer):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    trainer = make_trainer(model, inputs, FreezeSchedule.lp_ft(full_rate=0.1, quiet=True))
    trainer.train()
    optimizer = trainer.optimizer.optimizer
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_interrupted_and_started_again_it_begins_from_the_start(make_trainer):
    class Stop(Snapshots):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3 and not self.after:
                self.after[0] = {}
                raise KeyboardInterrupt

    model, inputs = tiny.TRANSFORMERS["bert"]()
    trainer = make_trainer(model, inputs, GradualUnfreezing(every="5 steps", quiet=True), Stop())
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert all(parameter.requires_grad for parameter in model.parameters())
    trainer.train()
    assert all(parameter.requires_grad for parameter in model.parameters())
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["freezing_stage"] for entry in logs] == [0] * 5 + [1] * 5


def test_a_new_trainer_after_an_interrupted_one_trains_everything(make_trainer):
    class Stop(Snapshots):
        def on_step_end(self, args, state, control, **kwargs):
            raise KeyboardInterrupt

    model, inputs = tiny.TRANSFORMERS["bert"]()
    with pytest.raises(KeyboardInterrupt):
        make_trainer(model, inputs, GradualUnfreezing(every="2 steps", quiet=True), Stop()).train()
    before = snapshot(model)
    make_trainer(model, inputs, FreezeSchedule.lp_ft(quiet=True)).train()
    assert all(moved(before, model) & set(group.parameters) for group in layer_groups(model))


def test_two_schedules_are_refused(make_trainer):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    trainer = make_trainer(model, inputs, GradualUnfreezing(every=0.5), FreezeSchedule.lp_ft())
    with pytest.raises(SettingsError, match="GradualUnfreezing and FreezeSchedule both schedule what is trained"):
        trainer.train()


def test_a_schedule_needs_its_parameters_in_the_optimizer(make_trainer):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    model.bert.pooler.requires_grad_(False)
    trainer = make_trainer(model, inputs, GradualUnfreezing(every=0.5, quiet=True))
    trainer.create_optimizer()
    model.bert.pooler.requires_grad_(True)
    with pytest.raises(SettingsError, match=r"does not hold \(bert.pooler.dense.weight, bert.pooler.dense.bias\)"):
        trainer.train()


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step


def test_a_stage_of_which_all_was_frozen_before_is_refused(make_trainer):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    schedule = FreezeSchedule([{"train": 0, "until": 0.5}, {"train": "all"}])
    trainer = make_trainer(model, inputs, FreezeLayers(first=1, quiet=True), schedule)
    with pytest.raises(SettingsError, match=r"stage 0 \(0\) trains nothing"):
        trainer.train()


def test_unreached_stages_are_told(make_trainer, said):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    make_trainer(model, inputs, GradualUnfreezing(every="8 steps", quiet=True)).train()
    assert "training ends after 10 steps, but stage 2 (+ encoder.layer.1) begins at step 16" in said()


def test_layers_that_no_stage_reached_are_told_at_the_end(make_trainer, said):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    schedule = GradualUnfreezing(every="4 steps", quiet=True)
    make_trainer(model, inputs, schedule, StopAt(5)).train()
    told = said()
    assert "ended in stage 1 of 0 to 4, which has not trained embeddings, encoder.layer.0, encoder.layer.1" in told
    make_trainer(model, inputs, GradualUnfreezing(quiet=True)).train()
    assert "which has not trained" not in said()


def test_a_longer_run_that_falls_back_to_an_earlier_stage_says_so(make_trainer, said, tmp_path):
    def train(steps, checkpoint=None, **how):
        model, inputs = tiny.TRANSFORMERS["bert"]()
        settings = {"max_steps": steps, "save_strategy": "steps", "save_steps": 5, "output_dir": str(tmp_path)}
        make_trainer(model, inputs, GradualUnfreezing(quiet=True, **how), **settings).train(checkpoint)
        return said()

    for how, falls in (({}, True), ({"every": "1 steps"}, False)):
        train(10, **how)
        assert (
            "resumed at step 5 in stage 1, and stage 2 had been reached" in train(20, tmp_path / "checkpoint-5", **how)
        ) is falls


def test_affine_only_trains_the_affine_parameters_in_every_stage(make_trainer):
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    before = snapshot(model)
    watch = Snapshots()
    schedule = GradualUnfreezing(every="5 steps", batch_norm="affine_only", quiet=True)
    make_trainer(model, inputs, schedule, watch, max_steps=5).train()
    norms = {name for name, module in model.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    changed = {name for name in before if not torch.equal(before[name], watch.after[5][name])}
    assert changed == {f"{n}.{p}" for n in norms for p in ("weight", "bias")} | {
        "classifier.1.weight",
        "classifier.1.bias",
    }


@pytest.fixture
def lora():
    peft = pytest.importorskip("peft")
    model, inputs = tiny.TRANSFORMERS["bert"]()
    return peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", r=2, init_lora_weights=False)), inputs


def adapters_and_base(model):
    adapters = {name for name in snapshot(model) if ".lora_" in name or ".modules_to_save." in name}
    return adapters, set(snapshot(model)) - adapters


@pytest.mark.parametrize(
    "callbacks",
    [
        lambda: [FreezeLayers(all_but_head=True, quiet=True)],
        lambda: [GradualUnfreezing(every="2 steps", quiet=True)],
        lambda: [GradualUnfreezing(every="2 steps", adapters="staged", quiet=True)],
        lambda: [FreezeLayers(first=2, quiet=True), GradualUnfreezing(every="2 steps", quiet=True)],
    ],
)
def test_in_a_peft_model_adapters_and_head_are_trained_and_the_base_stays(make_trainer, lora, callbacks):
    model, inputs = lora
    before = snapshot(model)
    make_trainer(model, inputs, *callbacks()).train()
    adapters, base = adapters_and_base(model)
    changed = moved(before, model)
    assert changed == adapters
    assert changed.isdisjoint(base)


@pytest.mark.parametrize(("adapters", "counts"), [("trained", [10, 10, 10, 10]), ("staged", [2, 2, 6, 10])])
def test_adapters_are_trained_throughout_or_thaw_with_their_layers(make_trainer, lora, adapters, counts, said):
    model, inputs = lora
    watch = Snapshots()
    make_trainer(model, inputs, GradualUnfreezing(every="2 steps", adapters=adapters, quiet=True), watch).train()
    assert [len(watch.trainable[step]) for step in (1, 3, 5, 7)] == counts
    assert ("Set adapters='staged' to thaw adapters" in said()) is (adapters == "trained")


def test_lora_dropout_goes_on_in_a_frozen_layer(lora):
    model, _ = lora
    FreezeLayers(all_but_head=True).apply(model)
    model.train()
    query = model.base_model.model.bert.encoder.layer[0].attention.self.query
    assert query.lora_dropout["default"].training
    assert not model.base_model.model.bert.encoder.layer[0].output.dropout.training


KILLED = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[1])
folder = sys.argv[2]
import tiny, torch
from snapshots import labelled_rows
from transformers import Trainer, TrainerCallback, TrainingArguments
from hf_transfer_kit import FreezeSchedule, GradualUnfreezing

SCHEDULES = {
    "gradual": lambda: GradualUnfreezing(every="4 steps", groups_per_stage=2, quiet=True),
    "rates": lambda: FreezeSchedule(
        [{"train": "head", "until": "4 steps"}, {"train": ["head", "pooler"], "until": "8 steps", "rates": {"pooler": 0.1}},
         {"train": "all", "rates": {"body": 0.01, "head": 0.5}}], quiet=True),
    "plateau": lambda: GradualUnfreezing(on_plateau=("eval_loss", 2), groups_per_stage=2, quiet=True),
}


class Kill(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def train(schedule, name, *callbacks, resume=False):
    torch.manual_seed(0)
    model, inputs = tiny.TRANSFORMERS["bert"]()
    args = TrainingArguments(
        f"{folder}/{name}", use_cpu=True, report_to=[], disable_tqdm=True, max_steps=12, logging_steps=1, seed=0,
        per_device_train_batch_size=2, gradient_accumulation_steps=2, learning_rate=0.5 if schedule == "plateau" else 1e-2,
        weight_decay=0.1, warmup_steps=2, save_steps=3, eval_steps=1,
        eval_strategy="steps" if schedule == "plateau" else "no", max_grad_norm=0.5,
    )
    rows = labelled_rows(inputs)
    trainer = Trainer(model, args, train_dataset=rows, eval_dataset=rows, callbacks=[SCHEDULES[schedule](), *callbacks])
    trainer.train(resume_from_checkpoint=resume)
    stages = [entry["freezing_stage"] for entry in trainer.state.log_history if "loss" in entry]
    torch.save([model.state_dict(), trainer.optimizer.state_dict(), trainer.lr_scheduler.state_dict(), stages], f"{folder}/{name}.pt")


def child(*args, **kwargs):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            train(*args, **kwargs)
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def differences(a, b):
    if isinstance(a, torch.Tensor):
        return int(not torch.equal(a, b))
    if isinstance(a, dict):
        return 1 if set(a) != set(b) else sum(differences(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return 1 if len(a) != len(b) else sum(map(differences, a, b))
    return int(a != b)


report = {}
for schedule in SCHEDULES:
    assert child(schedule, schedule) == 0
    whole = torch.load(f"{folder}/{schedule}.pt", weights_only=False)
    stages = whole[3]
    report[schedule] = {"stages": stages, "kills": {}}
    first = {stage: stages.index(stage) + 1 for stage in dict.fromkeys(stages)}
    for stage, begin in first.items():
        inside = [step for step in range(begin, 13) if stages[step - 1] == stage and step > 3]
        step = inside[-1] if len(inside) > 1 else inside[0]
        status = child(schedule, f"{schedule}-{step}", Kill(step))
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert child(schedule, f"{schedule}-{step}", resume=True) == 0
        again = torch.load(f"{folder}/{schedule}-{step}.pt", weights_only=False)
        report[schedule]["kills"][step] = [differences(a, b) for a, b in zip(whole, again)]
json.dump(report, open(f"{folder}/report.json", "w"))
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """For each schedule: the stages of the whole run, and step of a kill -> differences after the resumed run."""
    folder = tmp_path_factory.mktemp("killed")
    done = processes.run(["-c", KILLED, Path(__file__).parents[2], folder], timeout=240)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((folder / "report.json").read_text())


@pytest.mark.parametrize("schedule", ["gradual", "rates", "plateau"])
def test_killed_in_any_stage_and_resumed_equals_the_whole_run_bit_for_bit(killed, schedule):
    run = killed[schedule]
    assert len(set(run["stages"])) == 3
    assert len(run["kills"]) == 3
    for step, differences in run["kills"].items():
        assert differences == [0, 0, 0, 0], f"killed at step {step}"


DISTRIBUTED = """
import os, sys
sys.path[:0] = sys.argv[1].split(":")
folder = sys.argv[2]
import torch
from test_staged import train_in_double
for name in ("gradual", "rates"):
    for accumulation in (1, 2):
        model, trainer = train_in_double(name, accumulation, f"{folder}/two", rows=2)
        rank = int(os.environ["RANK"])
        assert type(trainer.model_wrapped).__name__ == "DistributedDataParallel"
        torch.save([model.state_dict(), trainer.state.log_history], f"{folder}/{name}-{accumulation}-{rank}.pt")
torch.distributed.barrier()
os._exit(0)  # taking gloo's threads down now and then aborts
"""


def train_in_double(name, accumulation, folder, *, rows):
    """A BERT in float64 without dropout through all stages, ``rows`` rows a process and forward, clipped."""
    torch.manual_seed(0)
    model, inputs = tiny.TRANSFORMERS["bert"]()
    model.double()
    model.accepts_loss_kwargs = False  # else Trainer multiplies a mean loss by the number of processes
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    schedule = {
        "gradual": lambda: GradualUnfreezing(every="2 steps", quiet=True),
        "rates": lambda: FreezeSchedule(
            [
                {"train": "head", "until": 0.3},
                {"train": "all", "rates": {"body": 0.1}, "until": 0.6},
                {"train": ["head", -2]},
            ],
            quiet=True,
        ),
    }[name]()
    args = TrainingArguments(
        folder,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        max_steps=10,
        logging_steps=1,
        save_strategy="no",
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=accumulation,
        learning_rate=1e-2,
        weight_decay=0.1,
        max_grad_norm=0.1,
        **({"ddp_backend": "gloo"} if rows == 2 else {}),
    )
    trainer = Trainer(model, args, train_dataset=labelled_rows(inputs, count=16), callbacks=[schedule])
    trainer.train()
    return model, trainer


def test_two_processes_equal_one_through_all_stages(two_processes, tmp_path):
    here = Path(__file__).parent
    two_processes(DISTRIBUTED, f"{here.parents[1]}:{here}", tmp_path)
    for name in ("gradual", "rates"):
        for accumulation in (1, 2):
            model, trainer = train_in_double(name, accumulation, str(tmp_path / "one"), rows=4)
            saved = [torch.load(tmp_path / f"{name}-{accumulation}-{rank}.pt") for rank in (0, 1)]
            one = model.state_dict()
            assert all(torch.equal(saved[0][0][key], saved[1][0][key]) for key in one)
            apart = max((saved[0][0][key] - one[key]).abs().max().item() for key in one)
            losses = [
                [entry["loss"] for entry in log if "loss" in entry] for log in (saved[0][1], trainer.state.log_history)
            ]
            loss_apart = max(abs(a - b) for a, b in zip(*losses, strict=True))
            print(name, accumulation, "weights", apart, "losses", loss_apart)
            assert apart <= 1e-12
            assert loss_apart <= 1e-6
            assert all(entry["grad_norm"] > 0.1 for entry in trainer.state.log_history if "loss" in entry)
