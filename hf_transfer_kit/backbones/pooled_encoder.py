"""A classifier of texts on the pooled positions of an encoder, for encoders whose own pooler was never trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar, cast

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_transfer_kit.backbones.held import held_config, keep_weights, without_place
from hf_transfer_kit.backbones.pooling import POOLINGS, pooled_positions, pooled_width
from hf_transfer_kit.backbones.seeded_eval_mode import seeded
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.near_names import did_you_mean

M = TypeVar("M", bound=PreTrainedModel)
_UNUSED = ("pooler",)
"""Parts of encoders that read positions and are not read here."""


class PooledEncoderConfig(PreTrainedConfig):
    """Configuration of an encoder of texts with a label head on its pooled positions.

    Args:
        encoder_config: Configuration of the encoder; a dict is read back by its ``model_type``.
        pooling: One of ``hf_transfer_kit.backbones.pooling.POOLINGS``.

    Raises:
        SettingsError: When the pooling is unknown.

    Example:
        >>> PooledEncoderConfig(text_model.config, pooling="mean", num_labels=3).pooling
        'mean'
    """

    model_type = "pooled_encoder"
    sub_configs: ClassVar[dict[str, Any]] = {"encoder_config": AutoConfig}

    def __init__(
        self,
        encoder_config: PreTrainedConfig | Mapping[str, Any] | None = None,
        pooling: str = "mean",
        **kwargs: Any,
    ) -> None:
        if pooling not in POOLINGS:
            raise SettingsError(
                f"pooling={pooling!r} is unknown; choose {', '.join(map(repr, POOLINGS))}."
                f"{did_you_mean(pooling, POOLINGS)}"
            )
        super().__init__(**kwargs)
        self.encoder_config = held_config(encoder_config)
        self.pooling = pooling

    def to_dict(self) -> dict[str, Any]:
        """As any configuration's, without the place that the encoder was loaded from."""
        return without_place(super().to_dict())

    @property
    def hidden_size(self) -> int:
        """Features of a position."""
        return cast(Any, self.encoder_config).hidden_size


