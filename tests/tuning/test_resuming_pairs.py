"""Every pair of parts, in both orders, resumes where an uninterrupted run would be, bit for bit."""

import copy
from itertools import permutations

import pytest
import term_cases
import torch
from part_cases import PARTS
from transformers import Trainer, TrainingArguments

from hf_transfer_kit import layerwise_optimizer

PAIRS = [
    *(pair for pair in permutations(PARTS, 2) if pair != ("L2SPFisher", "L2SP") and pair != ("L2SP", "L2SPFisher")),
    ("FreezeLayers", "GradualUnfreezing", "L2SP"),  # the README's
]


def _trainer(folder, names, *, depth, steps=4):
    model, rows = term_cases.case("bert")
    source = copy.deepcopy(model)
    args = TrainingArguments(
        folder, max_steps=steps, save_steps=2, per_device_train_batch_size=2, learning_rate=0.01, report_to=[],
        disable_tqdm=True, use_cpu=True, lr_scheduler_type="constant", logging_steps=1, seed=1,
    )  # fmt: skip
    options = {"optimizer_cls_and_kwargs": layerwise_optimizer(model, args, decay=0.5)} if depth else {}
    callbacks = [PARTS[name](source, rows) for name in names]
    return Trainer(model, args, train_dataset=rows, eval_dataset=rows, callbacks=callbacks, **options)


@pytest.mark.parametrize("depth", [False, True], ids=["one rate", "rates by depth"])
@pytest.mark.parametrize("names", PAIRS, ids="+".join)
def test_a_resumed_run_is_an_uninterrupted_one(names, depth, tmp_path):
    whole = _trainer(tmp_path / "a", names, depth=depth)
    whole.train()
    resumed = _trainer(tmp_path / "a", names, depth=depth)
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-2"))
    term_cases.assert_same_state(resumed.model.state_dict(), whole.model.state_dict())
    assert not any(torch.isnan(value).any() for value in whole.model.state_dict().values() if value.is_floating_point())
