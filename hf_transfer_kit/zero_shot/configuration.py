"""The configuration of a network that names classes by their attributes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from transformers import AutoConfig, PreTrainedConfig

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.held import held_config, refuse_near_settings
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.real_numbers import is_finite
from hf_transfer_kit.zero_shot.methods import ALL_METHODS


class ZeroShotConfig(PreTrainedConfig):
    """A network, the method that reads classes from its features, and the names of classes and attributes.

    The values of the table are weights of the model, so that ten thousand classes do not burden the configuration.

    Args:
        backbone_config: Configuration of a classifier for images, texts or sounds, whose head is left away; a dict is
            read back by its ``model_type``.
        classes: Names of all classes, the order of the logits; ``id2label`` says the same.
        attributes: Names of the attributes.
        seen: Names of the classes that training shows, in the order of the method's ``signatures``.
        method: Name in ``hf_transfer_kit.zero_shot.METHODS`` or ``JOINT_METHODS``.
        method_options: Keyword arguments of the method.
        gamma: What is subtracted from the scores of seen classes (calibrated stacking; Chao et al. 2016, ECCV).

    Raises:
        SettingsError: When the method is unknown, a class or attribute stands twice, or gamma is no number.

    Example:
        >>> config = ZeroShotConfig(model.config, table.classes, table.attributes, table.classes[:4], method="eszsl")
        >>> config.method, config.num_labels
        ('eszsl', 6)
    """

    model_type = "zero_shot"
    sub_configs: ClassVar[dict[str, Any]] = {"backbone_config": AutoConfig}

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        backbone_config: PreTrainedConfig | Mapping[str, Any] | None = None,
        classes: Sequence[str] = (),
        attributes: Sequence[str] = (),
        seen: Sequence[str] = (),
        method: str = "eszsl",
        method_options: Mapping[str, Any] | None = None,
        gamma: float = 0.0,
        adapters: Mapping[str, Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        if method not in ALL_METHODS:
            raise SettingsError(
                f"method={method!r} is unknown; choose one of {', '.join(ALL_METHODS)}."
                f"{did_you_mean(method, ALL_METHODS)}"
            )
        if isinstance(gamma, bool) or not is_finite(gamma):
            raise SettingsError(f"gamma={gamma!r}: give a finite number, 0 for no calibration.")
        refuse_near_settings(type(self), kwargs)
        backbone_config = held_config(backbone_config)
        for what, names in (("class", classes), ("attribute", attributes), ("seen class", seen)):
            if twice := [name for name, count in Counter(names).items() if count > 1]:
                raise SettingsError(f"The {what} {twice[0]!r} stands twice. Give each its own name.")
        for derived in ("id2label", "label2id", "num_labels"):
            kwargs.pop(derived, None)
        id2label = dict(enumerate(classes))
        super().__init__(**kwargs, id2label=id2label, label2id={name: index for index, name in id2label.items()})
        self.backbone_config = backbone_config
        self.attributes = list(attributes)
        self.seen = list(seen)
        self.method = method
        self.method_options = dict(method_options or {})
        self.gamma = float(gamma)
        self.adapters = adapters

    @property
    def classes(self) -> list[str]:
        """Names of all classes, in the order of the logits."""
        names = cast(dict[int, str], self.id2label)
        return [names[index] for index in range(len(names))]

    def to_dict(self) -> dict[str, Any]:
        """As any configuration's, with the classes as a list, which alone ``__init__`` reads."""
        values = super().to_dict()
        return {**values, "classes": self.classes}