class PooledClassifier(PreTrainedModel):
    """What classifiers on pooled positions have in common: a linear layer ``classifier`` on one row a sample."""

    classifier: nn.Linear

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the encoder has given its parts their weights, and the layer on it draws as all linear ones."""

    def classified(self, pooled: Tensor, outputs: Any, labels: Tensor | None, items: Any) -> SequenceClassifierOutput:
        """Logits (B, C), and with labels transformers' loss of its classifiers.

        Args:
            pooled: (B, D).
            outputs: Of the encoder.
            labels: int64 (B,), or numbers (B,) or (B, C), as ``config.problem_type`` says.
            items: Rows of the whole step, where Trainer counts them.
        """
        logits = self.classifier(pooled)
        loss = None
        if labels is not None:
            counted = {} if items is None else {"num_items_in_batch": items}
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config, **counted)
        return SequenceClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=getattr(outputs, "hidden_states", None),
            attentions=getattr(outputs, "attentions", None),
        )


class PooledEncoderForSequenceClassification(PooledClassifier):
    """Logits W x + b of the pooled positions x of a text, dropout before them.

    Encoders of sentences (Reimers & Gurevych 2019) are trained by their pooled positions, most by their mean; the
    pooler that transformers' own classifier reads is what their first checkpoint left, or random.

    Args:
        config: The configuration.
        encoder: The encoder, which loses a pooler of its own; None makes a random one.

    Raises:
        ModelError: When the configuration holds no encoder.

    Example:
        >>> config = PooledEncoderConfig(text_model.config, pooling="mean", num_labels=3)
        >>> model = PooledEncoderForSequenceClassification(config)
        >>> model(input_ids=torch.ones(2, 5, dtype=torch.long)).logits.shape
        torch.Size([2, 3])
    """

    config_class = PooledEncoderConfig
    base_model_prefix = "encoder"
    main_input_name = "input_ids"
    input_modalities = "text"

    def __init__(self, config: PooledEncoderConfig, *, encoder: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if config.encoder_config is None:
            raise ModelError("A PooledEncoderConfig needs encoder_config, the configuration of the encoder.")
        self.encoder = AutoModel.from_config(config.encoder_config) if encoder is None else encoder
        for name in _UNUSED:
            if isinstance(getattr(self.encoder, name, None), nn.Module):
                setattr(self.encoder, name, None)
        self.supports_gradient_checkpointing = bool(self.encoder.supports_gradient_checkpointing)
        self.dropout = nn.Dropout(_dropout(config.encoder_config))
        self.classifier = nn.Linear(pooled_width(config.hidden_size, config.pooling), cast(int, config.num_labels))
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **others: Any,
    ) -> SequenceClassifierOutput:
        """Logits (B, C), and with labels transformers' loss of its classifiers of sequences.

        Args:
            input_ids: int64 (B, T).
            attention_mask: Of the positions that are no padding, (B, T); without it all count.
            token_type_ids: As the encoder reads them, like the next.
            position_ids: As above.
            inputs_embeds: In place of ``input_ids``, (B, T, D).
            labels: int64 (B,), or numbers (B,) or (B, C), as ``config.problem_type`` says.
            return_dict: Accepted for other libraries' sake; the output is always a ModelOutput.
            **others: Further inputs of the encoder.
        """
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "inputs_embeds": inputs_embeds,
        }
        items = others.pop("num_items_in_batch", None)
        given = {name: value for name, value in inputs.items() if value is not None}
        outputs = self.encoder(**given, **others)
        positions = outputs.last_hidden_state
        mask = None if attention_mask is None else attention_mask.bool()
        pooled = self.dropout(pooled_positions(positions, mask, how=self.config.pooling))
        return self.classified(pooled, outputs, labels, items)


def pooled_encoder(
    encoder: PreTrainedModel, pooling: str, *, num_labels: int = 2, seed: int | None = None
) -> PooledEncoderForSequenceClassification:
    """A classifier with a fresh head on an encoder, which loses its own pooler.

    Args:
        encoder: As ``AutoModel`` loads it.
        pooling: One of ``POOLINGS``.
        num_labels: Of the head.
        seed: Of the head.

    Raises:
        ModelError: When its positions are not those of a text.
    """
    config = encoder.config
    if encoder.main_input_name != "input_ids" or config.is_encoder_decoder or not hasattr(config, "hidden_size"):
        raise ModelError(
            f"{type(encoder).__name__} gives no positions of a text that could be pooled. Leave the pooling out."
        )
    made = PooledEncoderConfig(config, pooling, num_labels=num_labels)
    return on_encoder(PooledEncoderForSequenceClassification, made, encoder, seed=seed)


def on_encoder(kind: Callable[..., M], config: PreTrainedConfig, encoder: PreTrainedModel, *, seed: int | None) -> M:
    """A classifier of this class on an encoder, which keeps its weights, place and precision; its head is fresh."""
    keep_weights(encoder)
    with seeded(seed):
        model = kind(config, encoder=encoder)
    cast(nn.Module, model).to(encoder.device, encoder.dtype)
    return model.eval()


def repool(model: Any, pooling: str) -> None:
    """Has a pooled encoder read its positions otherwise, in place, with a head of its own class as wide as that needs.

    Args:
        model: Of texts or of sounds.
        pooling: One of ``POOLINGS``.
    """
    model.config.pooling = pooling
    old = model.classifier
    width = pooled_width(model.config.hidden_size, pooling)
    if old.in_features != width:
        model.classifier = nn.Linear(width, old.out_features, device=old.weight.device, dtype=old.weight.dtype)


def _dropout(config: PreTrainedConfig) -> float:
    """What the architecture's own classifier drops before its last layer."""
    for name in ("classifier_dropout", "seq_classif_dropout", "hidden_dropout_prob", "dropout"):
        if isinstance(share := getattr(config, name, None), float):
            return share
    return 0.0


AutoConfig.register(PooledEncoderConfig.model_type, PooledEncoderConfig)
AutoModelForSequenceClassification.register(PooledEncoderConfig, PooledEncoderForSequenceClassification)
