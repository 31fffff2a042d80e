"""The stock Trainer with FSDP2 on two processes of the CPU, and the same training in one process with whole weights.

``CASES`` are the parts that work there, each as a small training; ``REFUSED`` those that do not. Together they are all
callbacks of the rooms that train.
"""

from __future__ import annotations

import inspect
import os

import torch
import transformers.trainer
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from term_cases import case
from torch import nn
from torch.distributed.tensor import distribute_tensor
from transformers import Trainer, TrainingArguments, default_data_collator

from hf_transfer_kit.adaptation import (
    SWAD,
    AdversarialSchedule,
    DomainAdversarialModel,
    DomainCollator,
    DomainPairs,
    MeanTeacher,
    PseudoLabels,
    ReestimateBatchNorm,
    ReshuffleSources,
    SeveralSources,
    SeveralSourcesModel,
    SourcesCollator,
    TargetScores,
    TargetShares,
)
from hf_transfer_kit.multitask import (
    BALANCERS,
    BalancingEpochs,
    MultiTaskCollator,
    MultiTaskDataset,
    MultiTaskEpochs,
    MultiTaskModel,
    Source,
)
from hf_transfer_kit.tuning import (
    BSS,
    DELTA,
    EMA,
    L2SP,
    SWA,
    CoTuning,
    FairLossScale,
    FreezeLayers,
    FreezeSchedule,
    GradientRates,
    GradualUnfreezing,
    GuardCheckpoints,
    L2SPFisher,
    LearnedRates,
    LogScalars,
    LwF,
    RestoreWeights,
    RoundWeights,
    SharedBatches,
    SurgicalTuning,
    WeightInterpolation,
    layerwise_optimizer,
)

CAN_SHARD_ON_THE_CPU = "src_data_rank" in inspect.signature(distribute_tensor).parameters
NO_SHARDS = "fully_shard of torch 2.6 does not run on the CPU"
TASKS = {name: {"type": "classification", "num_labels": 3} for name in ("first", "second")}


class LaidOut(Accelerator):
    """accelerate looks for FSDP and DeepSpeed on other devices than CPUs only; told so, it lays out there too."""

    kind, plugin = DistributedType.FSDP, None

    def __init__(self, *args, fsdp_plugin=None, **kwargs):
        super().__init__(*args, fsdp_plugin=fsdp_plugin, **kwargs)
        if plugin := self.plugin or fsdp_plugin:
            self.state.distributed_type = PartialState._shared_state["distributed_type"] = self.kind
            self.state.fsdp_plugin = plugin
            if kwargs.get("mixed_precision", "no") not in ("no", None) and fsdp_plugin:
                plugin.set_mixed_precision(kwargs["mixed_precision"])


def arguments(folder, *, sharded, fsdp=None, **settings):
    """Three steps of four rows, over one process or two; whole in two processes is DistributedDataParallel."""
    AcceleratorState._reset_state(reset_partial_state=True)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    given = {
        "use_cpu": True,
        "report_to": [],
        "max_steps": 3,
        "learning_rate": 0.02,
        "max_grad_norm": 0.5,
        "weight_decay": 0.1,
        "per_device_train_batch_size": 4 // processes,
        "per_device_eval_batch_size": 4 // processes,
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "seed": 0,
    }
    if processes > 1:
        given["ddp_backend"] = "gloo"
    if sharded:
        transformers.trainer.Accelerator = LaidOut
        given |= {
            "fsdp": True,
            "fsdp_config": {"version": 2, "transformer_layer_cls_to_wrap": ["BertLayer"], **(fsdp or {})},
        }
    return TrainingArguments(str(folder), **{**given, **settings})


def network(seed=0):
    """A small BERT in float64 without dropout, whose loss is a mean, and 24 rows."""
    model, rows = case("bert", seed=seed, double=True)
    model.accepts_loss_kwargs = False
    return model, rows * 4


