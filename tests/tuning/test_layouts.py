"""Parts of training where FSDP2 gives each process a part of every parameter: as in one process, or refused before."""

import re
from pathlib import Path
from types import SimpleNamespace

import processes
import pytest
import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from safetensors.torch import load_file
from sharded_run import CAN_SHARD_ON_THE_CPU, CASES, NO_SHARDS, REFUSED, LaidOut, arguments, network, whole
from small_net import difference
from transformers import Trainer, TrainerCallback

from hf_transfer_kit import adaptation, multitask, tuning
from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning import FreezeLayers

PROGRAM = """
import copy, gc, os, sys
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch
import transformers
from sharded_run import *
from torch.distributed.device_mesh import init_device_mesh
from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.tuning import find_learning_rate, last_whole_checkpoint
from hf_transfer_kit.tuning.checkpoints import checkpoint_bytes
from hf_transfer_kit.tuning.rounding import round_weights

transformers.logging.set_verbosity_error()
folder, rank = sys.argv[1], int(os.environ["RANK"])
found = {}
gc.collect()
gc.freeze()  # Trainer collects in every run

# accelerate itself shards nothing on a CPU, and says nothing
args = TrainingArguments(folder, use_cpu=True, ddp_backend="gloo", fsdp=True, report_to=[])
trainer = Trainer(network()[0], args)
found["by accelerate"] = trainer.accelerator.distributed_type.value, trainer.is_fsdp_enabled

def fit(case, place, *more, **words):
    trainer = case.trainer(f"{folder}/{place}", more=more, **words)
    before = whole(trainer.model)
    trainer.train()
    return trainer, {"before": before, "after": whole(trainer.model), "log": trainer.state.log_history}

for name, case in CASES.items():
    pulls = Pulls()
    trainer, found[name] = fit(case, name, pulls, sharded=True)
    assert any(hasattr(p, "placements") for p in trainer.model.parameters()), name
    found[name] |= {"pull": pulls.pull, "weights": pulls.weights, "state": len(trainer.optimizer.state)}
    found[name]["rates"] = next((c.highest for c in trainer.callback_handler.callbacks if isinstance(c, LearnedRates)), None)
    found[name]["bytes"] = checkpoint_bytes(trainer), sum(p.numel() * p.element_size() for p in trainer.model.parameters())

# one number, in the first process's part, does not fit into half precision
trainer = CASES["RoundWeights"].trainer(f"{folder}/none", sharded=True)
trainer.train()
with torch.no_grad():
    weight = trainer.model.classifier.weight.to_local()
    weight[:1] = 1e6 if rank == 0 else weight[:1]
before = whole(trainer.model)
found["too large"] = round_weights(trainer.model, "float16"), before, whole(trainer.model)

def refused(act):
    try:
        act()
    except Exception as error:
        return type(error).__name__, str(error)
    return None, "nothing was refused"

for name, case in REFUSED.items():
    found[name] = refused(lambda: case.trainer(f"{folder}/{name}", sharded=True))

def changed(name, **changes):
    case = copy.copy({**CASES, **REFUSED}[name])
    for key, value in changes.items():
        setattr(case, key, value)
    return case

def trained(case, **words):
    return refused(lambda: case.trainer(f"{folder}/none", sharded=True, **words).train())

early = {"cpu_ram_efficient_loading": True}
for name in ("L2SP", "DELTA", "WeightInterpolation"):
    found["early", name] = refused(lambda: CASES[name].trainer(f"{folder}/none", sharded=True, fsdp=early))
for name in ("FreezeLayers", "L2SP", "DELTA"):
    found["compiled", name] = refused(lambda: CASES[name].trainer(f"{folder}/none", sharded=True, torch_compile=True))
inputs = ["one", "other"]
two = {task: {**TASKS[task], "input": name} for task, name in zip(TASKS, inputs)}
unlike = lambda model: MultiTaskModel.from_backbone(model, two, inputs={name: {} for name in inputs}).double()
both = lambda model: MultiTaskCollator(dict.fromkeys(inputs, default_data_collator), model.config.tasks)
rows = lambda rows: MultiTaskDataset({n: Source(rows, {t: "labels"}, input=n) for t, n in zip(TASKS, inputs)})
found["inputs"] = trained(changed("MultiTaskEpochs", wrap=unlike, rows=rows, collate=both))
blocks_and_heads = {"transformer_layer_cls_to_wrap": ["BertLayer", "Linear"]}
found["fisher"] = trained(changed("L2SPFisher", make=lambda model, rows: [L2SPFisher()]))
found["apart"] = trained(CASES["CoTuning"], fsdp=blocks_and_heads)
head = type(CASES["MultiTaskEpochs"].wrap(network()[0]).heads["first"]).__name__
found["balancer"] = trained(CASES["MultiTaskEpochs"], fsdp={"transformer_layer_cls_to_wrap": ["BertLayer", head]})
found["forward"] = trained(changed("MultiTaskEpochs", make=lambda model, rows: []), fsdp={"transformer_layer_cls_to_wrap": ["BertLayer", head]})
vada = lambda model: DomainAdversarialModel.from_classifier(model, method="vada").double()
found["vada"] = trained(changed("AdversarialSchedule", wrap=vada))
found["rates"] = refused(lambda: find_learning_rate(lambda: CASES["FreezeLayers"].trainer(f"{folder}/none", sharded=True)))

def across_outputs():
    from small_net import Net
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Shard

    net = Net()
    layer_groups(net)
    fully_shard(net, mesh=init_device_mesh("cpu", (2,)), shard_placement_fn=lambda p: Shard(p.ndim - 1) if p.ndim > 1 else None)
    L2SP(norm="group").attach(net, torch.optim.SGD(net.parameters(), lr=0.1))

found["across"] = refused(across_outputs)

# stopped after two of four steps, and gone on with
staged = Case(lambda model, rows: [GradualUnfreezing(every="1 steps", quiet=True), L2SP(0.3, 0.2), GuardCheckpoints()])
steps = {"sharded": True, "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
for kind in ("FULL_STATE_DICT", "SHARDED_STATE_DICT"):
    place, words = f"{folder}/{kind}", {**steps, "fsdp": {"state_dict_type": kind}}
    trainer, at_once = fit(staged, kind, **words)
    if kind.startswith("FULL"):
        trainer.save_model(f"{folder}/saved")
    half = f"{place}/checkpoint-2"
    trainer = staged.trainer(f"{place} in two", **words, more=[RestoreWeights(half)])
    trainer.train(resume_from_checkpoint=half)
    found[kind] = {"at once": at_once["after"], "in two": whole(trainer.model), "last": last_whole_checkpoint(place, tell=None)}
found["again"] = refused(lambda: Trainer(trainer.model, trainer.args, callbacks=[DELTA()]))
torch.save(found, f"{folder}/found-{rank}.pt")
"""


