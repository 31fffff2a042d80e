"""Networks with adapters of peft inside the models of all three rooms: trained, saved, loaded, exported, resumed."""

import pytest
import tiny
import torch
from peft import IA3Config, LoraConfig, PrefixTuningConfig, TaskType, get_peft_model
from transformers import AutoModel, Trainer, TrainingArguments

from hf_transfer_kit import (
    DomainAdversarialModel,
    MultiTaskModel,
    RestoreWeights,
    SeveralSourcesModel,
    ZeroShotModel,
)
from hf_transfer_kit.errors import ModelError
from hf_transfer_kit.multitask import BALANCERS

ROOMS = ("adaptation", "generalisation", "multitask", "zero_shot")
TABLE = {"a": {"x": 1.0, "y": 0.0}, "b": {"x": 0.0, "y": 1.0}, "c": {"x": 1.0, "y": 1.0}}
ADAPTERS = {
    "lora": ("bert", lambda: LoraConfig(target_modules=["query", "value"], r=2)),
    "dora and bias": ("bert", lambda: LoraConfig(target_modules=["query"], r=2, use_dora=True, bias="lora_only")),
    "all linear, the head's too": ("bert", lambda: LoraConfig(target_modules="all-linear", r=2)),
    "a copy of the head": ("bert", lambda: LoraConfig(target_modules=["query"], r=2, modules_to_save=["classifier"])),
    "by type of task": ("bert", lambda: LoraConfig(target_modules=["query"], r=2, task_type=TaskType.SEQ_CLS)),
    "ia3": ("bert", lambda: IA3Config(target_modules=["key", "value"], feedforward_modules=[])),
    "convolutions": ("resnet", lambda: LoraConfig(target_modules=["convolution"], r=2)),
    "timm": ("wrapped/resnet18", lambda: LoraConfig(target_modules=["conv1", "conv2"], r=2)),
}


def inputs_of(family, rows=6):
    generator = torch.Generator().manual_seed(rows)
    if family == "bert":
        return {"input_ids": torch.randint(5, 40, (rows, 6), generator=generator)}
    return {"pixel_values": torch.randn(rows, 3, 32, 32, generator=generator)}


def room_model(room, network):
    torch.manual_seed(0)
    if room == "adaptation":
        return DomainAdversarialModel.from_classifier(network)
    if room == "generalisation":
        return SeveralSourcesModel.from_classifier(network, sources=["one", "other"], method="group_dro")
    if room == "multitask":
        return MultiTaskModel.from_backbone(network, {"kind": {"type": "classification", "num_labels": 3}}, seed=0)
    return ZeroShotModel.from_backbone(network, TABLE, method="ale", seed=0)


def rows_of(room, family, count=12):
    inputs = inputs_of(family, count)
    rows = [{name: value[i] for name, value in inputs.items()} for i in range(count)]
    label = "kind__labels" if room == "multitask" else "labels"
    for index, row in enumerate(rows):
        row[label] = index % 3
        if room == "generalisation":
            row["domains"] = index % 2
        if room == "adaptation":
            row |= {
                f"target_{name}": value + (value.is_floating_point())
                for name, value in list(row.items())
                if name != "labels"
            }
    return rows


def adapted(room, name):
    family, config = ADAPTERS[name]
    torch.manual_seed(0)
    network = tiny.classifiers()[family]()[0]
    if network.config.num_labels != 3:
        from hf_transfer_kit import replace_head

        replace_head(network, 3, seed=0)
    return family, room_model(room, get_peft_model(network, config()))


def arguments(folder, **changes):
    return TrainingArguments(
        folder, max_steps=4, per_device_train_batch_size=6, learning_rate=1e-2, use_cpu=True, report_to=[],
        disable_tqdm=True, remove_unused_columns=False, label_names=["labels"], **{"save_strategy": "no", **changes},
    )  # fmt: skip


