"""A run's results in a folder, the adapter of a LoRA run among them."""

import peft
import pytest
import tiny
import torch
from transformers import AutoModelForImageClassification

from hf_transfer_kit import load_model
from hf_transfer_kit.hub import save_results
from hf_transfer_kit.reports import TransferReport
from hf_transfer_kit.selection import make_strategy


@pytest.fixture
def report() -> TransferReport:
    return TransferReport(
        recipe="finetune", metrics={"accuracy": 0.5}, baselines={}, plan=None, layer_groups=None,
        data={"modality": "image", "classes": ["a", "b"], "sizes": {"train": 4}, "fingerprints": {}, "skipped_rows": 0}, seconds={"total": 1.0}, versions={},
        seed=0, command="python scripts/finetune.py", budget={"steps": 1, "batch_size": 1, "seeds": [0]},
    )  # fmt: skip


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_a_lora_run_leaves_its_adapter_and_the_merged_model(report, tmp_path, name):
    network, inputs = tiny.TRANSFORMERS[name]()
    network.save_pretrained(tmp_path / "source")
    model = make_strategy("lora:r=2").prepare_model(load_model(tmp_path / "source", num_labels=2, seed=1), seed=0)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name or "modules_to_save" in parameter_name:
                parameter.normal_(std=0.5)
        expected = model.eval()(**inputs).logits
    save_results(tmp_path / "out", report, model, None, {})
    with torch.no_grad():
        plain = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
        assert torch.allclose(plain(**inputs).logits, expected, atol=1e-5)
        base = load_model(tmp_path / "source", num_labels=2, seed=5)
        adapted = peft.PeftModel.from_pretrained(base, tmp_path / "out" / "adapter").eval()
        assert torch.allclose(adapted(**inputs).logits, expected, atol=1e-6)
        assert not torch.allclose(load_model(tmp_path / "source", num_labels=2, seed=5)(**inputs).logits, expected)
