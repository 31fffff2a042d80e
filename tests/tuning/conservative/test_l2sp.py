"""L2-SP equals the penalty in the loss, its decoupled form its closed form, in every kind of training."""

import copy
import inspect
import json
import os
import signal

import processes
import pytest
import torch
from small_net import Net, difference, rows, weights
from tiny import TRANSFORMERS
from torch import nn
from torch.distributed.tensor import distribute_tensor
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.conservative.l2sp import L2SP
from hf_transfer_kit.tuning.freezing.freeze_layers import FreezeLayers
from hf_transfer_kit.tuning.rates import layerwise_optimizer

ALPHA, BETA = 0.3, 0.2


def autograd_penalty(w0, alpha=ALPHA, beta=BETA):
    def penalty(model):
        held = sum((p - w0[n]).square().sum() for n, p in model.named_parameters() if n.startswith("body"))
        return alpha / 2 * held + beta / 2 * sum(p.square().sum() for p in model.head.parameters())

    return penalty


class PenaltyAfterClipping(TrainerCallback):
    """The slow reading of clipped=False: autograd's gradient of the penalty, added after Trainer has clipped."""

    def __init__(self, penalty):
        self.penalty = penalty

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        parameters = list(model.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(self.penalty(model), parameters), strict=True):
            parameter.grad += gradient


OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
}


