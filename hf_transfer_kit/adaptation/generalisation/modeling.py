"""A classifier that learns from several sources at once: one call a step carries rows of all."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_transfer_kit.adaptation.fitting import new_classifier
from hf_transfer_kit.adaptation.generalisation.batch_norm import join_sources, separate_sources
from hf_transfer_kit.adaptation.generalisation.configuration import SeveralSourcesConfig
from hf_transfer_kit.adaptation.generalisation.objectives import SOURCES_OBJECTIVES, SourcesBatch
from hf_transfer_kit.adaptation.label_head import LabelHead
from hf_transfer_kit.adaptation.subclassing import restore_forward
from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.adapters import merge_adapters, put_adapters
from hf_transfer_kit.backbones.auto_classes import classifier_class
from hf_transfer_kit.backbones.batch_norms import batch_norms
from hf_transfer_kit.backbones.held import keep_weights, network_to_hold
from hf_transfer_kit.backbones.precision import in_float32
from hf_transfer_kit.backbones.seeded_eval_mode import still_batch_norms
from hf_transfer_kit.errors import DataError, ModelError, SettingsError
from hf_transfer_kit.tuning.all_rows import all_rows
from hf_transfer_kit.tuning.scalars import record_scalars
from hf_transfer_kit.values import MODALITIES


class SeveralSourcesModel(PreTrainedModel):
    """A classifier of transformers with a method for several sources beside it.

    In training one forward takes the classifier's inputs under its own names, ``labels``, and ``domains``, the number
    of each row's source (``SourcesCollator`` gives it). Its loss is the method's; what it is made of is handed to
    ``record_scalars``, and ``LogScalars`` logs it. In evaluation, and without ``domains``, it is the classifier alone.

    Args:
        config: The configuration.
        network: A classifier that fits ``config.backbone_config``, used as it is; None makes a random one.

    Attributes:
        network: The classifier.
        objective: The method.
        class_weights: Of the cross entropy in training, buffer (C,) that is not saved, or None.

    Raises:
        ModelError: When each source is to have statistics of its own and the network has no BatchNorm.

    Example:
        >>> sources = SeveralSources({"photo": train, "art": target})
        >>> several = SeveralSourcesModel.from_classifier(model, sources=sources.names, method="coral")
        >>> batch = SourcesCollator(collator)([sources[0], sources[1]])
        >>> several.train()(**batch).loss.shape
        torch.Size([])
        >>> type(several.export_classifier()) is type(model)
        True
    """

    config_class = SeveralSourcesConfig
    accepts_loss_kwargs = False
    loss_of_all_processes = True
    """In training every process computes the loss of all processes' rows (read by ``SharedBatches``)."""
    _keep_in_fp32_modules_strict: ClassVar = ["objective"]  # type: ignore[misc]  # a class's list in transformers too

    class_weights: Tensor | None

    @checked_arguments()
    def __init__(self, config: SeveralSourcesConfig, *, network: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if network is None:
            if config.backbone_config is None:
                raise SettingsError(
                    "A SeveralSourcesConfig needs backbone_config, the configuration of a classifier, to make a model "
                    "of; or use SeveralSourcesModel.from_classifier(load_model(...), sources=[...])."
                )
            network = new_classifier(config.backbone_config)
            put_adapters(network, config.adapters)
        self.network = network
        self.main_input_name = self.network.main_input_name
        self.label_head = LabelHead(self.network)
        self.objective = SOURCES_OBJECTIVES[config.method](count=len(config.sources), **config.method_options)
        self.has_batch_norm = bool(batch_norms(self.network))
        self.reading = None
        if config.batch_norm == "per_domain":
            if not self.has_batch_norm:
                raise ModelError(
                    f"{type(self.network).__name__} has no BatchNorm, so there are no statistics of each source to "
                    "keep apart. Use batch_norm='joint'."
                )
            self.reading = separate_sources(self.network, len(config.sources))
        # Layers that are run again in the backward would count their rows twice.
        self.supports_gradient_checkpointing = (
            bool(self.network.supports_gradient_checkpointing) and not self.has_batch_norm
        )
        self.register_buffer("class_weights", None, persistent=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Those of the network; accelerate asks for them when it shards."""
        return self.network.get_input_embeddings()

    @classmethod
    def from_classifier(
        cls,
        network: nn.Module,
        *,
        sources: Sequence[str],
        method: str = "joint",
        method_options: Mapping[str, Any] | None = None,
        batch_norm: str = "joint",
    ) -> SeveralSourcesModel:
        """Puts a method beside a loaded classifier, which becomes a part of the model with the weights that it has.

        Args:
            network: A classifier of transformers, timm's among them, as ``load_model`` gives it. Adapters that peft put
                into its layers stay there, trained, saved and loaded with the model; ``export_classifier`` merges them.
            sources: Names of the sources, as in ``SeveralSources(...).names``.
            method: As in ``SeveralSourcesConfig``, like the rest.
            method_options: Keyword arguments of the method.
            batch_norm: Whose statistics normalise which rows.

        Raises:
            ModelError: When it is no classifier of transformers, has no pooled features before a linear layer, or no
                BatchNorm to keep statistics of each source in.
            SettingsError: When a setting is unknown or out of range.
        """
        inner, adapters = network_to_hold(network, "its method")
        config = SeveralSourcesConfig(
            inner.config,
            sources=sources,
            method=method,
            method_options=method_options,
            batch_norm=batch_norm,
            adapters=adapters,
        )
        keep_weights(inner)
        return cls(config, network=inner)

    def export_classifier(self) -> PreTrainedModel:
        """A copy of the classifier alone, with statistics of all sources, to be saved, loaded and used as any other."""
        network = copy.deepcopy(self.network)
        merge_adapters(network)
        restore_forward(network.get_submodule(self.label_head.name))
        if self.reading is not None:
            join_sources(network)
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
        domains: Tensor | None = None,
        return_dict: bool | None = None,
        **others: Tensor,
    ) -> SequenceClassifierOutput:
        """Loss (with labels) and logits (B, C).

        Args:
            pixel_values: Or another input of the classifier under its own name.
            input_ids: As above, like the next four.
            attention_mask: As above.
            token_type_ids: As above.
            input_values: As above.
            input_features: As above.
            labels: Classes of the rows, int64 of shape (B,).
            domains: Which source each row is of, int64 of shape (B,) in [0, K); of training batches.
            return_dict: Accepted for other libraries' sake; the output is always a ModelOutput.
            **others: Further inputs of the classifier.

        Raises:
            DataError: In training, when labels come without ``domains``.
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
        if self.training and labels is not None:
            if domains is None:
                raise DataError(
                    "A training batch must say which source each row is of, but this one has no 'domains'. Train on "
                    "SeveralSources({name: rows, ...}) with SourcesCollator(collator) as data_collator."
                )
            return self._learned(inputs, labels, domains)
        logits, _ = self._read(inputs)
        loss = None if labels is None else functional.cross_entropy(in_float32(logits), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _learned(self, inputs: dict[str, Tensor], labels: Tensor, domains: Tensor) -> SequenceClassifierOutput:
        back = None
        if self.reading is not None:
            # Source after source, so that each BatchNorm cuts its input without copying it.
            order = torch.argsort(domains, stable=True)
            back = torch.argsort(order)
            inputs = {name: value[order] for name, value in inputs.items()}
            labels, domains = labels[order], domains[order]
            self.reading.rows = torch.bincount(domains, minlength=len(self.config.sources)).tolist()
        try:
            logits, features = self._read(inputs)
        finally:
            if self.reading is not None:
                self.reading.rows = None
        losses = functional.cross_entropy(in_float32(logits), labels, weight=self.class_weights, reduction="none")
        batch = SourcesBatch(
            features=all_rows(features),
            losses=all_rows(losses),
            domains=all_rows(domains),
            count=len(self.config.sources),
        )
        loss, scalars = self.objective.loss(batch)
        record_scalars(self, scalars)
        return SequenceClassifierOutput(loss=loss, logits=logits if back is None else logits[back])

    def _read(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, C) and features (B, D)."""
        rows = self.reading.rows if self.reading is not None else None
        # One row, of a last batch, has no statistics of its own.
        alone = self.training and self.has_batch_norm
        alone = alone and (1 in rows if rows else any(len(value) == 1 for value in inputs.values()))
        with still_batch_norms(self.network) if alone else nullcontext():
            logits = self.network(**inputs).logits
        return logits, self.label_head.features(inputs)

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the network initialises its own, and objectives are made with the weights they begin with."""


AutoConfig.register(SeveralSourcesConfig.model_type, SeveralSourcesConfig)
for _auto in (AutoModel, *map(classifier_class, MODALITIES)):
    cast(Any, _auto).register(SeveralSourcesConfig, SeveralSourcesModel)
