"""The configuration of a network of several sources: a classifier's own, and how it is trained on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from transformers import AutoConfig, PreTrainedConfig

from hf_transfer_kit.adaptation.configuration import BATCH_NORMS
from hf_transfer_kit.adaptation.generalisation.objectives import SOURCES_OBJECTIVES
from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.held import held_config, refuse_near_settings
from hf_transfer_kit.backbones.new_heads import MOST_CLASSES
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.options import check_choice, check_int


class SeveralSourcesConfig(PreTrainedConfig):
    """A classifier, the names of its sources, and the method that trains it on them.

    Args:
        backbone_config: Configuration of the classifier: any architecture with a classifier for images, texts or
            sounds; a dict is read back by its ``model_type``.
        num_labels: Number of classes; None takes it, and their names, from ``backbone_config``.
        sources: Names of the sources, in the order of their numbers in ``domains``; one or more.
        method: Name in ``hf_transfer_kit.adaptation.SOURCES_OBJECTIVES``.
        method_options: Keyword arguments of the method.
        batch_norm: ``"joint"``: a step's rows are normalised together; ``"per_domain"``: those of each source by
            themselves, and what is evaluated and exported has statistics pooled over the sources.
        adapters: What peft put inside the classifier, by name, as ``adapter_settings`` gives it; None for nothing.

    Raises:
        SettingsError: When the method, the kind of statistics or a name does not fit.

    Example:
        >>> config = SeveralSourcesConfig(model.config, sources=["photo", "art"], method="coral")
        >>> config.sources, config.num_labels
        (['photo', 'art'], 3)
    """

    model_type = "several_sources"
    sub_configs: ClassVar[dict[str, Any]] = {"backbone_config": AutoConfig}

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        backbone_config: PreTrainedConfig | Mapping[str, Any] | None = None,
        num_labels: int | None = None,
        sources: Sequence[str] = ("source",),
        method: str = "joint",
        method_options: Mapping[str, Any] | None = None,
        batch_norm: str = "joint",
        adapters: Mapping[str, Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        check_choice("SeveralSourcesConfig", "method", method, tuple(SOURCES_OBJECTIVES))
        check_choice("SeveralSourcesConfig", "batch_norm", batch_norm, BATCH_NORMS)
        if isinstance(sources, str) or not sources or len(set(sources)) < len(sources):
            raise SettingsError(f"sources={sources!r} must be a list of names, one or more, none twice.")
        refuse_near_settings(type(self), kwargs)
        backbone_config = held_config(backbone_config)
        if num_labels is not None:
            check_int(type(self).__name__, "num_labels", num_labels, low=1, high=MOST_CLASSES)
        if backbone_config is not None:
            if num_labels is not None and num_labels != backbone_config.num_labels:
                backbone_config.num_labels = num_labels
            kwargs.pop("label2id", None)
            kwargs["id2label"] = dict(cast(dict[int, str], backbone_config.id2label))
            kwargs["label2id"] = dict(cast(dict[str, int], backbone_config.label2id))
        super().__init__(**kwargs)
        self.backbone_config = backbone_config
        self.sources = list(sources)
        self.method = method
        self.method_options = dict(method_options or {})
        self.batch_norm = batch_norm
        self.adapters = adapters