GUIDE = Path(__file__).parents[2] / "scripts" / "guides" / "finetune.md"
PARTS = {
    name: part
    for room in (tuning, adaptation, multitask)
    for name in room.__all__
    if isinstance(part := getattr(room, name), type) and issubclass(part, TrainerCallback)
}


def callbacks(cases):
    """Names of the classes that make a part in some case."""
    made = [part for case in cases.values() for part in case.make(*network())]
    return {kind.__name__ for part in made for kind in type(part).__mro__}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What two processes found; the second's is the same, but for what it has not seen."""
    if not CAN_SHARD_ON_THE_CPU:
        pytest.skip(NO_SHARDS)
    folder = tmp_path_factory.mktemp("sharded")
    processes.two_ranks(folder, PROGRAM, folder)
    both = [torch.load(folder / f"found-{rank}.pt", weights_only=False) for rank in (0, 1)]
    for name in CASES:
        assert difference(both[0][name]["after"], both[1][name]["after"]) == 0, name
    return {**both[0], "folder": folder}


def trained(name, folder):
    trainer = CASES[name].trainer(folder, sharded=False)
    trainer.train()
    return trainer


@pytest.mark.slow
def test_accelerate_takes_fsdp_on_a_cpu_for_data_parallel_training(found):
    assert found["by accelerate"] == ("MULTI_CPU", False)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.slow
def test_two_processes_with_shards_equal_one_with_whole_weights(found, tmp_path, name):
    ours = found[name]
    trainer = trained(name, tmp_path)
    theirs, log = whole(trainer.model), trainer.state.log_history
    assert ours["after"].keys() == theirs.keys()
    assert difference(ours["after"], theirs) < 1e-6
    assert difference(ours["after"], ours["before"]) > 1e-3
    assert len(ours["log"]) == len(log)
    for mine, other in zip(ours["log"], log, strict=True):
        same = {n: v for n, v in other.items() if not n.endswith(("runtime", "per_second", "flos"))}
        local = ("feature_norm", "feature_spread", "diversity")  # of a process's own rows
        same = {n: v for n, v in same.items() if not n.endswith(local)}
        assert {n: mine[n] for n in same} == pytest.approx(same, rel=1e-5, abs=1e-7)


@pytest.mark.slow
def test_frozen_weights_are_the_same_bits_and_take_no_optimizer_state(found):
    groups = layer_groups(network()[0])
    frozen = {name for group in groups[:2] for name in group.parameters}
    before, after = found["FreezeLayers"]["before"], found["FreezeLayers"]["after"]
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert frozen
    assert not moved & frozen
    assert found["FreezeLayers"]["state"] == sum(len(group.parameters) for group in groups) - len(frozen)


