"""The configuration of a network that adapts: a classifier's own, and what adapts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from transformers import AutoConfig, PreTrainedConfig

from hf_transfer_kit.adaptation.objectives import METHODS
from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.held import held_config, refuse_near_settings
from hf_transfer_kit.backbones.new_heads import MOST_CLASSES
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.options import check_int

BATCH_NORMS = ("per_domain", "joint")


class DomainAdversarialConfig(PreTrainedConfig):
    """A classifier, the method that adapts it, and how the two domains pass through it.

    Args:
        backbone_config: Configuration of the classifier: any architecture with a classifier for images, texts or
            sounds; a dict is read back by its ``model_type``.
        num_labels: Number of classes; None takes it, and their names, from ``backbone_config``.
        method: Name in ``hf_transfer_kit.adaptation.objectives.METHODS``.
        method_options: Keyword arguments of the method.
        batch_norm: ``"per_domain"``: each domain is normalised by its own statistics, and evaluation uses the target's;
            ``"joint"``: both share one set. Nothing to a network without BatchNorm.
        together: Whether the domains pass through the network in one forward (True) or one after the other (False).
            None chooses the faster one: apart on the CPU and wherever their sizes differ, else together. Either way
            ``batch_norm`` holds, except that apart and ``"joint"`` normalises each domain by its own batch and shares
            only the running statistics.
        adapters: What peft put inside the classifier, by name, as ``adapter_settings`` gives it; None for nothing.

    Raises:
        SettingsError: When the method or the kind of statistics is unknown.

    Example:
        >>> config = DomainAdversarialConfig(model.config, method="mcc", method_options={"temperature": 2.0})
        >>> config.method, config.num_labels
        ('mcc', 3)
    """

    model_type = "domain_adversarial"
    sub_configs: ClassVar[dict[str, Any]] = {"backbone_config": AutoConfig}

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        backbone_config: PreTrainedConfig | Mapping[str, Any] | None = None,
        num_labels: int | None = None,
        method: str = "dann",
        method_options: Mapping[str, Any] | None = None,
        batch_norm: str = "per_domain",
        together: bool | None = None,
        adapters: Mapping[str, Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        if method not in METHODS:
            raise SettingsError(
                f"method={method!r} is unknown; choose one of {', '.join(METHODS)}.{did_you_mean(method, METHODS)}"
            )
        if batch_norm not in BATCH_NORMS:
            raise SettingsError(
                f"batch_norm={batch_norm!r} is unknown; choose {' or '.join(map(repr, BATCH_NORMS))}. To gather the "
                "target's statistics after training, use reestimate_batch_norm."
            )
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
        self.method = method
        self.method_options = dict(method_options or {})
        self.batch_norm = batch_norm
        self.together = together
        self.adapters = adapters
