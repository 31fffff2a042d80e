"""Trains behind a cut, alone or as one of two processes: python prefix_process.py FOLDER BATCH_SIZE."""

import os
import sys
from pathlib import Path

import tiny
import torch
from leaving import leave
from safetensors.torch import save_file
from transformers import Trainer, TrainingArguments, set_seed

from hf_transfer_kit import cache_prefix


def main(folder: str, batch_size: str) -> None:
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    args = TrainingArguments(
        f"{folder}/run",
        max_steps=5,
        per_device_train_batch_size=int(batch_size),
        optim="sgd",
        learning_rate=1e-2,
        use_cpu=True,
        ddp_backend="gloo" if world > 1 else None,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    if world > 1:
        assert args.local_process_index == rank  # makes Accelerate join the processes
    set_seed(0)
    model, _ = tiny.TRANSFORMERS["vit"]()
    generator = torch.Generator().manual_seed(0)
    rows = [{"pixel_values": torch.randn(3, 32, 32, generator=generator), "labels": row % 3} for row in range(60)]
    seen = []
    handle = model.vit.embeddings.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    prefix = cache_prefix(model, 2, rows, batch_size=2, cache_dir=f"{folder}/cache", progress=False)
    handle.remove()
    trainer = Trainer(model, args, train_dataset=prefix.dataset, data_collator=prefix.collator)
    trainer.train()
    print(f"rank {rank}: {sum(seen)} computed, {len(prefix.dataset)} read")
    prefix.rejoin()
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()},
        Path(folder) / f"rank{rank}.safetensors",
    )
    leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