def whole(model):
    """Name -> each parameter and buffer as it is when no process has a part only; all processes must call it."""
    found = [*model.named_parameters(), *model.named_buffers()]
    return {n: (t.full_tensor() if hasattr(t, "full_tensor") else t).detach().clone() for n, t in found}


class Case:
    """A training of one part.

    Args:
        make: Model and rows -> callbacks.
        wrap: Model -> model; rows -> what is trained on; and what makes batches.
        optimizer: Model and arguments -> ``optimizer_cls_and_kwargs``.
        **settings: Of ``arguments``.
    """

    def __init__(self, make, *, wrap=None, rows=None, collate=None, optimizer=None, **settings):
        self.make, self.wrap, self.rows, self.collate = make, wrap, rows, collate
        self.optimizer, self.settings = optimizer, settings

    def trainer(self, folder, *, sharded, fsdp=None, more=(), **settings):
        model, rows = network()
        torch.manual_seed(0)
        model = model if self.wrap is None else self.wrap(model)
        args = arguments(folder, sharded=sharded, fsdp=fsdp, **{**self.settings, **settings})
        words = {} if self.optimizer is None else {"optimizer_cls_and_kwargs": self.optimizer(model, args)}
        return Trainer(
            model,
            args,
            train_dataset=rows if self.rows is None else self.rows(rows),
            eval_dataset=rows[:8],
            data_collator=None if self.collate is None else self.collate(model),
            callbacks=[*self.make(model, rows), *more],
            **words,
        )


def _source():
    return network(seed=5)[0]


def _as_transformers_has_it(model):
    """Takes ``num_items_in_batch`` and ignores it, which a forward before training finds out."""
    del model.accepts_loss_kwargs
    return model


def _adapters(model):
    import peft

    config = {"task_type": "SEQ_CLS", "r": 2, "target_modules": ["query", "value"], "init_lora_weights": False}
    model = peft.get_peft_model(model, peft.LoraConfig(**config)).double()
    model.accepts_loss_kwargs = False
    return model


def _several_tasks(balancer):
    def wrap(model):
        model = MultiTaskModel.from_backbone(model, TASKS)
        model.balancer = BALANCERS[balancer](list(TASKS))
        return model.double()

    return {
        "wrap": wrap,
        "rows": lambda rows: MultiTaskDataset(
            {
                "one": Source(
                    [{**row, "other": (row["labels"] + int(row["input_ids"][1])) % 3} for row in rows],
                    {"first": "labels", "second": "other"},
                )
            }
        ),
        "collate": lambda model: MultiTaskCollator({"default": default_data_collator}, model.config.tasks),
    }


ADAPTED = {
    "wrap": lambda model: DomainAdversarialModel.from_classifier(model, method="dann").double(),
    "rows": lambda rows: DomainPairs(rows, [{n: v for n, v in row.items() if n != "labels"} for row in rows[::-1]]),
    "collate": lambda model: DomainCollator(default_data_collator),
}
SEVERAL_SOURCES = {
    "wrap": lambda model: SeveralSourcesModel.from_classifier(model, sources=["a", "b"]).double(),
    "rows": lambda rows: SeveralSources({"a": rows[:12], "b": rows[12:]}),
    "collate": lambda model: SourcesCollator(default_data_collator),
}
STAGES = [{"train": "head", "until": "1 steps"}, {"train": "all", "rates": {"body": 0.1}}]
STEP_BY_STEP = {"max_steps": 5, "eval_strategy": "steps", "eval_steps": 1}

