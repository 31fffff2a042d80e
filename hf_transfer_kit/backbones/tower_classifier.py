"""A classifier on what joint towers compare: the seeing or hearing tower, features of length 1, one linear layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_transfer_kit.backbones.heads import PassedOn
from hf_transfer_kit.backbones.held import held_config, keep_weights, without_place
from hf_transfer_kit.backbones.joint_towers import joint_scale, side_features
from hf_transfer_kit.backbones.seeded_eval_mode import seeded, seeded_eval_mode
from hf_transfer_kit.backbones.transformers_inputs import inputs_of_transformers
from hf_transfer_kit.errors import ModelError, first_line

_INPUTS = {"image": "pixel_values", "audio": "input_features"}


class TowerConfig(PreTrainedConfig):
    """Configuration of one of two joint towers with a label head.

    Args:
        joint_config: Configuration of both towers; a dict is read back by its ``model_type``.
        reads: ``"image"`` or ``"audio"``.
        width: Features of the space that both towers share.
        left_away: Names of parts of the joint network that this tower does not run: the text tower and its like.

    Example:
        >>> config = TowerConfig(towers.model.config, reads="image", width=6, num_labels=3)
        >>> config.reads, config.width
        ('image', 6)
    """

    model_type = "joint_tower"
    sub_configs: ClassVar[dict[str, Any]] = {"joint_config": AutoConfig}

    def __init__(
        self,
        joint_config: PreTrainedConfig | Mapping[str, Any] | None = None,
        reads: str = "image",
        width: int = 512,
        left_away: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.joint_config = held_config(joint_config)
        self.reads = reads
        self.width = width
        self.left_away = list(left_away)

    def to_dict(self) -> dict[str, Any]:
        """As any configuration's, without the place that the joint network was loaded from."""
        return without_place(super().to_dict())


class TowerForClassification(PreTrainedModel):
    """Logits W x + b of features x of length 1 in the space that the tower shares with texts.

    With ``class_embeddings`` as W and b = 0 it is the zero-shot classifier of the joint network.

    Args:
        config: The configuration.
        joint: The joint network, which loses what this tower does not run; None makes a random one.

    Example:
        >>> config = TowerConfig(towers.model.config, reads="image", width=6, num_labels=3)
        >>> tower = TowerForClassification(config, joint=towers.model)
        >>> tower(pixel_values=torch.zeros(2, 3, 32, 32)).logits.shape
        torch.Size([2, 3])
    """

    config_class = TowerConfig
    base_model_prefix = "tower"
    accepts_loss_kwargs = False

    def __init__(self, config: TowerConfig, *, joint: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if config.joint_config is None:
            raise ModelError("A TowerConfig needs joint_config, the configuration of both towers, to make a model of.")
        self.tower = AutoModel.from_config(config.joint_config) if joint is None else joint
        self.main_input_name = _INPUTS[config.reads]
        self.input_modalities = (config.reads,)  # type: ignore[assignment]  # transformers gives its own models tuples
        self.supports_gradient_checkpointing = bool(self.tower.supports_gradient_checkpointing)
        self.classifier = nn.Linear(config.width, cast(int, config.num_labels))
        for name in config.left_away:
            _leave_away(self.tower, name)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: a joint network has given its parts their weights, and the layer on it draws as all linear ones."""

    def features(self, **inputs: Tensor) -> Tensor:
        """What the tower gives, of length 1, (B, D)."""
        return side_features(self.tower, self.config.reads, **inputs)

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_features: Tensor | None = None,
        pixel_attention_mask: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        is_longer: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **others: Tensor,
    ) -> SequenceClassifierOutput:
        """Logits (B, C), and with labels the mean cross entropy.

        Args:
            pixel_values: What a seeing tower reads, in its own form.
            input_features: What a hearing tower reads.
            pixel_attention_mask: Of SigLIP 2's patches, like the next.
            spatial_shapes: As above.
            is_longer: Of CLAP's sounds.
            labels: int64 (B,).
            return_dict: Accepted for other libraries' sake; the output is always a ModelOutput.
            **others: Further inputs of the tower.
        """
        inputs = {
            "pixel_values": pixel_values,
            "input_features": input_features,
            "pixel_attention_mask": pixel_attention_mask,
            "spatial_shapes": spatial_shapes,
            "is_longer": is_longer,
            **others,
        }
        given = {name: value for name, value in inputs.items() if value is not None}
        logits = self.classifier(self.features(**given))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def tower_classifier(joint: PreTrainedModel, reads: str, *, seed: int | None = None) -> TowerForClassification:
    """The seeing or hearing tower of a joint network with a fresh head of two classes, for ``replace_head``.

    Args:
        joint: As ``AutoModel`` loads it; it loses its other tower.
        reads: ``"image"`` or ``"audio"``.
        seed: Of the head.

    Raises:
        ModelError: When the towers' cosines have no scale, or the tower runs on none of the inputs made up for it.
    """
    joint_scale(joint, reads)
    keep_weights(joint)
    model = TowerForClassification(TowerConfig(joint.config, reads, width=1), joint=joint)
    width, idle = _found(model)
    model.config.width, model.config.left_away = width, idle
    for name in idle:
        _leave_away(model.tower, name)
    with seeded(seed):
        model.classifier = nn.Linear(width, cast(int, model.config.num_labels), device=joint.device, dtype=joint.dtype)
    return model.eval()


def _found(model: TowerForClassification) -> tuple[int, list[str]]:
    """Width of the tower's features, and children and parameters of the joint network that they do not depend on.

    Both by one forward, and its gradient.
    """
    tower = model.tower
    weights = {name: weight for name, weight in tower.named_parameters() if weight.is_floating_point()}
    reason = ""
    for inputs in inputs_of_transformers(model):
        if model.main_input_name not in inputs:
            continue
        given = {n: v.to(model.device, model.dtype) if v.is_floating_point() else v for n, v in inputs.items()}
        try:
            with seeded_eval_mode(model, 0), torch.enable_grad():
                features = model.features(**given)
                found = torch.autograd.grad(features.sum(), list(weights.values()), allow_unused=True)
        except ModelError:
            raise
        except Exception as error:
            reason = reason or first_line(error)
            continue
        used = {name for name, gradient in zip(weights, found, strict=True) if gradient is not None}
        parts = {
            name: [f"{name}.{own}" for own, _ in child.named_parameters()] for name, child in tower.named_children()
        }
        parts |= {name: [name] for name, _ in tower.named_parameters(recurse=False)}
        return features.shape[1], [name for name, own in parts.items() if own and not used.intersection(own)]
    raise ModelError(
        f"The {model.config.reads} tower of {type(tower).__name__} runs on none of the inputs made up for it "
        f"({reason or 'none is known'}), so it cannot be told from the text tower."
    )


AutoConfig.register(TowerConfig.model_type, TowerConfig)
AutoModelForImageClassification.register(TowerConfig, TowerForClassification)
AutoModelForAudioClassification.register(TowerConfig, TowerForClassification)


def _leave_away(tower: nn.Module, name: str) -> None:
    # CLIP of some versions initialises its projections by name whenever one is loaded.
    setattr(tower, name, PassedOn() if isinstance(getattr(tower, name), nn.Linear) else None)
