import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import Trainer, TrainingArguments

from hf_transfer_kit import RoundWeights
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.rounding import round_weights, stored_state

ROWS = [{"input_ids": torch.arange(4) + i, "labels": i % 3} for i in range(8)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["vit", "resnet", "bert"])
def test_what_is_evaluated_after_training_is_what_is_stored(name, dtype, tmp_path):
    model, inputs = tiny.classifiers()[name]()
    round_weights(model, dtype)
    with torch.no_grad():
        measured = model.eval()(**inputs).logits
    model.save_pretrained(tmp_path, state_dict=stored_state(model, dtype))
    kinds = {t.dtype for t in load_file(tmp_path / "model.safetensors").values() if t.is_floating_point()}
    assert kinds == {getattr(torch, dtype)}
    again = type(model).from_pretrained(tmp_path).eval()
    assert again.dtype is torch.float32
    assert torch.equal(again(**inputs).logits, measured)


def test_trainer_rounds_at_the_end_and_leaves_checkpoints(tmp_path):
    model, _ = tiny.classifiers()["bert"]()
    args = TrainingArguments(tmp_path, max_steps=2, save_steps=2, report_to=[], disable_tqdm=True, use_cpu=True)
    Trainer(model, args, train_dataset=ROWS, callbacks=[RoundWeights("float16")]).train()
    assert stored_state(model, "float16") is not None
    saved = load_file(tmp_path / "checkpoint-2" / "model.safetensors")
    assert any(not torch.equal(value, value.half().float()) for value in saved.values())


def test_a_weight_too_large_for_the_type_stays_and_so_do_all_others():
    model, _ = tiny.classifiers()["bert"]()
    next(model.parameters()).data.flatten()[0] = 1e6
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert not round_weights(model, "float16")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert stored_state(model, "float16") is None
    assert round_weights(model, "bfloat16")


def test_other_types_are_refused():
    with pytest.raises(SettingsError, match="float8"):
        RoundWeights("float8")
