"""torchvision's classification networks as transformers models: ``torchvision/NAME``."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    BitImageProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

from hf_transfer_kit.errors import DataError, ModelError

# How much the auxiliary heads' losses count: Szegedy et al. 2014, section 5, and torchvision's recipe for Inception v3.
AUXILIARY_WEIGHTS = {"googlenet": 0.3, "inception_v3": 0.4}
# Sides below which a layer has nothing left to read; 32, five halvings, for all others.
_SMALLEST_SIDES = {"alexnet": 63, "googlenet": 32, "inception_v3": 75, "squeezenet1_0": 32, "squeezenet1_1": 32}


class TorchvisionConfig(PreTrainedConfig):
    """Configuration of one of torchvision's classification networks.

    Args:
        architecture: Its name in torchvision, such as ``"resnet18"``.
        image_size: Side of its images in pixels; vision transformers and MaxViT are built for it.
        transform_input: Whether GoogLeNet and Inception bring ImageNet's normalisation to their own inside, as
            torchvision's weights of them expect.
        model_args: Further arguments of torchvision's builder.

    Raises:
        ModelError: When torchvision has no such classifier.

    Example:
        >>> config = TorchvisionConfig("mobilenet_v2", image_size=32, num_labels=3)
        >>> config.architecture, config.num_labels
        ('mobilenet_v2', 3)
    """

    model_type = "torchvision"

    def __init__(
        self,
        architecture: str = "resnet18",
        image_size: int = 224,
        transform_input: bool = False,
        model_args: dict | None = None,
        **kwargs: Any,
    ) -> None:
        if "id2label" not in kwargs:
            kwargs.setdefault("num_labels", 1000)
        super().__init__(**kwargs)
        self.architecture = architecture
        self.image_size = image_size
        self.transform_input = transform_input
        self.model_args = dict(model_args or {})
        if architecture not in architectures():
            raise ModelError(
                f"torchvision has no classifier {architecture!r}. It has, for example, resnet18 and googlenet; "
                "torchvision.models.list_models(module=torchvision.models) lists all."
            )


class TorchvisionForImageClassification(PreTrainedModel):
    """A torchvision network with its own head; GoogLeNet and Inception v3 with their auxiliary heads in training.

    Example:
        >>> network = TorchvisionForImageClassification(TorchvisionConfig("resnet18", image_size=32, num_labels=3))
        >>> network(pixel_values=torch.zeros(2, 3, 32, 32)).logits.shape
        torch.Size([2, 3])
    """

    config_class = TorchvisionConfig
    base_model_prefix = "network"
    main_input_name = "pixel_values"
    input_modalities = ("image",)  # type: ignore[assignment]  # transformers gives its own models tuples
    accepts_loss_kwargs = False
    config: TorchvisionConfig

    def __init__(self, config: TorchvisionConfig) -> None:
        super().__init__(config)
        self.network = _built(config, cast(int, config.num_labels))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: torchvision's builder has given the weights."""

    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, return_dict: bool | None = None, **kwargs: Any
    ) -> ImageClassifierOutputWithNoAttention | tuple[Tensor, ...]:
        """Logits (B, C) of images (B, 3, s, s), and with labels the mean loss.

        In training, GoogLeNet's loss is main + 0.3 (first + second), Inception v3's main + 0.4 auxiliary.

        Raises:
            DataError: When the images are too small, or not of the size the network was built for.
        """
        _check_side(self.config, pixel_values)
        output = self.network(pixel_values)
        main, *auxiliary = (output,) if isinstance(output, Tensor) else output
        loss = None
        if labels is not None:
            weight = AUXILIARY_WEIGHTS.get(self.config.architecture, 0.0)
            loss = self._loss(main, labels)
            for logits in auxiliary:
                if logits is not None:
                    loss = loss + weight * self._loss(logits, labels)
        if return_dict is False:
            return (main,) if loss is None else (loss, main)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=main)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.config.problem_type == "regression":
            return functional.mse_loss(logits.squeeze(-1), labels.to(logits.dtype).view_as(logits.squeeze(-1)))
        if self.config.problem_type == "multi_label_classification":
            return functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        return functional.cross_entropy(logits, labels)


def architectures() -> list[str]:
    """Names of torchvision's classifiers; neither quantized nor of videos."""
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)


