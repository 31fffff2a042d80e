"""One trunk, several tasks: one forward carries rows of all of them, one loss weighs what they say."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.adapters import (
    check_learning,
    put_adapters,
    tell_frozen,
    without_adapter,
)
from hf_transfer_kit.backbones.feature_maps import label_head
from hf_transfer_kit.backbones.held import keep_weights, network_to_hold
from hf_transfer_kit.backbones.new_heads import initialize_module
from hf_transfer_kit.backbones.seeded_eval_mode import seeded, still_batch_norms
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.multitask.configuration import SEPARATOR, MultiTaskConfig
from hf_transfer_kit.multitask.continuing import carry_over
from hf_transfer_kit.multitask.exporting import plain_model_of
from hf_transfer_kit.multitask.heads import HEADS, POOLED
from hf_transfer_kit.multitask.heads.head import Head
from hf_transfer_kit.multitask.packed_batch import PackedBatch, unpack
from hf_transfer_kit.multitask.row_counts import at_least_one, loss_shares
from hf_transfer_kit.multitask.sharding import check_shards
from hf_transfer_kit.multitask.stems import check_channels, own_modules, parameters_of, separate_inputs
from hf_transfer_kit.multitask.trunk import FeatureReader, Features, fitting_network, head_dropout, new_network
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.tuning.scalars import record_scalars

_UNFREEZE = (
    "With peft put the adapters into the network first, from_backbone(get_peft_model(network, ...), tasks), or set the "
    "balancer after get_peft_model."
)


class MultiTaskModel(PreTrainedModel):
    """A network without its head, shared by several tasks, and a head for each.

    In training a batch is packed (``MultiTaskCollator`` makes it): for each input its tensors as ``INPUT__NAME``, for
    each task the positions of its rows in them as ``TASK__rows`` and their ``TASK__labels``. The trunk runs once for
    each input. A task's loss is the mean over its rows in all processes; the model's is their sum, each times the
    task's weight, or what ``balancer`` makes of them. ``loss_TASK`` is handed to ``record_scalars``. A head without
    rows in the batch gets a gradient of exactly zero, none is left out: no parameter is unused in any process.

    Of several inputs each has its own BatchNorms, also where other layers are shared; with ``batch_norm="joint"`` a
    shared one normalises each input by its own batch and keeps one running mean of all.

    Args:
        config: The configuration.
        network: A network that fits it, which becomes the trunk and is changed in place; None makes a random one.

    Attributes:
        trunk: The network; its label head is an identity.
        heads: Task -> head.
        balancer: None for the fixed weights, or a module called with the losses (task -> 0-dim tensor, the same tasks
            in every process) and the shared representation (a tensor, or a list of them that do not depend on each
            other), which gives the loss; its ``weights()``, where it has them, are recorded as ``weight_TASK``.

    Example:
        >>> tasks = {"class": {"type": "classification", "num_labels": 3}, "size": {"type": "regression"}}
        >>> several = MultiTaskModel.from_backbone(model, tasks)
        >>> rows = MultiTaskDataset({"pictures": Source(train, {"class": "labels"})})
        >>> batch = MultiTaskCollator({"default": collator}, several.config.tasks)([rows[0], rows[1]])
        >>> several.train()(**batch).loss.shape
        torch.Size([])
        >>> several.export("class").config.num_labels
        3
    """

    config_class = MultiTaskConfig
    config: MultiTaskConfig
    reader: FeatureReader
    base_model_prefix = "trunk"
    accepts_loss_kwargs = False
    loss_of_all_processes = True
    """Each task's loss is weighed by its rows in all processes (read by ``SharedBatches``)."""
    _keys_to_ignore_on_load_unexpected = [r"^balancer\."]  # noqa: RUF012 - transformers reads it from the class

    @checked_arguments()
    def __init__(self, config: MultiTaskConfig, *, network: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        kinds = [task["type"] for task in config.tasks.values()]
        if network is None:
            network = new_network(config.backbone_config, kinds)
            put_adapters(network, config.adapters)
        self.trunk = network
        self.reading = separate_inputs(
            self.trunk, config.inputs, config.shared_from, own_batch_norms=config.batch_norm == "per_input"
        )
        self.reader = FeatureReader(self.trunk, kinds)
        self.heads = nn.ModuleDict({name: self._new_head(task) for name, task in config.tasks.items()})
        self.balancer: nn.Module | None = None
        self.main_input_name = f"{next(iter(config.inputs))}{SEPARATOR}{self.trunk.main_input_name}"
        self.supports_gradient_checkpointing = self._can_run_layers_again()
        self.post_init()

    @classmethod
    def from_backbone(
        cls,
        network: nn.Module,
        tasks: Mapping[str, Mapping[str, Any]] | Iterable[tuple[str, Mapping[str, Any]]],
        *,
        inputs: Mapping[str, Mapping[str, Any] | None] | None = None,
        shared_from: int = 0,
        batch_norm: str = "per_input",
        keep_head: str | None = None,
        seed: int | None = None,
    ) -> MultiTaskModel:
        """Puts heads on a loaded network, which becomes a part of the model with the weights that it has.

        Args:
            network: A classifier or encoder of transformers, timm's among them, as ``load_model`` or ``AutoModel``
                gives it. One that fits is used as it is and loses its head; of another the body is copied.
            tasks: As in ``MultiTaskConfig``, like the next three.
            inputs: Separate inputs.
            shared_from: Number of first layer groups that each input has for itself.
            batch_norm: ``"per_input"`` or ``"joint"``.
            keep_head: The task that the network can do already: its head is the network's own.
            seed: Of the new weights, without touching the global random state; None draws from it.

        Raises:
            ModelError: When it is no model of transformers, or its architecture has no class for a task.
            SettingsError: When a setting is unknown or out of range, or the head to keep has other outputs.
        """
        inner, adapters = network_to_hold(network, "its tasks")
        config = MultiTaskConfig(copy.deepcopy(inner.config), tasks, inputs, shared_from, batch_norm, adapters)
        kinds = [task["type"] for task in config.tasks.values()]
        if not kinds:
            raise SettingsError("tasks is empty: name at least one task.")
        own_head = None if keep_head is None else without_adapter(label_head(inner)[1])
        with seeded(seed):
            trunk = fitting_network(inner, kinds)
            keep_weights(trunk)
            model = cls(config, network=trunk)
        if own_head is not None:
            model._keep_head(cast(str, keep_head), own_head)
        return model

    @classmethod
    def from_multitask(
        cls,
        model: MultiTaskModel,
        tasks: Mapping[str, Mapping[str, Any]] | Iterable[tuple[str, Mapping[str, Any]]],
        *,
        inputs: Mapping[str, Mapping[str, Any] | None] | None = None,
        shared_from: int = 0,
        old_classes: str = "replaced",
        seed: int | None = None,
    ) -> MultiTaskModel:
        """A model of other tasks, or of more, with all the weights that a trained one has; that one stays as it is.

        Tasks of the same name, type and outputs keep their heads. A further input begins with the layers that the
        model has there.

        Args:
            model: Trained.
            tasks: As in ``MultiTaskConfig``, like the next two.
            inputs: Separate inputs.
            shared_from: Number of first layer groups that each input has for itself.
            old_classes: ``"kept"``: a task that gets further classes in its ``id2label``, behind those that it has,
                keeps the weights of these bit-identical; ``"replaced"``: its head begins fresh.
            seed: Of the new weights, without touching the global random state; None draws from it.

        Raises:
            ModelError: When the architecture has no class for a task.
            SettingsError: When a setting is unknown or out of range, or the first classes of a task whose classes are
                kept are not those that it has.
        """
        if old_classes not in ("kept", "replaced"):
            raise SettingsError(f"old_classes={old_classes!r} is unknown; choose 'kept' or 'replaced'.")
        config = MultiTaskConfig(
            copy.deepcopy(model.config.backbone_config),
            tasks,
            inputs,
            shared_from,
            model.config.batch_norm,
            model.config.adapters,
        )
        with seeded(seed):
            new = cls(config)
            cast(nn.Module, new).to(device=model.device, dtype=model.dtype)
        keep = old_classes == "kept"
        carry_over(model.state_dict(), model.config, new.state_dict(), new.config, keep_classes=keep)
        return new

    def export(self, task: str) -> PreTrainedModel:
        """A copy of trunk and one head as transformers' own class, to be saved, loaded and used as any other.

        Args:
            task: Which one.

        Raises:
            SettingsError: When there is no such task.
        """
        self._check_task(task)
        return plain_model_of(self.trunk, cast(Head, self.heads[task]), self.reader, self.config, task)

    def forward(
        self,
        task: str | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **batch: Tensor,
    ) -> SequenceClassifierOutput:
        """Loss, where there are labels, and logits: of the one task asked for or labelled, else task -> logits.

        Without labels and without ``task`` each task whose input is in the batch gives logits of all rows.

        Args:
            task: Give this task's logits, of its rows or of all; names of inputs may then be the network's own.
            labels: Labels of ``task``. Beside ``TASK__labels`` they are ignored: a collator repeats them under this
                name, which Trainer looks for in evaluation.
            return_dict: Accepted for other libraries' sake; the output is always a ModelOutput.
            **batch: The packed batch. With a single input the network's own names will do.

        Raises:
            DataError: When a name fits no input and no task, or tensors do not fit.
            SettingsError: When there is no such task, or in training when the model is sharded so that it would train
                wrongly.
        """
        if self.training:
            check_shards(self)
        if task is not None:
            self._check_task(task)
        packed = unpack(batch, self.config, task=task, labels=labels)
        features = {name: self._read(name, packed.inputs[name]) for name in self.config.inputs if name in packed.inputs}
        wanted = (
            list(packed.labels)
            or list(packed.rows)
            or [name for name, settings in self.config.tasks.items() if settings["input"] in features]
        )
        if task is not None:
            wanted = [name for name in wanted if name == task] or [task]
        logits: Any = {name: self.heads[name](*self._rows(name, features, packed)) for name in wanted}
        if self.training and task is None and not packed.labels:
            # Such a batch teaches nothing, but every parameter takes part.
            loss: Tensor | None = self._loss({}, features, packed)
        else:
            loss = self._loss(logits, features, packed) if set(logits) <= set(packed.labels) else None
        return SequenceClassifierOutput(loss=loss, logits=next(iter(logits.values())) if len(logits) == 1 else logits)

    def _read(self, name: str, inputs: Mapping[str, Tensor]) -> Features:
        check_channels(self.trunk, name, inputs)
        self.reading.name = name
        # A mixed batch may hold a single row of an input, which has no statistics of its own.
        alone = self.training and len(next(iter(inputs.values()))) == 1
        with still_batch_norms(self.trunk) if alone else nullcontext():
            return self.reader.read(self.trunk, inputs)

    def _rows(self, task: str, features: Mapping[str, Features], packed: PackedBatch) -> tuple[Tensor, Tensor | None]:
        """Features of a task's rows, and their lengths."""
        of_input = features.get(self.config.tasks[task]["input"])
        if of_input is None:
            raise DataError(
                f"Logits of the task {task!r} need the input {self.config.tasks[task]['input']!r}, but the batch holds "
                f"{', '.join(features)}."
            )
        found, lengths = of_input.of[self._head(task).reads], of_input.lengths
        rows = packed.rows.get(task)
        if rows is None:
            return found, lengths
        return found[rows], None if lengths is None else lengths[rows]

    def _loss(self, logits: Mapping[str, Tensor], features: Mapping[str, Features], packed: PackedBatch) -> Tensor:
        totals = {
            name: self._head(name).loss(of_task, packed.labels[name], lengths=self._rows(name, features, packed)[1])
            for name, of_task in logits.items()
        }
        if not self.training:
            return self._weighted({name: total / at_least_one(count) for name, (total, count) in totals.items()})
        weighed = {name: head for name, head in self.heads.items() if self.config.tasks[name]["weight"]}
        tell_frozen(self, {f"heads.{name}": head for name, head in weighed.items()})
        counts = {name: count for name, (_, count) in totals.items()}
        shares = loss_shares(list(self.heads), counts, self.device)
        idle = {name: self._idle(name, features) for name in self.heads if name not in totals}
        losses = {name: totals[name][0] * share if name in totals else idle.pop(name) for name, share in shares.items()}
        record_scalars(self, {f"loss_{name}": loss.detach() for name, loss in losses.items()})
        if self.balancer is None or not losses:
            loss = self._weighted(losses)
        else:
            check_learning(self, {"balancer": self.balancer}, _UNFREEZE)
            shared = [tensor for of_input in features.values() for tensor in of_input.of.values()]
            loss = self.balancer(losses, shared[0] if len(shared) == 1 else shared)
            if hasattr(self.balancer, "weights"):
                record_scalars(self, {f"weight_{name}": w for name, w in cast(Any, self.balancer).weights().items()})
        return sum([*idle.values(), *self._unused(features)], start=loss)

    def _weighted(self, losses: Mapping[str, Tensor]) -> Tensor:
        return cast(Tensor, sum(self.config.tasks[name]["weight"] * loss for name, loss in losses.items()))

    def _unused(self, features: Mapping[str, Features]) -> list[Tensor]:
        """Zeros made of an absent input's own parameters, and of features that no task reads."""
        absent = [name for name in self.config.inputs if name not in features]
        read = {(task["input"], self._head(name).reads) for name, task in self.config.tasks.items()}
        parts = [parameter.flatten() for name in absent for parameter in parameters_of(self.trunk, name)]
        parts += [
            tensor
            for name, of_input in features.items()
            for kind, tensor in of_input.of.items()
            if (name, kind) not in read
        ]
        return [part[:0].sum() for part in parts]

    def _idle(self, task: str, features: Mapping[str, Features]) -> Tensor:
        """Zero, made by the head from no rows: its parameters take part, with gradients of exactly zero."""
        head = self._head(task)
        of_input = features.get(self.config.tasks[task]["input"])
        if of_input is None:
            width = head.linear.in_features
            none = head.linear.weight.new_zeros((0, width))
        else:
            none = of_input.of[head.reads][:0]
        return head(none).float().sum()

    def _head(self, task: str) -> Head:
        return cast(Head, self.heads[task])

    def _new_head(self, task: Mapping[str, Any]) -> Head:
        kind = HEADS[task["type"]]
        near = list(self.trunk.parameters())[-1]  # the first ones are not always where the rest is
        head = kind(
            self.reader.width[kind.reads],
            task["num_labels"],
            dropout=head_dropout(cast(PreTrainedConfig, self.config.backbone_config), kind.kind),
            **{option: task[option] for option in kind.options},
        ).to(device=near.device, dtype=near.dtype)
        if not hasattr(self.trunk, "timm_model"):
            initialize_module(self.trunk, head.linear)
        if kind.reads == POOLED and not self.reader.has_bias:
            head.linear.bias = None  # type: ignore[assignment]  # as nn.Linear(bias=False) has it
        return head

    def _can_run_layers_again(self) -> bool:
        """Whether activations may be checkpointed: layers that run again in the backward must not notice it.

        BatchNorms would count their rows twice, and timm's networks would run them as the input that was read last.
        """
        has_batch_norm = any(isinstance(module, _BatchNorm) for module in self.trunk.modules())
        several = bool(own_modules(self.trunk)) and hasattr(self.trunk, "timm_model")
        return bool(self.trunk.supports_gradient_checkpointing) and not has_batch_norm and not several

    def _keep_head(self, task: str, own: nn.Module) -> None:
        self._check_task(task)
        head = self._head(task)
        if not isinstance(own, nn.Linear) or own.weight.shape != head.linear.weight.shape or own.bias is None:
            raise SettingsError(
                f"keep_head={task!r}: the network's own head does not fit a task of {head.num_labels} outputs on "
                f"{head.linear.in_features} features. Give the task the network's num_labels, or leave keep_head out."
            )
        head.load_plain(own.state_dict())

    def _check_task(self, task: str) -> None:
        if task not in self.config.tasks:
            raise SettingsError(
                f"There is no task {task!r}; the model has {', '.join(self.config.tasks)}."
                f"{did_you_mean(task, self.config.tasks)}"
            )

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the trunk initialises its own, and heads are made with the weights they begin with."""


AutoConfig.register(MultiTaskConfig.model_type, MultiTaskConfig)
AutoModel.register(MultiTaskConfig, MultiTaskModel)