# Of nine rows the second process has fewer than the first.
CASES = {
    "FreezeLayers": Case(lambda model, rows: [FreezeLayers(first=2, quiet=True)]),
    "GradualUnfreezing": Case(lambda model, rows: [GradualUnfreezing(every="1 steps", quiet=True)], **STEP_BY_STEP),
    "FreezeSchedule": Case(lambda model, rows: [FreezeSchedule(STAGES, quiet=True)]),
    "SurgicalTuning": Case(lambda model, rows: [SurgicalTuning(quiet=True)], max_steps=5),
    "GradientRates": Case(lambda model, rows: [GradientRates()]),
    "layerwise_optimizer": Case(
        lambda model, rows: [LearnedRates()],
        optimizer=lambda model, args: layerwise_optimizer(model, args, decay=0.5),
    ),
    "L2SP": Case(
        lambda model, rows: [L2SP(0.3, 0.2, log_distances=True), FairLossScale()],
        wrap=_as_transformers_has_it,
        gradient_accumulation_steps=2,
    ),
    "L2SP of LoRA": Case(lambda model, rows: [L2SP(0.3, 0.2, log_distances=True)], wrap=_adapters),
    "L2SPFisher": Case(
        lambda model, rows: [L2SPFisher(0.3, fisher={n: 1 + p.detach().abs() for n, p in model.named_parameters()})]
    ),
    "WeightInterpolation": Case(lambda model, rows: [WeightInterpolation([0.0, 0.5], eval_dataset=rows[:9])]),
    "DELTA": Case(lambda model, rows: [DELTA(alpha=0.5)]),
    "DELTA with attention": Case(lambda model, rows: [DELTA(alpha=0.5, attention="loss", attention_rows=4)]),
    "BSS": Case(lambda model, rows: [BSS(alpha=0.5)]),
    "SharedBatches": Case(lambda model, rows: [SharedBatches()]),
    "LwF": Case(lambda model, rows: [LwF(source=_source())]),
    "CoTuning": Case(lambda model, rows: [CoTuning(source=_source())]),
    "RoundWeights": Case(lambda model, rows: [RoundWeights("bfloat16")], wrap=lambda model: model.float()),
    "GuardCheckpoints": Case(lambda model, rows: [GuardCheckpoints(), RestoreWeights(None)]),
    "AdversarialSchedule": Case(lambda model, rows: [AdversarialSchedule(), LogScalars()], **ADAPTED),
    "ReshuffleSources": Case(lambda model, rows: [ReshuffleSources()], **SEVERAL_SOURCES),
    "MultiTaskEpochs": Case(lambda model, rows: [MultiTaskEpochs(), BalancingEpochs()], **_several_tasks("mgda")),
}
REFUSED = {
    "EMA": Case(lambda model, rows: [EMA()]),
    "SWA": Case(lambda model, rows: [SWA()]),
    "MeanTeacher": Case(lambda model, rows: [MeanTeacher()]),
    "SWAD": Case(lambda model, rows: [SWAD()], eval_strategy="steps", eval_steps=1),
    "ReestimateBatchNorm": Case(lambda model, rows: [ReestimateBatchNorm(rows, default_data_collator)]),
    "PseudoLabels": Case(lambda model, rows: [PseudoLabels(rows, default_data_collator)], **ADAPTED),
    "TargetShares": Case(lambda model, rows: [TargetShares([0, 1, 2], rows, default_data_collator)], **ADAPTED),
    "TargetScores": Case(lambda model, rows: [TargetScores(rows, rows, default_data_collator)], **ADAPTED),
    "DELTA with beta": Case(lambda model, rows: [DELTA(beta=0.1)]),
}


class Pulls(transformers.TrainerCallback):
    """What a part before it adds to the gradients in the optimizer's first step, and the weights there, whole."""

    def __init__(self):
        self.pull, self.weights = {}, {}

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.model, inner = model, getattr(optimizer, "optimizer", optimizer)
        inner.register_step_pre_hook(self._after)

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if not self.pull:
            self._before, self.weights = self._gradients(), whole(model)

    def _after(self, optimizer, args, kwargs):
        if not self.pull:
            self.pull = {name: value - self._before[name] for name, value in self._gradients().items()}

    def _gradients(self):
        gradients = nn.Module.named_parameters(self.model)
        return {
            n: (p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad).clone()
            for n, p in gradients
            if p.grad is not None
        }
