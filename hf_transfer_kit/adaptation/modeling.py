"""A classifier that adapts: one call a step carries both domains, one loss teaches labels and adaptation."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModel,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_transfer_kit.adaptation.batch_norm import join_domains, separate_domains
from hf_transfer_kit.adaptation.configuration import DomainAdversarialConfig
from hf_transfer_kit.adaptation.domain_pairs import TARGET
from hf_transfer_kit.adaptation.fitting import check_channels, new_classifier
from hf_transfer_kit.adaptation.label_head import LabelHead
from hf_transfer_kit.adaptation.objectives import METHODS, DomainBatch
from hf_transfer_kit.adaptation.objectives.source_free import SourceFreeObjective
from hf_transfer_kit.adaptation.subclassing import restore_forward
from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.adapters import check_learning, merge_adapters, put_adapters
from hf_transfer_kit.backbones.auto_classes import classifier_class
from hf_transfer_kit.backbones.batch_norms import batch_norms
from hf_transfer_kit.backbones.held import keep_weights, network_to_hold
from hf_transfer_kit.backbones.precision import in_float32
from hf_transfer_kit.backbones.seeded_eval_mode import still_batch_norms
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.tuning.all_rows import all_rows
from hf_transfer_kit.tuning.scalars import record_scalars
from hf_transfer_kit.values import MODALITIES

_DOMAINS = ("target", "source")
_UNFREEZE = (
    "With peft put the adapters into the network first, from_classifier(get_peft_model(network, ...)), or give "
    'modules_to_save=["objective"].'
)


class DomainAdversarialModel(PreTrainedModel):
    """A classifier of transformers with a method of adaptation beside it.

    In training one forward takes the source's inputs under the classifier's own names, ``labels`` of the source, and
    the target's inputs under the same names with ``target_`` before them. Its loss is the mean cross entropy of the
    source rows plus the method's terms; each is handed to ``record_scalars``, and ``LogScalars`` logs them. In
    evaluation it is the classifier alone, with BatchNorm statistics of ``evaluate_as``.

    Args:
        config: The configuration.
        network: A classifier that fits ``config.backbone_config``, used as it is; None makes a random one.

    Attributes:
        network: The classifier.
        objective: The method.
        strength: Lambda, 0-dim buffer; 1 until an ``AdversarialSchedule`` writes it.
        progress: How far training is, 0-dim buffer in [0, 1]; written by ``AdversarialSchedule``.
        class_weights: Of the source rows' cross entropy in training, buffer (C,) that is not saved, or None.
        source_weights: How much source rows of each class count, buffer (C,) that is not saved, or None; written by
            ``TargetShares``.
        evaluate_as: ``"target"`` or ``"source"``: whose BatchNorm statistics evaluation uses.

    Example:
        >>> adapted = DomainAdversarialModel.from_classifier(model, method="dann")
        >>> pairs = DomainPairs(train, target)
        >>> batch = DomainCollator(collator)([pairs[0], pairs[1]])
        >>> adapted.train()(**batch).loss.shape
        torch.Size([])
        >>> type(adapted.export_classifier()) is type(model)
        True
    """

    config_class = DomainAdversarialConfig
    accepts_loss_kwargs = False
    loss_of_all_processes = True
    """In training every process computes the loss of all processes' rows (read by ``SharedBatches``)."""
    _keep_in_fp32_modules_strict: ClassVar = ["objective"]  # type: ignore[misc]  # a class's list in transformers too

    class_weights: Tensor | None
    source_weights: Tensor | None
    strength: Tensor
    progress: Tensor

    @checked_arguments()
    def __init__(self, config: DomainAdversarialConfig, *, network: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if network is None:
            network = new_classifier(config.backbone_config)
            put_adapters(network, config.adapters)
        self.network = network
        self.main_input_name = self.network.main_input_name
        self.label_head = LabelHead(self.network)
        self.objective = METHODS[config.method](
            width=self.label_head.width, num_labels=cast(int, config.num_labels), **config.method_options
        )
        if isinstance(self.objective, SourceFreeObjective):
            self.objective.freeze(self.network, self.label_head.module)
        self.has_batch_norm = bool(batch_norms(self.network))
        self.reading = separate_domains(self.network, per_domain=config.batch_norm == "per_domain")
        # Layers that are run again in the backward would count their rows twice, and those of the source as target.
        self.supports_gradient_checkpointing = (
            bool(self.network.supports_gradient_checkpointing) and not self.has_batch_norm
        )
        self.evaluate_as = "target"
        self.register_buffer("class_weights", None, persistent=False)
        self.register_buffer("source_weights", None, persistent=False)
        self.register_buffer("strength", torch.ones(()))
        self.register_buffer("progress", torch.zeros(()))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Those of the network; accelerate asks for them when it shards."""
        return self.network.get_input_embeddings()

    @classmethod
    def from_classifier(
        cls,
        network: nn.Module,
        *,
        method: str = "dann",
        method_options: Mapping[str, Any] | None = None,
        batch_norm: str = "per_domain",
        together: bool | None = None,
    ) -> DomainAdversarialModel:
        """Puts a method beside a loaded classifier, which becomes a part of the model with the weights that it has.

        Args:
            network: A classifier of transformers, timm's among them, as ``load_model`` gives it. Adapters that peft put
                into its layers stay there, trained, saved and loaded with the model; ``export_classifier`` merges them.
            method: As in ``DomainAdversarialConfig``, like the rest.
            method_options: Keyword arguments of the method.
            batch_norm: Whose statistics normalise which rows.
            together: Whether the domains share one forward.

        Raises:
            ModelError: When it is no classifier of transformers, or has no pooled features before a linear layer.
            SettingsError: When a setting is unknown or out of range.
        """
        inner, adapters = network_to_hold(network, "its method")
        config = DomainAdversarialConfig(
            inner.config,
            method=method,
            method_options=method_options,
            batch_norm=batch_norm,
            together=together,
            adapters=adapters,
        )
        keep_weights(inner)
        return cls(config, network=inner)

    def export_classifier(self) -> PreTrainedModel:
        """A copy of the classifier alone, with the target's statistics, to be saved, loaded and used as any other."""
        network = copy.deepcopy(self.network)
        merge_adapters(network)
        restore_forward(network.get_submodule(self.label_head.name))
        join_domains(network)
        return network.eval()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        input_values: Tensor | None = None,
        input_features: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        of_source: Tensor | None = None,
        row_numbers: Tensor | None = None,
        **others: Tensor,
    ) -> SequenceClassifierOutput:
        """Loss (with labels) and logits (S, C) of the source rows; in training with labels also adapts.

        Args:
            pixel_values: Or another input of the classifier under its own name.
            input_ids: As above, like the next four.
            attention_mask: As above.
            token_type_ids: As above.
            input_values: As above.
            input_features: As above.
            labels: Classes of the source rows, int64 of shape (S,).
            return_dict: Accepted for other libraries' sake; the output is always a ModelOutput.
            of_source: Of an evaluation's batch that it is the source's (``SourceRows``), whatever it holds; without it
                rows are read as ``evaluate_as`` says.
            row_numbers: Of target rows that came with it (``TargetRows``, numbered pairs): the number of each, int64
                (T,).
            **others: Further inputs of the classifier; the target's inputs, each as ``target_`` and its name.

        Raises:
            DataError: In training, when the batch holds no target rows and the method needs them.
        """
        given = {
            "pixel_values": pixel_values,
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "input_values": input_values,
            "input_features": input_features,
            **others,
        }
        inputs = {name: value for name, value in given.items() if value is not None}
        source = {name: value for name, value in inputs.items() if not name.startswith(TARGET)}
        target = {name.removeprefix(TARGET): value for name, value in inputs.items() if name.startswith(TARGET)}
        if self.training and labels is None and target and not self.objective.needs_source:
            return self._target_alone(target, row_numbers)
        if not self.training or labels is None:
            return self._evaluated(source, labels, self.evaluate_as if of_source is None else "source")
        return self._adapted(source, target, labels, row_numbers)

    def read(self, inputs: Mapping[str, Tensor], *, domain: str = "target") -> tuple[Tensor, Tensor]:
        """Logits (N, C) and the features (N, D) they are made of.

        Args:
            inputs: Inputs of the classifier by its own names, without labels.
            domain: ``"target"`` or ``"source"``: whose BatchNorm statistics are used.

        Raises:
            SettingsError: When there is no such domain.
        """
        if domain not in _DOMAINS:
            raise SettingsError(
                f"domain={domain!r} is unknown; choose {' or '.join(map(repr, _DOMAINS))}."
                f"{did_you_mean(domain, _DOMAINS)}"
            )
        return self._read(inputs, domain)

    def _evaluated(self, source: dict[str, Tensor], labels: Tensor | None, domain: str) -> SequenceClassifierOutput:
        logits, _ = self.read(source, domain=domain)
        loss = None if labels is None else functional.cross_entropy(in_float32(logits), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _adapted(
        self, source: dict[str, Tensor], target: dict[str, Tensor], labels: Tensor, row_numbers: Tensor | None
    ) -> SequenceClassifierOutput:
        if not target and not self.objective.needs_target:
            return self._source_alone(source, labels)
        if not target:
            raise DataError(
                "A training batch must hold rows of both domains, but this one has no input whose name begins with "
                f"{TARGET!r}. Train on DomainPairs(source, target) with DomainCollator(collator) as data_collator."
            )
        check_learning(self, {"objective": self.objective}, _UNFREEZE)
        check_channels(source, target)
        own = self._both(source, target, labels, row_numbers).in_full_precision()
        batch = own.of_all_processes()
        loss = self._class_loss(batch.source_logits, batch.labels)
        scalars: dict[str, Tensor | float] = {"class_loss": loss, "adversarial_strength": self.strength}
        for name, term in self.objective.terms(batch).items():
            loss = loss + term
            scalars[name] = term
        record_scalars(self, {**scalars, **self.objective.diagnostics(batch)})
        return SequenceClassifierOutput(loss=loss, logits=own.source_logits)

    def _source_alone(self, source: dict[str, Tensor], labels: Tensor) -> SequenceClassifierOutput:
        logits, _ = self._read(source, "source")
        loss = self._class_loss(all_rows(logits), all_rows(labels))
        record_scalars(self, {"class_loss": loss})
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _target_alone(self, target: dict[str, Tensor], row_numbers: Tensor | None) -> SequenceClassifierOutput:
        logits, features = self._read(target, "target")
        batch = DomainBatch(
            source_features=features[:0],
            target_features=features,
            source_logits=logits[:0],
            target_logits=logits,
            labels=torch.zeros(0, dtype=torch.long, device=logits.device),
            progress=self.progress,
            strength=self.strength,
            classify=self.label_head.classify,
            extract=self._extract,
            source_inputs={},
            target_inputs=target,
            row_numbers=row_numbers,
        )
        batch = batch.in_full_precision().of_all_processes()
        terms = self.objective.terms(batch)
        record_scalars(self, {**terms, **self.objective.diagnostics(batch)})
        return SequenceClassifierOutput(loss=cast(Tensor, sum(terms.values())), logits=logits)

    def _class_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy of source rows: a mean over rows, not over their weights, as without weights."""
        given = [weights for weights in (self.class_weights, self.source_weights) if weights is not None]
        weights = cast(Tensor, math.prod(cast(list[Any], given))) if given else None
        return functional.cross_entropy(in_float32(logits), labels, weight=weights, reduction="sum") / len(labels)

    def _both(
        self, source: dict[str, Tensor], target: dict[str, Tensor], labels: Tensor, row_numbers: Tensor | None
    ) -> DomainBatch:
        rows = len(labels)
        if self._together(source, target):
            both = {name: torch.cat([value, target[name]]) for name, value in source.items()}
            logits, features = self._read(both, rows)
            source_logits, target_logits = logits[:rows], logits[rows:]
            source_features, target_features = features[:rows], features[rows:]
        else:
            source_logits, source_features = self._read(source, "source")
            target_logits, target_features = self._read(target, "target")
        return DomainBatch(
            source_features=source_features,
            target_features=target_features,
            source_logits=source_logits,
            target_logits=target_logits,
            labels=labels,
            progress=self.progress,
            strength=self.strength,
            classify=self.label_head.classify,
            extract=self._extract,
            source_inputs=source,
            target_inputs=target,
            source_weights=None if self.source_weights is None else self.source_weights[labels],
            row_numbers=row_numbers,
        )

    def _together(self, source: dict[str, Tensor], target: dict[str, Tensor]) -> bool:
        """Whether one forward carries both domains, which their sizes must allow."""
        fits = all(name in target and value.shape[1:] == target[name].shape[1:] for name, value in source.items())
        if self.config.together is not None:
            return self.config.together and fits
        if self.strength.device.type == "cpu" or not fits:
            return False
        # With a split inside every BatchNorm there is nothing left to win.
        return not self.has_batch_norm or self.config.batch_norm == "joint"

    def _extract(self, **inputs: Tensor) -> Tensor:
        """Features (N, D) of rows that are looked at again; running statistics do not count them twice."""
        # Speech networks make their input require a gradient, which one that has a history does already.
        asking: list[Any] = [module for module in self.network.modules() if getattr(module, "_requires_grad", False)]
        for module in asking:
            module._requires_grad = False
        try:
            _, features = self._read(inputs, "again")
        finally:
            for module in asking:
                module._requires_grad = True
        return features

    def _read(self, inputs: Mapping[str, Tensor], rows: str | int) -> tuple[Tensor, Tensor]:
        """Logits (N, C) and features (N, D)."""
        self.reading.rows = rows
        # One row, of a last batch, has no statistics of its own.
        alone = self.training and self.has_batch_norm and any(len(value) == 1 for value in inputs.values())
        with still_batch_norms(self.network) if alone else nullcontext():
            logits = self.network(**inputs).logits
        self.reading.rows = "target"
        return logits, self.label_head.features(inputs)

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the network initialises its own, and objectives are made with the weights they begin with."""


AutoConfig.register(DomainAdversarialConfig.model_type, DomainAdversarialConfig)
for _auto in (AutoModel, *map(classifier_class, MODALITIES)):
    cast(Any, _auto).register(DomainAdversarialConfig, DomainAdversarialModel)