@pytest.fixture
def fit(training_arguments):
    def make(model, *callbacks, optimizer="sgd", accumulation=1, clip=0.0, steps=6, resume=None, **settings):
        given = {"max_steps": steps, "gradient_accumulation_steps": accumulation, "max_grad_norm": clip}
        args = training_arguments(**{"per_device_train_batch_size": 4, **given, **settings})
        trainer = Trainer(
            model,
            args,
            train_dataset=rows(),
            callbacks=list(callbacks),
            optimizer_cls_and_kwargs=OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer,
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    return make


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("clipping", ["off", "before", "after"])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_it_equals_the_penalty_in_the_loss(fit, accumulation, clipping, optimizer):
    clip = 0.0 if clipping == "off" else 0.1
    ours, theirs = Net(), Net()
    penalty = autograd_penalty(weights(theirs))
    trainer = fit(
        ours, L2SP(ALPHA, BETA, clipped=clipping == "before"), optimizer=optimizer, accumulation=accumulation, clip=clip
    )
    if clipping == "after":
        reference = fit(
            theirs, PenaltyAfterClipping(penalty), optimizer=optimizer, accumulation=accumulation, clip=clip
        )
    else:
        theirs.penalised = penalty
        reference = fit(theirs, optimizer=optimizer, accumulation=accumulation, clip=clip)
    assert difference(weights(ours), weights(theirs)) < 1e-12
    assert difference(weights(ours), weights(Net())) > 1e-2
    assert trainer.args.max_grad_norm == clip
    if clipping != "off":
        norms = [[log["grad_norm"] for log in t.state.log_history if "loss" in log] for t in (trainer, reference)]
        assert norms[0] == pytest.approx(norms[1], rel=1e-12)
        assert min(norms[0]) > clip


class Calling(torch.optim.SGD):
    """Its step calls that of its parent, which torch has hooked as well once a plain SGD was made."""

    def step(self, closure=None):
        return super().step(closure)


def test_an_optimizer_that_calls_its_parents_step_is_pulled_once(fit):
    ours, theirs = Net(), Net()
    torch.optim.SGD(ours.parameters(), lr=0.1)
    fit(ours, L2SP(ALPHA, BETA), optimizer=(Calling, {"lr": 0.05, "momentum": 0.9}))
    fit(theirs, L2SP(ALPHA, BETA), optimizer="sgd")
    assert difference(weights(ours), weights(theirs)) == 0.0


class MovesByItself(TrainerCallback):
    """The closed form of the decoupled step, parameter by parameter with its group's rate."""

    def __init__(self, w0):
        self.w0 = w0

    @torch.no_grad()
    def on_pre_optimizer_step(self, args, state, control, model=None, optimizer=None, **kwargs):
        names = {id(p): name for name, p in model.named_parameters()}
        for group in optimizer.param_groups:
            for p in group["params"]:
                name = names[id(p)]
                pull = ALPHA * (p - self.w0[name]) if name.startswith("body") else BETA * p
                p -= group["lr"] * pull


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_decoupled_form_equals_its_closed_form_with_a_rate_a_group(fit, training_arguments, optimizer):
    kind = "sgd" if optimizer == "sgd" else "adamw_torch"
    args = training_arguments(learning_rate=0.05, optim=kind, optim_args="momentum=0.9" if kind == "sgd" else None)
    ours, theirs = Net(), Net()
    rates = [layerwise_optimizer(model, args, decay=0.5, head=3.0) for model in (ours, theirs)]
    fit(ours, L2SP(ALPHA, BETA, decoupled=True), optimizer=rates[0], accumulation=2, clip=0.1)
    fit(theirs, MovesByItself(weights(theirs)), optimizer=rates[1], accumulation=2, clip=0.1)
    assert difference(weights(ours), weights(theirs)) < 1e-12
    assert difference(weights(ours), weights(Net())) > 1e-2


@pytest.mark.parametrize("words", [{}, {"decoupled": True}, {"norm": "group"}, {"norm": "l1"}])
def test_cutting_large_weights_into_parts_changes_nothing(fit, monkeypatch, words):
    whole, parts = Net(), Net()
    fit(whole, L2SP(ALPHA, BETA, **words))
    monkeypatch.setattr("hf_transfer_kit.tuning.conservative.anchor_penalty._AT_ONCE", {"cpu": 9})
    fit(parts, L2SP(ALPHA, BETA, **words))
    assert difference(weights(whole), weights(parts)) == 0


def test_other_strengths_for_groups(fit):
    ours, theirs = Net(), Net()
    w0 = weights(theirs)
    theirs.penalised = lambda model: (
        0.5 / 2 * (model.body[0].weight - w0["body.0.weight"]).square().sum()
        + 0.7 / 2 * (model.body[0].bias - w0["body.0.bias"]).square().sum()
        + ALPHA / 2 * sum((p - w0[f"body.2.{n}"]).square().sum() for n, p in model.body[2].named_parameters())
    )
    fit(ours, L2SP(ALPHA, BETA, groups={0: 0.5, "*.0.bias": 0.7, "head": 0.0}))
    fit(theirs)
    assert difference(weights(ours), weights(theirs)) < 1e-12


@pytest.mark.parametrize("norm", ["l1", "group"])
def test_other_norms_equal_the_penalty_in_the_loss(fit, norm):
    ours, theirs = Net(), Net()
    w0 = weights(theirs)

    def penalty(model):
        deltas = [p - w0[n] for n, p in model.named_parameters() if n.startswith("body")]
        if norm == "l1":
            return ALPHA * sum(d.abs().sum() for d in deltas)
        # The square root has no slope at 0; autograd's |d| has the slope 0 there, as ours.
        norms = [d.norm(dim=1) * d.shape[1] ** 0.5 if d.ndim > 1 else d.abs() for d in deltas]
        return ALPHA * sum(n.sum() for n in norms)

    theirs.penalised = penalty
    fit(ours, L2SP(ALPHA, 0.0, norm=norm, clipped=True), clip=0.1)
    fit(theirs, clip=0.1)
    assert difference(weights(ours), weights(theirs)) < 1e-12


def test_a_strong_decoupled_l1_keeps_the_body_where_it_was(fit):
    model = Net()
    before = weights(model)
    fit(model, L2SP(1e6, 0.0, norm="l1", decoupled=True), optimizer=(torch.optim.SGD, {"lr": 1e-3}), steps=4)
    # The proximal step precedes the optimizer's: what is left is the last step's own move.
    assert difference(weights(model), before) < 0.05


def test_frozen_weights_are_left_alone_and_later_thawed_ones_are_held(fit):
    class Thaw(TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **kwargs):
            model.body[0].requires_grad_(False)

        def on_step_begin(self, args, state, control, model=None, **kwargs):
            model.body[0].requires_grad_(state.global_step >= 3)

        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 3:
                self.after_three = weights(model)

    for clipped in (False, True):
        ours, theirs = Net(), Net()
        theirs.penalised = autograd_penalty(weights(theirs))
        thaw = Thaw()
        before = weights(ours)
        fit(ours, L2SP(ALPHA, BETA, clipped=clipped), thaw)
        fit(theirs, Thaw())
        assert torch.equal(thaw.after_three["body.0.weight"], before["body.0.weight"])
        assert not torch.equal(ours.body[0].weight, before["body.0.weight"])
        assert difference(weights(ours), weights(theirs)) < 1e-12


def test_beside_static_freezing_nothing_is_copied_for_frozen_weights(fit):
    model = Net()
    before = weights(model)
    l2sp = L2SP(ALPHA, BETA, log_distances=True)
    trainer = fit(model, FreezeLayers(names="body.0.*", quiet=True), l2sp)
    assert torch.equal(model.body[0].weight, before["body.0.weight"])
    log = trainer.state.log_history[0]
    assert "distance/body.2" in log
    assert "distance/body.0" not in log


def test_the_penalty_is_logged_and_the_distances_where_asked_for(fit):
    assert not any("distance" in key for entry in fit(Net(), L2SP()).state.log_history for key in entry)
    model = Net()
    w0 = weights(model)
    trainer = fit(model, L2SP(ALPHA, BETA, log_distances=True), FreezeLayers(names="body.2.bias", quiet=True))
    log = [entry for entry in trainer.state.log_history if "loss" in entry][-1]
    square = sum((p - w0[f"body.0.{n}"]).square().sum() for n, p in model.body[0].named_parameters())
    assert log["distance/body.0"] == pytest.approx(square.sqrt().item(), rel=1e-6)
    assert log["l2sp_penalty"] == pytest.approx(autograd_penalty(w0)(model).item(), rel=1e-6)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("decoupled", [False, True])
def test_a_grad_scaler_outside_trainer_changes_nothing(fused, decoupled):
    def train(scaled, overflow_at=None):
        model = Net(torch.float32)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=fused)
        l2sp = L2SP(ALPHA, BETA, decoupled=decoupled)
        l2sp.attach(model, optimizer)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
        data = rows(8)
        batch = {key: torch.stack([row[key] for row in data]) for key in data[0]}
        for step in range(4):
            scaler.scale(model(**batch)["loss"]).backward()
            if step == overflow_at:
                model.head.weight.grad[0, 0] = float("inf")
            before = weights(model)
            scaler.step(optimizer)
            scaler.update()
            if step == overflow_at:
                assert difference(before, weights(model)) == 0
            optimizer.zero_grad()
        l2sp.detach()
        return weights(model)

    assert difference(train(True), train(False)) < 1e-6
    train(True, overflow_at=2)