def logits(model, family, room=None):
    with torch.no_grad():
        return model.eval()(**inputs_of(family)).logits


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("room", ROOMS)
def test_what_was_trained_is_what_is_loaded_and_exported(room, name, tmp_path):
    family, model = adapted(room, name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    Trainer(model, arguments(tmp_path / "run"), train_dataset=rows_of(room, family)).train()
    state = model.state_dict()
    moved = {key for key in state if state[key].is_floating_point() and not torch.equal(state[key], before[key])}
    assert any("lora_" in key or "ia3_" in key for key in moved)
    assert not any(".base_layer.weight" in key or "original_module.weight" in key for key in moved)
    said = logits(model, family)
    model.save_pretrained(tmp_path / "kept")
    again = AutoModel.from_pretrained(tmp_path / "kept")
    assert torch.equal(logits(again, family), said)
    assert {k for k, p in again.named_parameters() if p.requires_grad} >= {
        k for k, p in model.named_parameters() if p.requires_grad and ("lora_" in k or "ia3_" in k)
    }
    for source in (model, again):
        if room == "zero_shot":
            continue
        plain = source.export("kind") if room == "multitask" else source.export_classifier()
        assert not [
            key for key in plain.state_dict() if "lora_" in key or "base_layer" in key or "modules_to_save" in key
        ]
        assert not hasattr(plain, "peft_config")
        torch.testing.assert_close(logits(plain, family), said, rtol=1e-5, atol=1e-5)
        plain.save_pretrained(tmp_path / "plain")
        reloaded = type(plain).from_pretrained(tmp_path / "plain")
        torch.testing.assert_close(logits(reloaded, family), said, rtol=1e-5, atol=1e-5)
    assert torch.equal(logits(model, family), said)


@pytest.mark.parametrize("name", ["lora", "a copy of the head", "convolutions"])
@pytest.mark.parametrize("room", ROOMS)
def test_a_run_goes_on_where_it_stopped(room, name, tmp_path):
    rows = rows_of(room, ADAPTERS[name][0])
    _, whole = adapted(room, name)
    Trainer(whole, arguments(tmp_path / "whole"), train_dataset=rows).train()
    _, half = adapted(room, name)
    args = arguments(tmp_path / "half", save_strategy="steps", save_steps=2)
    Trainer(half, args, train_dataset=rows).train()
    _, resumed = adapted(room, name)
    checkpoint = str(tmp_path / "half" / "checkpoint-2")
    trainer = Trainer(resumed, args, train_dataset=rows, callbacks=[RestoreWeights(checkpoint)])
    trainer.train(resume_from_checkpoint=checkpoint)
    state = whole.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in resumed.state_dict().items())


@pytest.mark.parametrize("room", ROOMS)
def test_prompts_that_stand_outside_the_network_are_refused(room):
    network = tiny.classifiers()["bert"]()[0]
    prompted = get_peft_model(network, PrefixTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=2))
    with pytest.raises(ModelError, match="which stands beside the network and not in its layers"):
        room_model(room, prompted)


class TestPeftAround:
    """get_peft_model over a room's model freezes all that it is not told to keep."""

    def config(self, **changes):
        return LoraConfig(target_modules=["query", "value"], r=2, **changes)

    def test_a_frozen_domain_head_is_refused(self, tmp_path):
        model = get_peft_model(room_model("adaptation", tiny.classifiers()["bert"]()[0]), self.config())
        with pytest.raises(
            ModelError, match=r'objective of DomainAdversarialModel is frozen.*modules_to_save=\["objective"\]'
        ):
            Trainer(model, arguments(tmp_path), train_dataset=rows_of("adaptation", "bert")).train()

    @pytest.mark.parametrize("kept", [["objective"], ["objective", "classifier"]])
    def test_what_is_kept_learns(self, kept, tmp_path):
        model = get_peft_model(
            room_model("adaptation", tiny.classifiers()["bert"]()[0]), self.config(modules_to_save=kept)
        )
        before = {key: value.detach().clone() for key, value in model.named_parameters()}
        Trainer(model, arguments(tmp_path), train_dataset=rows_of("adaptation", "bert")).train()
        moved = {key for key, value in model.named_parameters() if not torch.equal(value, before[key])}
        for part in kept:
            assert any(f"{part}.modules_to_save" in key for key in moved), part
        said = logits(model, "bert")
        model.save_pretrained(tmp_path / "adapter")
        from peft import PeftModel

        torch.manual_seed(0)
        base = room_model("adaptation", tiny.classifiers()["bert"]()[0])
        base.load_state_dict(_base_state(model))
        again = PeftModel.from_pretrained(base, tmp_path / "adapter")
        assert torch.equal(logits(again, "bert"), said)

    def test_frozen_variances_of_the_balancer_are_refused(self, tmp_path):
        tasks = {name: {"type": "classification", "num_labels": 3} for name in ("kind", "other")}
        model = MultiTaskModel.from_backbone(tiny.classifiers()["bert"]()[0], tasks, seed=0)
        model.balancer = BALANCERS["uncertainty"](list(tasks))
        rows = [{**row, "other__labels": row["kind__labels"]} for row in rows_of("multitask", "bert")]
        with pytest.raises(ModelError, match="balancer of MultiTaskModel is frozen"):
            Trainer(get_peft_model(model, self.config()), arguments(tmp_path), train_dataset=rows).train()

    @pytest.mark.parametrize(("room", "part"), [("multitask", "heads.kind"), ("zero_shot", "head")])
    def test_frozen_heads_are_told_once(self, room, part, tmp_path, said):
        model = room_model(room, tiny.classifiers()["bert"]()[0])
        Trainer(get_peft_model(model, self.config()), arguments(tmp_path), train_dataset=rows_of(room, "bert")).train()
        assert said().count(f"{part} is frozen and learns nothing") == 1
        kept = room_model(room, tiny.classifiers()["bert"]()[0])
        Trainer(kept, arguments(tmp_path), train_dataset=rows_of(room, "bert")).train()
        assert "is frozen" not in said()


def _base_state(model):
    """The weights under the adapters and copies of a peft model, by their names before."""
    state = {}
    for key, value in model.base_model.model.state_dict().items():
        if "lora_" in key or "modules_to_save" in key:
            continue
        state[key.replace(".base_layer", "").replace(".original_module", "")] = value
    return state
