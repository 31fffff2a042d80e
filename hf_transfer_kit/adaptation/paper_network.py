"""The network with which the DANN paper goes from MNIST to MNIST-M."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput

from hf_transfer_kit.errors import DataError

IMAGE_SIDE = 28
FEATURES = 48 * 4 * 4


class DannMnistConfig(PreTrainedConfig):
    """Configuration of the network of Ganin et al. 2016, figure 4 (a).

    Args:
        batch_norm: Whether a BatchNorm follows each convolution; the paper's network has none.
        num_labels: Number of classes, 10 by default.
    """

    model_type = "dann_mnist"

    def __init__(self, batch_norm: bool = False, num_labels: int = 10, **kwargs) -> None:
        if "id2label" not in kwargs:
            kwargs["num_labels"] = num_labels
        super().__init__(**kwargs)
        self.batch_norm = batch_norm


class DannMnistPreTrainedModel(PreTrainedModel):
    """What both classes share; weights begin as torch's layers make them."""

    config_class = DannMnistConfig
    base_model_prefix = "dann_mnist"
    main_input_name = "pixel_values"
    input_modalities: ClassVar[tuple[str, ...]] = ("image",)
    accepts_loss_kwargs = False

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the layers have their weights from torch."""


class DannMnistModel(DannMnistPreTrainedModel):
    """Two convolutions 5 x 5 (32 and 48 maps), each with maximum pooling by 2 and ReLU: 768 features of an image."""

    def __init__(self, config: DannMnistConfig) -> None:
        super().__init__(config)
        self.first = _block(3, 32, batch_norm=config.batch_norm)
        self.second = _block(32, 48, batch_norm=config.batch_norm)
        self.post_init()

    def forward(self, pixel_values: Tensor, **kwargs) -> BaseModelOutputWithPooling:
        """Maps (B, 48, 4, 4) and features (B, 768) of images (B, 3, 28, 28); grey (B, 1, 28, 28) is repeated.

        Raises:
            DataError: When the images have another shape.
        """
        if pixel_values.shape[1] not in (1, 3) or pixel_values.shape[2:] != (IMAGE_SIDE, IMAGE_SIDE):
            raise DataError(
                f"The MNIST network of the DANN paper reads images of shape (1 or 3, {IMAGE_SIDE}, {IMAGE_SIDE}), but "
                f"got {tuple(pixel_values.shape[1:])}. Resize them, or choose another network."
            )
        maps = self.second(self.first(pixel_values.expand(-1, 3, -1, -1)))
        return BaseModelOutputWithPooling(last_hidden_state=maps, pooler_output=maps.flatten(1))


class DannMnistForImageClassification(DannMnistPreTrainedModel):
    """The network with the paper's label head: two hidden layers of 100, then the classes."""

    def __init__(self, config: DannMnistConfig) -> None:
        super().__init__(config)
        self.dann_mnist = DannMnistModel(config)
        self.classifier = nn.Sequential(
            nn.Linear(FEATURES, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, config.num_labels)
        )
        self.post_init()

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, **kwargs) -> SequenceClassifierOutput:
        """Logits (B, C) of images (B, 3 or 1, 28, 28), and with labels (B,) the mean cross entropy."""
        logits = self.classifier(self.dann_mnist(pixel_values).pooler_output)
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def _block(inward: int, outward: int, *, batch_norm: bool) -> nn.Sequential:
    # Pooling before ReLU gives the same values from a quarter of the work.
    norm = [nn.BatchNorm2d(outward)] if batch_norm else []
    return nn.Sequential(nn.Conv2d(inward, outward, kernel_size=5), *norm, nn.MaxPool2d(2), nn.ReLU())


AutoConfig.register(DannMnistConfig.model_type, DannMnistConfig)
AutoModel.register(DannMnistConfig, DannMnistModel)
AutoModelForImageClassification.register(DannMnistConfig, DannMnistForImageClassification)