def test_bfloat16_weights_at_w0_feel_nothing(fit):
    model = Net(torch.bfloat16)
    before = weights(model)
    fit(model, L2SP(1e3, 0.0), optimizer=(torch.optim.SGD, {"lr": 1e-3}), steps=1)
    plain = Net(torch.bfloat16)
    fit(plain, optimizer=(torch.optim.SGD, {"lr": 1e-3}), steps=1)
    assert difference(weights(model), weights(plain)) == 0
    assert difference(weights(model), before) > 0


def test_a_second_training_holds_on_to_the_same_w0_and_one_hook(fit):
    model = Net()
    w0 = weights(model)
    trainer = fit(model, L2SP(ALPHA, BETA))
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "loss" in entry][-1]
    assert log["l2sp_penalty"] == pytest.approx(autograd_penalty(w0)(model).item(), rel=1e-6)
    assert len(trainer.optimizer.optimizer._optimizer_step_pre_hooks) == 0


class Interrupting(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize("clipped", [False, True])
def test_training_again_after_an_interruption_equals_training(fit, clipped):
    model, twin = Net(), Net()
    l2sp = L2SP(ALPHA, BETA, clipped=clipped)
    with pytest.raises(KeyboardInterrupt):
        fit(model, l2sp, Interrupting(), clip=0.1)
    model.load_state_dict(twin.state_dict())
    fit(model, l2sp, clip=0.1)
    fit(twin, L2SP(ALPHA, BETA, clipped=clipped), clip=0.1)
    assert difference(weights(model), weights(twin)) == 0


class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            os.kill(os.getpid(), signal.SIGKILL)


def train_to_the_end(folder, how, kill=False, resume=False):
    args = TrainingArguments(
        str(folder),
        use_cpu=True,
        report_to=[],
        max_steps=8,
        save_steps=2,
        logging_steps=1,
        disable_tqdm=True,
        per_device_train_batch_size=4,
        learning_rate=0.01,
        gradient_accumulation_steps=2,
        seed=3,
        restore_callback_states_from_checkpoint=how == "clipped, restored",
    )
    callbacks = [L2SP(ALPHA, BETA, clipped=how != "after"), *([Kill()] if kill else [])]
    trainer = Trainer(Net(torch.float32), args, train_dataset=rows(), callbacks=callbacks)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("how", ["after", "clipped, restored"])
def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path, how):
    here = os.path.dirname(__file__)
    script = (
        f"import sys; sys.path[:0] = [{here!r}, {os.path.dirname(os.path.dirname(here))!r}]\n"
        f"from test_l2sp import train_to_the_end\ntrain_to_the_end({str(tmp_path / 'killed')!r}, {how!r}, kill=True)"
    )
    done = processes.run(["-c", script], timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    resumed = train_to_the_end(tmp_path / "killed", how, resume=True)
    whole = train_to_the_end(tmp_path / "whole", how)
    assert difference(weights(resumed.model), weights(whole.model)) == 0
    values = [t.state.log_history[-2]["l2sp_penalty"] for t in (resumed, whole)]
    assert values[0] == values[1]


TWO_PROCESSES = """
import sys
sys.path[:0] = sys.argv[2:4]
import torch
from transformers import Trainer, TrainingArguments
from hf_transfer_kit.tuning.conservative.l2sp import L2SP
from small_net import Net, rows

for name, words in {"after": {}, "clipped": {"clipped": True}, "decoupled": {"decoupled": True}}.items():
    model = Net()
    args = TrainingArguments(sys.argv[1], use_cpu=True, ddp_backend="gloo", report_to=[], max_steps=6, max_grad_norm=0.1,
        per_device_train_batch_size=2, save_strategy="no", gradient_accumulation_steps=2, disable_tqdm=True,
        logging_steps=1, seed=0)
    trainer = Trainer(model, args, train_dataset=rows(), callbacks=[L2SP(0.3, 0.2, log_distances=True, **words)],
        optimizer_cls_and_kwargs=(torch.optim.AdamW, {"lr": 0.01}))
    trainer.train()
    torch.save([model.state_dict(), trainer.state.log_history], f"{sys.argv[1]}/{name}-{args.process_index}.pt")
"""


def test_two_processes_equal_one(two_processes, fit, tmp_path):
    here = os.path.dirname(__file__)
    two_processes(TWO_PROCESSES, tmp_path, here, os.path.dirname(os.path.dirname(here)))
    for name, words in {"after": {}, "clipped": {"clipped": True}, "decoupled": {"decoupled": True}}.items():
        model = Net()
        trainer = fit(
            model,
            L2SP(0.3, 0.2, log_distances=True, **words),
            optimizer=(torch.optim.AdamW, {"lr": 0.01}),
            accumulation=2,
            clip=0.1,
        )
        states = [torch.load(tmp_path / f"{name}-{rank}.pt") for rank in (0, 1)]
        for state, log in states:
            assert difference(weights(model), state) < 1e-9
            for ours, theirs in zip(trainer.state.log_history[:-1], log[:-1], strict=True):
                for key in ("loss", "l2sp_penalty", "distance/body.0"):
                    assert ours[key] == pytest.approx(theirs[key], rel=1e-6)


SHARDED = """
import sys
sys.path[:0] = sys.argv[2:4]
import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.distributed.device_mesh import init_device_mesh
from transformers import TrainerControl, TrainerState
from hf_transfer_kit.tuning.conservative.l2sp import L2SP
from small_net import Net, rows

dist.init_process_group("gloo")
data = rows(8)
batch = {key: torch.stack([row[key] for row in data]) for key in data[0]}
results = {}
kinds = {"after": {}, "clipped": {"clipped": True}, "decoupled": {"decoupled": True}, "l1": {"norm": "l1"},
         "group": {"norm": "group"}}
for name, words in kinds.items():
    for sharded in (False, True):
        model = Net()
        l2sp = L2SP(0.3, 0.2, log_distances=True, **words)
        state, control = TrainerState(), TrainerControl()
        l2sp.on_init_end(None, state, control, model=model)
        if sharded:
            mesh = init_device_mesh("cpu", (2,))
            for part in (model.body[0], model.body[2], model.head, model):
                fully_shard(part, mesh=mesh)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        l2sp.on_train_begin(None, state, control, model=model, optimizer=optimizer)
        for _ in range(4):
            l2sp.on_step_begin(None, state, control, optimizer=optimizer)
            model(**batch)["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()
        whole = {n: p.full_tensor() if sharded else p.detach() for n, p in model.named_parameters()}
        results[name, sharded] = whole, {n: float(v) for n, v in l2sp.scalars(model).items()}
if dist.get_rank() == 0:
    torch.save(results, sys.argv[1] + "/results.pt")
"""


def test_fully_sharded_weights_are_held_alike(two_processes, tmp_path):
    if "src_data_rank" not in inspect.signature(distribute_tensor).parameters:
        pytest.skip("fully_shard of torch 2.6 does not run on the CPU")
    here = os.path.dirname(__file__)
    two_processes(SHARDED, tmp_path, here, os.path.dirname(os.path.dirname(here)))
    results = torch.load(tmp_path / "results.pt")
    for name in ("after", "clipped", "decoupled", "l1", "group"):
        (whole, values), (sharded, sharded_values) = results[name, False], results[name, True]
        assert difference(whole, sharded) < 1e-9, name
        assert sharded_values == pytest.approx(values, rel=1e-6)
        assert difference(whole, weights(Net())) > 1e-2


class TestLoRA:
    def model(self, **settings):
        peft = pytest.importorskip("peft")
        model, inputs = TRANSFORMERS["bert"]()
        config = {"task_type": "SEQ_CLS", "r": 2, "target_modules": ["query", "value"], "lora_alpha": 3}
        return peft.get_peft_model(model.double(), peft.LoraConfig(**{**config, **settings})), inputs

    def step(self, model, inputs, penalty=None, **words):
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        l2sp = L2SP(ALPHA, 0.0, log_distances=True, **words)
        if penalty is None:
            l2sp.attach(model, optimizer)
        for _ in range(3):
            loss = model(**inputs, labels=torch.tensor([0, 1])).loss
            (loss if penalty is None else loss + penalty(model)).backward()
            optimizer.step()
            optimizer.zero_grad()
        return l2sp

    @staticmethod
    def merged_delta(model):
        layers = [layer for layer in model.modules() if hasattr(layer, "lora_A") and "default" in layer.lora_A]
        return ALPHA / 2 * sum(layer.get_delta_weight("default").square().sum() for layer in layers)

    def test_the_merged_delta_is_held_as_if_in_the_loss(self):
        ours, inputs = self.model()
        with torch.no_grad():
            for name, parameter in ours.named_parameters():
                if "lora_B" in name:
                    parameter.normal_()
        theirs = copy.deepcopy(ours)
        before = weights(ours)
        l2sp = self.step(ours.eval(), inputs)
        self.step(theirs.eval(), inputs, penalty=self.merged_delta)
        assert difference(weights(ours), weights(theirs)) < 1e-12
        assert difference(weights(ours), before) > 1e-3
        values = l2sp.scalars(ours)
        assert float(values["l2sp_penalty"]) == pytest.approx(self.merged_delta(ours).item(), rel=1e-9)
        assert sum(float(v) ** 2 for n, v in values.items() if n != "l2sp_penalty") == pytest.approx(
            2 / ALPHA * self.merged_delta(ours).item(), rel=1e-9
        )

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"use_dora": True}, "query' uses a variant such as DoRA"),
            ({"lora_bias": True}, "trains a bias inside"),
            ({"target_modules": ["word_embeddings"]}, "word_embeddings' is a Embedding"),
            ({"init_lora_weights": "pissa"}, "'pissa'"),
        ],
    )
    def test_other_adapters_are_refused_by_name(self, settings, words):
        model, inputs = self.model(**settings) if settings.get("init_lora_weights") != "pissa" else self.pissa()
        with pytest.raises(SettingsError, match=words):
            self.step(model, inputs)

    def pissa(self):
        model, inputs = self.model()
        model.peft_config["default"].init_lora_weights = "pissa"
        return model, inputs

    def test_another_kind_of_adapter_is_refused(self):
        peft = pytest.importorskip("peft")
        model, inputs = TRANSFORMERS["bert"]()
        config = peft.IA3Config(task_type="SEQ_CLS", target_modules=["key"], feedforward_modules=[])
        with pytest.raises(SettingsError, match="type IA3"):
            self.step(peft.get_peft_model(model, config), inputs)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"alpha": -1.0}, "alpha=-1.0 is negative"),
        ({"groups": {0: -1.0}}, "is negative"),
        ({"norm": "l3"}, "norm='l3' is unknown"),
        ({"decoupled": True, "clipped": True}, "clipped=True means nothing"),
    ],
)
def test_wrong_arguments_are_refused(words, message):
    with pytest.raises(SettingsError, match=message):
        L2SP(**words)


def test_optimizers_out_of_reach_are_refused():
    with pytest.raises(SettingsError, match="DeepSpeed"):
        L2SP().attach(Net(), object())
    other = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    with pytest.raises(SettingsError, match="holds none of the model's parameters"):
        L2SP().attach(Net(), other)


def test_the_state_survives_json():
    l2sp = L2SP(0.1, groups={0: 0.5, "head": 0.0})
    again = L2SP.from_state(json.loads(json.dumps(l2sp.state())))
    assert again.state() == l2sp.state()
    assert again.groups == [[0, 0.5], ["head", 0.0]]
