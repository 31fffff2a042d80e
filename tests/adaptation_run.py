"""A short run of adaptation in the stock Trainer, by itself or as a process of several."""

import inspect
import sys

import torch
from torch.utils.data import default_collate
from transformers import Trainer, TrainerCallback, TrainingArguments, ViTConfig, ViTForImageClassification

from hf_transfer_kit.adaptation import (
    AdversarialSchedule,
    DannMnistConfig,
    DannMnistForImageClassification,
    DomainAdversarialModel,
    DomainCollator,
    DomainPairs,
    MeanTeacher,
    PseudoLabels,
    TargetRows,
)
from hf_transfer_kit.adaptation.objectives import METHODS
from hf_transfer_kit.tuning import LogScalars, SharedBatches


class Seen(TrainerCallback):
    """What the model's buffers hold at each step, and when to stop."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.steps = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        inner = getattr(model, "module", model)
        self.steps[state.global_step] = (float(inner.progress), float(inner.strength))

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.stop_after


def rows(count, seed, scale=1.0, labels=True):
    images = scale * torch.randn(count, 3, 28, 28, generator=torch.Generator().manual_seed(seed))
    return [{"pixel_values": image, **({"labels": i % 10} if labels else {})} for i, image in enumerate(images)]


def trainer(folder, *callbacks, layers=True, target_labels=False, method="dann", **settings):
    """A Trainer over 24 source and 10 target rows: 3 steps an epoch, 6 in all, no setting but the ordinary ones."""
    given = {"use_cpu": True, "per_device_train_batch_size": 8, "max_steps": 6, "save_strategy": "no"}
    args = TrainingArguments(
        output_dir=str(folder), report_to=[], disable_tqdm=True, logging_steps=1, seed=0,
        learning_rate=0.05, optim="sgd", **{**given, **settings},
    )  # fmt: skip
    torch.manual_seed(0)
    network = DannMnistForImageClassification(DannMnistConfig(batch_norm=layers))
    if method == "tent":  # which trains what normalises
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        network = ViTForImageClassification(ViTConfig(image_size=28, patch_size=14, num_labels=10, **sizes))
    options = {"amount": 0.0, "invert": False} if "amount" in inspect.signature(METHODS[method]).parameters else {}
    model = DomainAdversarialModel.from_classifier(network, method=method, method_options=options)
    model.class_weights = torch.linspace(0.5, 2.0, 10)
    pairs = DomainPairs(rows(24, 1), rows(10, 2, scale=3.0, labels=target_labels))
    if not METHODS[method].needs_source:
        pairs = TargetRows(pairs.target)
        if method == "shot":
            callbacks = (*callbacks, PseudoLabels(pairs.rows, default_collate))
    if method == "clusters":
        pairs = DomainPairs(pairs.source, pairs.target, numbered=True)
        callbacks = (*callbacks, PseudoLabels(pairs.target, default_collate))
    if method == "self_training":
        callbacks = (*callbacks, MeanTeacher(decay=0.5))
    return Trainer(
        model,
        args,
        train_dataset=pairs,
        eval_dataset=rows(8, 3),
        data_collator=DomainCollator(default_collate),
        callbacks=[AdversarialSchedule(), LogScalars(), *callbacks],
    )


def all_methods(folder, ranks):
    """Losses and weights of each method after epochs that end with a batch of four rows, of which three a step."""
    torch.randn_like = torch.ones_like  # what a process draws is its own
    found = {}
    for method in METHODS:
        shared, size = SharedBatches(5), -(-5 // ranks)
        run = trainer(folder, shared, layers=False, method=method, per_device_train_batch_size=size)
        run.train()
        losses = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
        found[method] = (losses, run.model.state_dict())
    return found


if __name__ == "__main__":
    found = all_methods(sys.argv[1], 2)
    if torch.distributed.get_rank() == 0:
        torch.save(found, f"{sys.argv[1]}/found.pt")