def torchvision_config(architecture: str, *, pretrained: bool) -> TorchvisionConfig:
    """The configuration of ``torchvision/NAME``, with the weights' classes where they are to be loaded.

    Raises:
        ModelError: When torchvision has no such classifier.
    """
    import torchvision

    TorchvisionConfig(architecture)  # refuses an unknown name
    weights = torchvision.models.get_model_weights(architecture).DEFAULT
    size = weights.transforms().crop_size[0]
    names = weights.meta["categories"] if pretrained else None
    return TorchvisionConfig(
        architecture,
        image_size=size,
        transform_input=pretrained and architecture in AUXILIARY_WEIGHTS,
        **({"id2label": dict(enumerate(names))} if names else {}),
    )


def torchvision_processor(architecture: str) -> BitImageProcessor:
    """What the weights' own transform does to an image, as a processor that saves and reloads."""
    import torchvision

    TorchvisionConfig(architecture)  # refuses an unknown name
    transform = torchvision.models.get_model_weights(architecture).DEFAULT.transforms()
    resample = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}[transform.interpolation.value]
    return BitImageProcessor(
        size={"shortest_edge": transform.resize_size[0]},
        crop_size={"height": transform.crop_size[0], "width": transform.crop_size[0]},
        resample=resample,
        image_mean=list(transform.mean),
        image_std=list(transform.std),
    )


def torchvision_weights(config: TorchvisionConfig) -> TorchvisionForImageClassification:
    """The network with torchvision's default weights, from torch hub's cache or the network.

    Raises:
        ModelError: When they cannot be had.
    """
    import torchvision

    weights = torchvision.models.get_model_weights(config.architecture).DEFAULT
    try:
        state = torch.hub.load_state_dict_from_url(
            weights.url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        file = weights.url.rsplit("/", 1)[-1]
        raise ModelError(
            f"torchvision's weights of {config.architecture} cannot be had ({type(error).__name__} at {weights.url}). "
            f"Put the file {file} into the folder hub/checkpoints of TORCH_HOME, or begin from random weights with "
            "pretrained=False."
        ) from error
    model = TorchvisionForImageClassification(config)
    model.network.load_state_dict({_renamed(key): value for key, value in state.items()})
    return model


def _renamed(key: str) -> str:
    # densenet's files are older than its names: norm.1 there is norm1 here.
    for part in ("norm", "relu", "conv"):
        for number in ("1", "2"):
            if "denselayer" in key:
                key = key.replace(f".{part}.{number}.", f".{part}{number}.")
    return key


def _built(config: TorchvisionConfig, num_classes: int) -> nn.Module:
    import torchvision

    arguments = dict(config.model_args)
    if config.architecture in AUXILIARY_WEIGHTS:
        arguments |= {"aux_logits": True, "init_weights": True, "transform_input": config.transform_input}
    if config.architecture.startswith("vit_"):
        arguments["image_size"] = config.image_size
    if config.architecture == "maxvit_t":
        arguments["input_size"] = (config.image_size, config.image_size)
    # RegNet's builder reads its widths from tensors, which transformers' meta device does not hold.
    device = "cpu" if config.architecture.startswith("regnet") else torch.get_default_device()
    with torch.device(device):
        return torchvision.models.get_model(config.architecture, weights=None, num_classes=num_classes, **arguments)


def _check_side(config: TorchvisionConfig, images: Tensor) -> None:
    name, side = config.architecture, min(images.shape[-2:])
    if name.startswith(("vit_", "maxvit")):
        if tuple(images.shape[-2:]) != (config.image_size, config.image_size):
            raise DataError(
                f"{name} was built for images of {config.image_size} x {config.image_size} pixels, but got "
                f"{images.shape[-2]} x {images.shape[-1]}. Resize them, or build it with another image_size."
            )
    elif side < _SMALLEST_SIDES.get(name, 32):
        raise DataError(
            f"{name} needs images of at least {_SMALLEST_SIDES.get(name, 32)} pixels a side, but got {side}. "
            "Resize them with a larger image size."
        )


AutoConfig.register(TorchvisionConfig.model_type, TorchvisionConfig)
AutoModelForImageClassification.register(TorchvisionConfig, TorchvisionForImageClassification)
