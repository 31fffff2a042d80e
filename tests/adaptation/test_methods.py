"""Every method trains in the model and the stock Trainer, logs its terms, and comes back from disk."""

import copy

import adaptation_run
import pytest
import torch
from torch.utils.data import default_collate
from transformers import Trainer

from hf_transfer_kit.adaptation import (
    AdversarialSchedule,
    DannMnistConfig,
    DannMnistForImageClassification,
    DomainAdversarialModel,
    DomainCollator,
    DomainPairs,
    PseudoLabels,
)
from hf_transfer_kit.adaptation.mean_teacher import MeanTeacher
from hf_transfer_kit.adaptation.objectives import OBJECTIVES
from hf_transfer_kit.tuning import LogScalars

TERMS = {
    "source_only": set(),
    "dann": {"domain_loss", "domain_accuracy"},
    "cdan": {"domain_loss", "domain_accuracy"},
    "mmd": {"mmd_loss"},
    "jan": {"jmmd_loss"},
    "coral": {"coral_loss"},
    "mcd": {"second_class_loss", "discrepancy_loss", "disagreement"},
    "mcc": {"confusion_loss"},
    "clusters": {"pseudo_label_loss", "confusion_loss", "pseudo_labelled"},
    "entropy": {"target_entropy_loss"},
    "vada": {"domain_loss", "target_entropy_loss", "smooth_loss", "domain_accuracy"},
    "adamatch": {"pseudo_label_loss", "pseudo_labelled"},
    "self_training": {"taught_loss", "diversity_loss", "pseudo_labelled"},
}
WATCHED = {"source_entropy", "target_entropy", "target_diversity", "feature_spread", "target_feature_norm"}


@pytest.mark.parametrize("method", OBJECTIVES)
def test_it_trains_logs_and_reloads(method, training_arguments, tmp_path):
    torch.manual_seed(0)
    network = DannMnistForImageClassification(DannMnistConfig(batch_norm=True))
    model = DomainAdversarialModel.from_classifier(network, method=method)
    before = copy.deepcopy(model.state_dict())
    target = adaptation_run.rows(9, 2, labels=False)
    beside = {"self_training": [MeanTeacher()], "clusters": [PseudoLabels(target, default_collate)]}
    trainer = Trainer(
        model,
        training_arguments(max_steps=2, per_device_train_batch_size=6, learning_rate=0.01),
        train_dataset=DomainPairs(adaptation_run.rows(12, 1), target, numbered=method == "clusters"),
        data_collator=DomainCollator(default_collate),
        callbacks=[AdversarialSchedule(), LogScalars(), *beside.get(method, [])],
    )
    trainer.train()
    logged = trainer.state.log_history[1]
    assert set(logged) >= TERMS[method] | WATCHED | {"class_loss", "loss"}
    terms = [logged[name] for name in TERMS[method] if name.endswith("_loss")]
    assert logged["loss"] == pytest.approx(logged["class_loss"] + sum(terms), abs=2e-4)
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.save_pretrained(tmp_path / "model")
    again = DomainAdversarialModel.from_pretrained(tmp_path / "model")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