@pytest.mark.slow
def test_a_stage_thaws_what_it_names_and_it_stays_thawed_after_an_evaluation(found):
    log = found["GradualUnfreezing"]["log"]
    assert [entry["freezing_stage"] for entry in log if "freezing_stage" in entry] == [0, 1, 2, 3, 4]
    shares = [entry["trainable_share"] for entry in log if "trainable_share" in entry]
    assert shares == sorted(shares)
    assert shares[0] < 0.1
    assert shares[-1] == 1


@pytest.mark.slow
def test_rates_by_depth_reach_the_parameters_of_their_depth(found):
    groups = layer_groups(network()[0])
    for depth, group in enumerate(groups):
        rate = 0.02 * 0.5 ** (len(groups) - 1 - depth)
        assert {found["layerwise_optimizer"]["rates"][name] for name in group.parameters} == {rate}


@pytest.mark.parametrize("name", ["L2SP", "L2SPFisher"])
@pytest.mark.slow
def test_the_pull_is_the_closed_form_of_whole_weights(found, name):
    """At the first step nothing has moved from w0: only what has no w0 is pulled, towards zero."""
    pull, weights = found[name]["pull"], found[name]["weights"]
    head = layer_groups(network()[0]).head.parameters
    beta = {"L2SP": 0.2, "L2SPFisher": 0.01}[name]
    for parameter, value in pull.items():
        expected = beta * weights[parameter] if parameter in head else torch.zeros_like(value)
        assert (value - expected).abs().max() < 1e-12, parameter


@pytest.mark.slow
def test_the_logged_penalty_is_that_of_whole_weights(found):
    ours = found["L2SP"]
    head = set(layer_groups(network()[0]).head.parameters)
    distances = {n: (ours["after"][n] - ours["before"][n]).square().sum() for n in ours["pull"]}
    held = sum(float(square) for name, square in distances.items() if name not in head)
    size = sum(float(ours["after"][name].square().sum()) for name in head)
    last = [entry for entry in ours["log"] if "l2sp_penalty" in entry][-1]
    assert last["l2sp_penalty"] == pytest.approx(0.3 / 2 * held + 0.2 / 2 * size, rel=1e-6)


@pytest.mark.parametrize("kind", ["FULL_STATE_DICT", "SHARDED_STATE_DICT"])
@pytest.mark.slow
def test_a_run_stopped_in_the_midst_of_a_schedule_and_gone_on_with_equals_one_at_once(found, kind):
    assert difference(found[kind]["at once"], found[kind]["in two"]) == 0
    assert found[kind]["last"].endswith("checkpoint-4")


@pytest.mark.slow
def test_a_checkpoint_takes_the_whole_weights_and_two_moments_of_each(found):
    needed, parameters = found["GuardCheckpoints"]["bytes"]
    assert 3 * parameters <= needed < 3.2 * parameters


@pytest.mark.slow
def test_weights_of_which_one_is_too_large_stay_as_they_are_in_every_process(found):
    rounded, before, after = found["too large"]
    assert not rounded
    assert float(before["classifier.weight"].max()) == 1e6
    assert difference(before, after) == 0


@pytest.mark.slow
def test_the_saved_model_holds_the_whole_weights(found):
    saved = load_file(found["folder"] / "saved" / "model.safetensors")
    assert difference({name: found["FULL_STATE_DICT"]["at once"][name] for name in saved}, saved) == 0
    assert {name for name, _ in network()[0].named_parameters()} <= set(saved)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.slow
def test_what_needs_whole_weights_is_refused_when_the_trainer_is_made(found, name):
    kind, words = found[name]
    assert kind == "SettingsError"
    assert "reads or writes parameters, which are DTensors under FSDP2 with only a shard on each process. Use" in words
    assert words.startswith(name.split()[0])


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (("early", "L2SP"), "L2SP copies the pretrained weights when the Trainer is made, and with cpu_ram_eff"),
        (("early", "DELTA"), "DELTA copies the pretrained weights"),
        (("early", "WeightInterpolation"), "Set fsdp_config={'cpu_ram_efficient_loading': False}"),
        (("compiled", "FreezeLayers"), "FreezeLayers reaches into the model, and FSDP2 with torch_compile=True makes"),
        (("compiled", "L2SP"), "Set torch_compile=False, or use DistributedDataParallel."),
        (("compiled", "DELTA"), "DELTA reaches into the model"),
        ("inputs", "A MultiTaskModel with the inputs one, other is sharded in several groups"),
        ("across", "body.0.weight is sharded along another axis than that of its outputs"),
        ("fisher", "On sharded weights nothing can be estimated: give L2SPFisher(fisher=...)"),
        ("apart", "CoTuning: the source's last layer is sharded apart from the rest"),
        ("balancer", "mgda takes the tasks' gradients one by one, and the head 'first' is sharded in a group of its"),
        ("forward", "mgda takes the tasks' gradients one by one"),
        ("vada", "vada, which takes a gradient inside the forward, reads or writes parameters, which are DTensors"),
        ("rates", "find_learning_rate, which puts a model back as it was, reads or writes parameters"),
        ("again", "DELTA copies the pretrained network when the Trainer is made, and it is sharded already"),
    ],
)
@pytest.mark.slow
def test_what_would_be_wrong_in_this_layout_is_refused(found, act, words):
    kind, said = found[act]
    assert kind == "SettingsError", said
    assert words in said


