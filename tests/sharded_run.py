"""The stock Trainer with FSDP2 on two processes of the CPU, and the same training in one process with whole weights."""

from __future__ import annotations

import inspect

import torch
import transformers.trainer
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from term_cases import case
from torch.distributed.tensor import distribute_tensor
from transformers import Trainer, TrainingArguments

CAN_SHARD_ON_THE_CPU = "src_data_rank" in inspect.signature(distribute_tensor).parameters
NO_SHARDS = "fully_shard of torch 2.6 does not run on the CPU"


class ShardsOnTheCPU(Accelerator):
    """accelerate shards nothing on a CPU, because it looks for FSDP on other devices only; told so it does it there too."""

    def __init__(self, *args, fsdp_plugin=None, **kwargs):
        super().__init__(*args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None:
            self.state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            self.state.fsdp_plugin = fsdp_plugin


def arguments(folder, *, sharded, fsdp=None, **settings):
    """Three steps of four rows, over one process or two."""
    AcceleratorState._reset_state(reset_partial_state=True)
    given = {
        "use_cpu": True,
        "report_to": [],
        "max_steps": 3,
        "learning_rate": 0.02,
        "max_grad_norm": 0.5,
        "weight_decay": 0.1,
        "per_device_train_batch_size": 2 if sharded else 4,
        "per_device_eval_batch_size": 2 if sharded else 4,
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "seed": 0,
    }
    if sharded:
        transformers.trainer.Accelerator = ShardsOnTheCPU
        layers = {"version": 2, "transformer_layer_cls_to_wrap": ["BertLayer"]}
        given |= {"ddp_backend": "gloo", "fsdp": True, "fsdp_config": {**layers, **(fsdp or {})}}
    return TrainingArguments(str(folder), **{**given, **settings})


def network(seed=0):
    """A small BERT in float64 without dropout, and 24 rows."""
    model, rows = case("bert", seed=seed, double=True)
    model.accepts_loss_kwargs = False  # its loss is a mean
    return model, rows * 4


def whole(model):
    """Name -> each parameter and buffer as every process would have it whole; all processes must call it."""
    found = [*model.named_parameters(), *model.named_buffers()]
    return {n: (t.full_tensor() if hasattr(t, "full_tensor") else t).detach().clone() for n, t in found}


def trainer(model, rows, args, *callbacks, **words):
    return Trainer(model, args, train_dataset=rows, eval_dataset=rows[:9], callbacks=list(callbacks), **words)
