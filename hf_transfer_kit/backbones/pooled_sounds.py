"""A classifier of sounds on the pooled positions of an encoder, without the projection of transformers' own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForAudioClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_transfer_kit.backbones.feature_maps import position_mask
from hf_transfer_kit.backbones.pooled_encoder import PooledClassifier, PooledEncoderConfig, on_encoder
from hf_transfer_kit.backbones.pooling import pooled_positions, pooled_width
from hf_transfer_kit.errors import ModelError


class PooledSoundsConfig(PooledEncoderConfig):
    """Configuration of an encoder of sounds with a label head on its pooled positions.

    Args:
        encoder_config: Configuration of the encoder; a dict is read back by its ``model_type``.
        pooling: One of ``hf_transfer_kit.backbones.pooling.POOLINGS``.

    Raises:
        SettingsError: When the pooling is unknown.

    Example:
        >>> from transformers import WhisperConfig
        >>> PooledSoundsConfig(WhisperConfig(d_model=16), pooling="statistics", num_labels=3).hidden_size
        16
    """

    model_type = "pooled_sounds"
    sub_configs: ClassVar[dict[str, Any]] = {"encoder_config": AutoConfig}

    def __init__(
        self,
        encoder_config: PreTrainedConfig | Mapping[str, Any] | None = None,
        pooling: str = "mean",
        **kwargs: Any,
    ) -> None:
        # Written out: transformers makes a constructor of its own for a configuration without one.
        super().__init__(encoder_config, pooling, **kwargs)


class PooledSoundsForAudioClassification(PooledClassifier):
    """Logits W x + b of the pooled positions x of a sound.

    transformers' classifiers of sounds read the mean of a projection; the largest values, or mean and standard
    deviation (``"statistics"``), say more of what is short or changes.

    Args:
        config: The configuration.
        encoder: The encoder; None makes a random one.

    Raises:
        ModelError: When the configuration holds no encoder.

    Example:
        >>> from transformers import WhisperConfig
        >>> encoder = WhisperConfig(d_model=8, encoder_layers=1, encoder_attention_heads=2, max_source_positions=50)
        >>> config = PooledSoundsConfig(encoder, pooling="statistics", num_labels=3)
        >>> model = PooledSoundsForAudioClassification(config)
        >>> model(input_features=torch.ones(2, 80, 100)).logits.shape
        torch.Size([2, 3])
    """

    config_class = PooledSoundsConfig
    base_model_prefix = "sounds"  # not "encoder", which some networks have inside
    input_modalities = "audio"

    def __init__(self, config: PooledSoundsConfig, *, encoder: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if config.encoder_config is None:
            raise ModelError("A PooledSoundsConfig needs encoder_config, the configuration of the encoder.")
        if encoder is None:
            encoder = encoder_of(AutoModelForAudioClassification.from_config(config.encoder_config))
        self.sounds = encoder
        self.main_input_name = encoder.main_input_name
        self.supports_gradient_checkpointing = bool(encoder.supports_gradient_checkpointing)
        width = pooled_width(config.hidden_size, config.pooling)
        self.classifier = nn.Linear(width, cast(int, config.num_labels))
        self.post_init()

    def forward(
        self,
        input_features: Tensor | None = None,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **others: Any,
    ) -> SequenceClassifierOutput:
        """Logits (B, C), and with labels transformers' loss of its classifiers.

        Args:
            input_features: Spectra, as the encoder reads them.
            input_values: Waves (B, T), or spectra, where it reads these.
            attention_mask: Of what is no padding, (B, T); without it all counts.
            labels: int64 (B,), or numbers (B,) or (B, C), as ``config.problem_type`` says.
            return_dict: Accepted for other libraries' sake; the output is always a ModelOutput.
            **others: Further inputs of the encoder.
        """
        items = others.pop("num_items_in_batch", None)
        inputs = {"input_features": input_features, "input_values": input_values, "attention_mask": attention_mask}
        given = {name: value for name, value in inputs.items() if value is not None}
        outputs = self.sounds(**given, **others)
        positions = outputs.last_hidden_state
        mask = position_mask(self.sounds, attention_mask, positions.shape[1])
        return self.classified(pooled_positions(positions, mask, how=self.config.pooling), outputs, labels, items)


def encoder_of(classifier: PreTrainedModel) -> PreTrainedModel:
    """The encoder inside a classifier of sounds of transformers."""
    found = getattr(classifier, "encoder", None)
    return found if isinstance(found, PreTrainedModel) else cast(PreTrainedModel, classifier.base_model)


def pooled_sounds(
    classifier: PreTrainedModel, pooling: str, *, num_labels: int = 2, seed: int | None = None
) -> PooledSoundsForAudioClassification:
    """A classifier with a fresh head on the encoder of transformers' classifier, whose own head is left.

    Args:
        classifier: As ``AutoModelForAudioClassification`` loads it.
        pooling: One of ``POOLINGS``.
        num_labels: Of the head.
        seed: Of the head.

    Raises:
        ModelError: When its encoder gives no positions to pool.
    """
    encoder = encoder_of(classifier)
    if encoder is classifier or not hasattr(encoder.config, "hidden_size"):
        raise ModelError(
            f"{type(classifier).__name__} gives no positions of a sound that could be pooled. Leave the pooling out."
        )
    made = PooledSoundsConfig(encoder.config, pooling, num_labels=num_labels)
    return on_encoder(PooledSoundsForAudioClassification, made, encoder, seed=seed)


AutoConfig.register(PooledSoundsConfig.model_type, PooledSoundsConfig)
AutoModelForAudioClassification.register(PooledSoundsConfig, PooledSoundsForAudioClassification)