def test_the_guide_names_each_part_where_it_belongs():
    _, _, table = GUIDE.read_text(encoding="utf-8").partition("| under FSDP2 |")
    lines = [line.split("|") for line in table.partition("\n\n")[0].splitlines() if line.startswith("| ")]
    told = {cells[1].strip(): set(re.findall(r"`(\w+)`", cells[2])) for cells in lines}
    working = (callbacks(CASES) & set(PARTS)) | {"layerwise_optimizer"}
    assert told == {"as in one process": working, "refused": set(REFUSED) & set(PARTS) | {"find_learning_rate"}}


def test_every_part_is_shown_to_work_or_refused():
    assert set(PARTS) == (callbacks(CASES) | callbacks(REFUSED)) & set(PARTS)
    assert not callbacks(CASES) & set(REFUSED)


KINDS = {
    "DEEPSPEED": "DeepSpeed keeps them, and what is trained of them, in buffers of its own",
    "MEGATRON_LM": "Megatron-LM makes layers of its own",
    "FSDP": "FSDP of version 1 flattens them into others",
}


@pytest.fixture(params=KINDS)
def elsewhere(request, monkeypatch):
    """Trainers whose accelerator puts parameters out of reach, and what is said of it."""
    plugin = SimpleNamespace(
        fsdp_version=1, activation_checkpointing=False, cpu_ram_efficient_loading=False, state_dict_type=""
    )
    kind = type("Elsewhere", (LaidOut,), {"kind": DistributedType(request.param), "plugin": plugin})
    monkeypatch.setattr("transformers.trainer.Accelerator", kind)
    yield KINDS[request.param]
    AcceleratorState._reset_state(reset_partial_state=True)


def test_parts_that_reach_parameters_are_refused_where_they_are_out_of_reach(elsewhere, tmp_path):
    refused, begun_before = set(), elsewhere == KINDS["DEEPSPEED"]
    for name, case in {**CASES, **REFUSED}.items():
        for part in case.make(*network()):
            if getattr(part, "reaches_parameters", False) and not (begun_before and isinstance(part, FreezeLayers)):
                with pytest.raises(SettingsError) as raised:
                    Trainer(network()[0], arguments(tmp_path, sharded=False), callbacks=[part])
                words = str(raised.value)
                assert elsewhere in words
                assert "Use DistributedDataParallel" in words
                assert ("or FSDP2" in words) is (name in CASES or name == "DELTA with beta")
                refused.add(type(part).__name__)
    assert set(PARTS) - refused - {"FreezeLayers" if begun_before else ""} == {
        "AdversarialSchedule",
        "BalancingEpochs",
        "GuardCheckpoints",
        "LearnedRates",
        "LogScalars",
        "MultiTaskEpochs",
        "ReshuffleSources",
        "ScalarCallback",
    }


def test_freezing_that_comes_late_is_refused_where_parameters_are_out_of_reach(elsewhere, tmp_path):
    class Beginning(Trainer):
        def begin(self):
            self.callback_handler.on_train_begin(self.args, self.state, self.control)

    trainer = Beginning(network()[0], arguments(tmp_path, sharded=False))
    trainer.add_callback(FreezeLayers(first=1))
    with pytest.raises(SettingsError, match=f"FreezeLayers.* reaches the model's parameters.*{elsewhere}"):
        trainer.begin()


def test_rates_by_depth_are_refused_where_parameters_are_out_of_reach(elsewhere, tmp_path):
    trainer = CASES["layerwise_optimizer"].trainer(tmp_path, sharded=False)
    if elsewhere == KINDS["DEEPSPEED"]:  # it gets the optimizer with its groups
        assert {group["lr"] for group in trainer.create_optimizer().param_groups} > {0.02, 0.01}
    else:
        with pytest.raises(SettingsError, match=f"layerwise_optimizer reaches the model's parameters.*{elsewhere}"):
            trainer.create_optimizer()
    with pytest.raises(SettingsError, match=f"find_learning_rate, which puts a model back as it was, .*{elsewhere}"):
        tuning.find_learning_rate(lambda: Trainer(network()[0], arguments(tmp_path, sharded=False)))
