"""Source rows weighed by how often the target shows their class."""

import pytest
import tiny
import torch
from torch.utils.data import default_collate
from transformers import Trainer, TrainingArguments

from hf_transfer_kit import DomainAdversarialModel, DomainCollator, DomainPairs
from hf_transfer_kit.adaptation import OBJECTIVES, TargetShares
from hf_transfer_kit.adaptation.class_shares import share_weights
from hf_transfer_kit.adaptation.objectives.domain_head import domain_loss, told_apart
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.adapting import make_method

SHARES = [0, 0, 0, 0, 1, 1, 2, 2]


def rows(count, seed):
    draw = torch.Generator().manual_seed(seed)
    return [{"pixel_values": torch.randn(3, 32, 32, generator=draw), "labels": SHARES[i % 8]} for i in range(count)]


def test_weights_are_expected_over_source_shares_with_a_mean_of_one():
    classes = torch.tensor(SHARES)
    probabilities = torch.tensor([[0.9, 0.1, 0.0], [0.7, 0.3, 0.0]])
    weights = share_weights(probabilities, classes)
    assert torch.allclose(weights, torch.tensor([0.8 / 0.5, 0.2 / 0.25, 0.0]))
    assert weights[classes].mean() == pytest.approx(1.0)
    equal = share_weights(torch.tensor([[0.5, 0.25, 0.25]]), classes)
    assert torch.allclose(equal, torch.ones(3))
    never = share_weights(torch.tensor([[0.4, 0.2, 0.2, 0.2]]), classes)
    assert never[3] == 0
    assert torch.allclose(never[:3], torch.ones(3))


@pytest.mark.parametrize("method", [name for name, kind in OBJECTIVES.items() if kind.weighs_source])
def test_weights_reach_the_domain_loss_and_the_class_loss(method):
    torch.manual_seed(0)
    options = {"entropy": False} if method == "cdan" else {}
    model = DomainAdversarialModel.from_classifier(
        tiny.TRANSFORMERS["resnet"]()[0], method=method, method_options=options, batch_norm="joint"
    ).train()
    batch = {
        "pixel_values": torch.randn(8, 3, 32, 32),
        "target_pixel_values": torch.randn(8, 3, 32, 32),
        "labels": torch.tensor(SHARES),
    }
    losses = {}
    for name, weights in (("none", None), ("ones", torch.ones(3)), ("some", torch.tensor([2.0, 0.0, 0.0]))):
        model.source_weights = weights
        torch.manual_seed(1)
        losses[name] = float(model(**batch).loss)
    assert losses["ones"] == pytest.approx(losses["none"], rel=1e-5)
    assert losses["some"] != pytest.approx(losses["none"], rel=1e-3)
    assert "source_weights" not in model.state_dict()


def test_a_class_that_counts_nothing_is_not_told_apart():
    head = torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Flatten(0))
    source, target = torch.randn(6, 4, requires_grad=True), torch.randn(6, 4)
    weights = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    domain_loss(*told_apart(head, source, target), weights).backward()
    assert (source.grad[3:] == 0).all()
    assert (source.grad[:3] != 0).all()


@pytest.mark.parametrize("stop", [2, 3])
def test_a_run_with_estimated_shares_resumes(stop, tmp_path):
    source, target = rows(16, 0), rows(12, 1)

    def trainer(folder, **changes):
        torch.manual_seed(0)
        model = DomainAdversarialModel.from_classifier(tiny.TRANSFORMERS["resnet"]()[0])
        args = TrainingArguments(
            folder, max_steps=5, per_device_train_batch_size=4, learning_rate=1e-2, use_cpu=True, report_to=[],
            disable_tqdm=True, **{"save_strategy": "no", **changes},
        )  # fmt: skip
        shares = TargetShares([row["labels"] for row in source], target, default_collate, every=2, max_rows=8)
        return Trainer(
            model, args, train_dataset=DomainPairs(source, target), data_collator=DomainCollator(default_collate),
            callbacks=[shares],
        )  # fmt: skip

    whole = trainer(tmp_path / "whole")
    whole.train()
    assert whole.model.source_weights.shape == (3,)
    saving = {"save_strategy": "steps", "save_steps": stop}
    trainer(tmp_path / "cut", **saving).train()
    resumed = trainer(tmp_path / "cut", **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "cut" / f"checkpoint-{stop}"))
    state = whole.model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in resumed.model.state_dict().items())


def test_only_methods_that_weigh_rows_take_it():
    assert make_method("dann:shares=true").shares
    assert not make_method("dann").shares
    with pytest.raises(SettingsError, match="shares is no option of mmd"):
        make_method("mmd:shares=true")
