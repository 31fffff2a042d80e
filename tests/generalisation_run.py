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
from hf_transfer_kit.tuning import LogScalars


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
    given = {"per_device_train_batch_size": 8, "max_steps": 6, "save_strategy": "no"}
    args = TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], disable_tqdm=True, logging_steps=1, seed=0,
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


if __name__ == "__main__":
    folder, size = sys.argv[1], int(sys.argv[2])
    run = trainer(folder, layers=False, method="group_dro", per_device_train_batch_size=size, ddp_backend="gloo")
    run.train()
    if run.is_world_process_zero():
        torch.save(run.model.state_dict(), f"{folder}/weights.pt")
