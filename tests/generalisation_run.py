"""A short run on two sources in the stock Trainer, by itself or as a process of several."""

import sys

import torch
from torch.utils.data import default_collate
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit.adaptation import (
    DannMnistConfig,
    DannMnistForImageClassification,
    ReshuffleSources,
    SeveralSources,
    SeveralSourcesModel,
    SourcesCollator,
)
from hf_transfer_kit.adaptation.generalisation.objectives import SOURCES_OBJECTIVES
from hf_transfer_kit.tuning import LogScalars, SharedBatches


class Stop(TrainerCallback):
    """Ends training after a step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.step


def rows(count, seed, scale=1.0):
    images = scale * torch.randn(count, 3, 28, 28, generator=torch.Generator().manual_seed(seed))
    return [{"pixel_values": image, "labels": i % 10} for i, image in enumerate(images)]


def trainer(folder, *callbacks, layers=True, method="joint", **settings):
    """A Trainer over sources of 24 and 10 rows: 3 steps an epoch, 6 in all."""
    given = {"use_cpu": True, "per_device_train_batch_size": 8, "max_steps": 6, "save_strategy": "no"}
    args = TrainingArguments(
        output_dir=str(folder), report_to=[], disable_tqdm=True, logging_steps=1, seed=0,
        learning_rate=0.05, optim="sgd", **{**given, **settings},
    )  # fmt: skip
    torch.manual_seed(0)
    network = DannMnistForImageClassification(DannMnistConfig(batch_norm=layers))
    sources = SeveralSources({"one": rows(24, 1), "two": rows(10, 2, scale=3.0)})
    model = SeveralSourcesModel.from_classifier(
        network, sources=sources.names, method=method, batch_norm="per_domain" if layers else "joint"
    )
    return Trainer(
        model,
        args,
        train_dataset=sources,
        eval_dataset=rows(8, 3),
        data_collator=SourcesCollator(default_collate),
        callbacks=[ReshuffleSources(), LogScalars(), *callbacks],
    )


def all_methods(folder, ranks):
    """Losses and weights of each method after epochs that end with a batch of four rows, of which three a step."""
    found = {}
    for method in SOURCES_OBJECTIVES:
        shared, size = SharedBatches(5), -(-5 // ranks)
        run = trainer(folder, shared, layers=False, method=method, per_device_train_batch_size=size)
        run.model.class_weights = torch.linspace(0.5, 2.0, 10)
        run.train()
        losses = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
        found[method] = (losses, run.model.state_dict())
    return found


if __name__ == "__main__":
    found = all_methods(sys.argv[1], 2)
    if torch.distributed.get_rank() == 0:
        torch.save(found, f"{sys.argv[1]}/found.pt")
