"""The network with which the DANN paper goes from MNIST to MNIST-M."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.options import check_ints

IMAGE_SIDE = 28


class DannMnistConfig(PreTrainedConfig):
    """Configuration of the network of Ganin et al. 2016, figure 4 (a), by default; and of relatives of it.

    Args:
        batch_norm: Whether a BatchNorm follows each convolution; the paper's network has none.
        instance_norm: Whether each image is brought to mean 0 and deviation 1 first, as Shu et al. 2018 do.
        widths: Maps of each convolution.
        pooled: Numbers of the convolutions that a maximum pooling by 2 follows, the first being 1; None: each.
        kernel_size: Side of the convolutions.
        padding: Pixels of zeros around what a convolution reads.
        hidden: Widths of the label head's hidden layers.
        num_labels: Number of classes, 10 by default.
        num_channels: Of images; grey ones are repeated where it is more than 1.

    Raises:
        SettingsError: When nothing of a 28 x 28 image is left after so many convolutions, or ``pooled`` names one that
            is not there.

    Example:
        >>> config = DannMnistConfig(batch_norm=True, num_labels=3)
        >>> config.widths, config.hidden
        ([32, 48], [100, 100])
    """

    model_type = "dann_mnist"

    def __init__(
        self,
        batch_norm: bool = False,
        instance_norm: bool = False,
        widths: Sequence[int] = (32, 48),
        kernel_size: int = 5,
        padding: int = 0,
        hidden: Sequence[int] = (100, 100),
        num_labels: int = 10,
        num_channels: int = 3,
        pooled: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        if "id2label" not in kwargs:
            kwargs["num_labels"] = num_labels
        super().__init__(**kwargs)
        self.batch_norm = batch_norm
        self.instance_norm = instance_norm
        self.widths = list(widths)
        self.kernel_size = kernel_size
        self.padding = padding
        self.hidden = list(hidden)
        self.num_channels = num_channels
        self.pooled = None
        if pooled is not None:
            self.pooled = sorted(check_ints("DannMnistConfig", "pooled", pooled, low=1, high=len(widths)))
        if not widths or self.side < 1:
            raise SettingsError(
                f"widths={list(widths)} with kernel_size={kernel_size} and padding={padding} leave nothing of a "
                f"{IMAGE_SIDE} x {IMAGE_SIDE} image. Give fewer widths, a smaller kernel, or pool after fewer of them."
            )

    @property
    def side(self) -> int:
        """Side of the last maps, in pixels."""
        side = IMAGE_SIDE
        for number in range(1, len(self.widths) + 1):
            side = (side + 2 * self.padding - self.kernel_size + 1) // (2 if self.pools_after(number) else 1)
        return side

    def pools_after(self, number: int) -> bool:
        """Whether a maximum pooling follows a convolution, the first being 1."""
        return self.pooled is None or number in self.pooled

    @property
    def features(self) -> int:
        """How many features an image has: 768 in the paper's network."""
        return self.widths[-1] * self.side**2


class DannMnistPreTrainedModel(PreTrainedModel):
    """What both classes share; weights begin as torch's layers make them."""

    config_class = DannMnistConfig
    base_model_prefix = "dann_mnist"
    main_input_name = "pixel_values"
    input_modalities = ("image",)  # type: ignore[assignment]  # transformers gives its own models tuples
    accepts_loss_kwargs = False

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the layers have their weights from torch."""


class DannMnistModel(DannMnistPreTrainedModel):
    """Convolutions, each with ReLU and most with maximum pooling by 2; the paper's two make 768 features of an image.

    Example:
        >>> DannMnistModel(DannMnistConfig())(pixel_values=torch.zeros(2, 3, 28, 28)).pooler_output.shape
        torch.Size([2, 768])
    """

    def __init__(self, config: DannMnistConfig) -> None:
        super().__init__(config)
        self.blocks = nn.Sequential(
            *(
                _block(inward, outward, config, pools=config.pools_after(number))
                for number, (inward, outward) in enumerate(pairwise([config.num_channels, *config.widths]), start=1)
            )
        )
        self.post_init()

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """Maps (B, M, s, s) and features (B, D) of images (B, 3, 28, 28); grey (B, 1, 28, 28) is repeated.

        Raises:
            DataError: When the images have another shape.
        """
        if pixel_values.shape[1] not in (1, 3) or pixel_values.shape[2:] != (IMAGE_SIDE, IMAGE_SIDE):
            raise DataError(
                f"The MNIST network of the DANN paper reads images of shape (1 or 3, {IMAGE_SIDE}, {IMAGE_SIDE}), but "
                f"got {tuple(pixel_values.shape[1:])}. Resize them, or choose another network."
            )
        maps = self.blocks(_normalised(pixel_values) if self.config.instance_norm else pixel_values)
        return BaseModelOutputWithPooling(last_hidden_state=maps, pooler_output=maps.flatten(1))


class DannMnistForImageClassification(DannMnistPreTrainedModel):
    """The network with its label head: hidden layers (the paper's two of 100), then the classes.

    Example:
        >>> network = DannMnistForImageClassification(DannMnistConfig(num_labels=3))
        >>> network(pixel_values=torch.zeros(2, 3, 28, 28)).logits.shape
        torch.Size([2, 3])
    """

    def __init__(self, config: DannMnistConfig) -> None:
        super().__init__(config)
        self.dann_mnist = DannMnistModel(config)
        layers = pairwise([config.features, *config.hidden])
        hidden: list[nn.Module] = [
            part for inward, outward in layers for part in (nn.Linear(inward, outward), nn.ReLU())
        ]
        last = config.hidden[-1] if config.hidden else config.features
        self.classifier = nn.Sequential(*hidden, nn.Linear(last, cast(int, config.num_labels)))
        self.post_init()

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, **kwargs: Any) -> SequenceClassifierOutput:
        """Logits (B, C) of images (B, 3 or 1, 28, 28), and with labels (B,) the mean cross entropy."""
        logits = self.classifier(self.dann_mnist(pixel_values).pooler_output)
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class _Convolution(nn.Conv2d):
    """A convolution that reads one channel as often as it has channels."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.expand(-1, self.in_channels, -1, -1))


def _block(inward: int, outward: int, config: DannMnistConfig, *, pools: bool) -> nn.Sequential:
    # Pooling before ReLU gives the same values from a quarter of the work.
    norm = [nn.BatchNorm2d(outward)] if config.batch_norm else []
    convolution = _Convolution(inward, outward, kernel_size=config.kernel_size, padding=config.padding)
    return nn.Sequential(convolution, *norm, *([nn.MaxPool2d(2)] if pools else []), nn.ReLU())


def _normalised(images: Tensor) -> Tensor:
    mean = images.mean((1, 2, 3), keepdim=True)
    deviation = images.std((1, 2, 3), keepdim=True)
    return (images - mean) / (deviation + 1e-2)  # flat images stay flat


AutoConfig.register(DannMnistConfig.model_type, DannMnistConfig)
AutoModel.register(DannMnistConfig, DannMnistModel)
AutoModelForImageClassification.register(DannMnistConfig, DannMnistForImageClassification)
