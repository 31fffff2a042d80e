"""Checkpoints in half precision: trained in float32 they give what their float32 copies give, bit for bit."""

import json

import pytest
import tiny
import torch
from transformers import Trainer, TrainingArguments

from hf_transfer_kit import load_model
from hf_transfer_kit.backbones import stored_dtype


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["whisper", "bert", "wrapped/resnet18"])
def test_training_equals_that_from_the_float32_copy(name, dtype, tmp_path):
    model, inputs = tiny.classifiers()[name]()
    half = model.to(getattr(torch, dtype))
    half.save_pretrained(tmp_path / "half")
    half.float().save_pretrained(tmp_path / "whole")
    assert stored_dtype(tmp_path / "half") == dtype
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    config.pop("dtype", None)  # as in some checkpoints
    (tmp_path / "half" / "config.json").write_text(json.dumps(config))
    assert stored_dtype(tmp_path / "half") == dtype
    assert stored_dtype(tmp_path / "whole") == "float32"
    rows = [{key: value[0] for key, value in inputs.items()} | {"labels": i % 3} for i in range(8)]
    trained = {}
    for copy in ("half", "whole"):
        network = load_model(tmp_path / copy, num_labels=3, seed=1)
        assert network.dtype is torch.float32
        args = TrainingArguments(
            tmp_path / "out", max_steps=3, per_device_train_batch_size=2, report_to=[], disable_tqdm=True,
            use_cpu=True, save_strategy="no", learning_rate=1e-2,
        )  # fmt: skip
        Trainer(network, args, train_dataset=rows).train()
        trained[copy] = network.state_dict()
    assert all(torch.equal(value, trained["whole"][key]) for key, value in trained["half"].items())
