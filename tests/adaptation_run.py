"""A short run of adaptation in the stock Trainer, by itself or as a process of several."""

import sys

import torch
from torch.utils.data import default_collate
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit.adaptation import (
    AdversarialSchedule,
    DannMnistConfig,
    DannMnistForImageClassification,
    DomainAdversarialModel,
    DomainCollator,
    DomainPairs,
)
from hf_transfer_kit.tuning import LogScalars


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


def trainer(folder, *callbacks, layers=True, target_labels=False, **settings):
    """A Trainer over 24 source and 10 target rows: 3 steps an epoch, 6 in all, no setting but the ordinary ones."""
    given = {"per_device_train_batch_size": 8, "max_steps": 6, "save_strategy": "no"}
    args = TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], disable_tqdm=True, logging_steps=1, seed=0,
        learning_rate=0.05, optim="sgd", **{**given, **settings},
    )  # fmt: skip
    torch.manual_seed(0)
    network = DannMnistForImageClassification(DannMnistConfig(batch_norm=layers))
    model = DomainAdversarialModel.from_classifier(network)
    pairs = DomainPairs(rows(24, 1), rows(10, 2, scale=3.0, labels=target_labels))
    return Trainer(
        model,
        args,
        train_dataset=pairs,
        eval_dataset=rows(8, 3),
        data_collator=DomainCollator(default_collate),
        callbacks=[AdversarialSchedule(), LogScalars(), *callbacks],
    )


if __name__ == "__main__":
    folder, size = sys.argv[1], int(sys.argv[2])
    run = trainer(folder, layers=False, per_device_train_batch_size=size, ddp_backend="gloo")
    run.train()
    if run.is_world_process_zero():
        torch.save(run.model.state_dict(), f"{folder}/weights.pt")
