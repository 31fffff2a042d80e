"""The DANN paper's network for digits and its relatives."""

import pytest
import torch

from hf_transfer_kit.adaptation import DannMnistConfig, DannMnistForImageClassification
from hf_transfer_kit.errors import DataError, SettingsError


def test_the_default_is_figure_4a_of_the_paper():
    model = DannMnistForImageClassification(DannMnistConfig())
    shapes = [tuple(weight.shape) for name, weight in model.named_parameters() if name.endswith("weight")]
    assert shapes == [(32, 3, 5, 5), (48, 32, 5, 5), (100, 768), (100, 100), (10, 100)]


def test_instance_norm_takes_brightness_and_contrast_out():
    images = torch.rand(4, 3, 28, 28)
    changed = 0.3 * images - torch.tensor([0.5, 0.2, 0.0, -0.4]).view(4, 1, 1, 1)
    for instance_norm, same in ((True, True), (False, False)):
        torch.manual_seed(0)
        model = DannMnistForImageClassification(DannMnistConfig(instance_norm=instance_norm)).eval()
        assert torch.allclose(model(images).logits, model(changed).logits, atol=0.02) == same
    flat = model(torch.ones(2, 3, 28, 28)).logits
    assert flat.isfinite().all()


@pytest.mark.parametrize("widths", [(), (8, 8, 8)])
def test_too_many_convolutions_are_refused(widths):
    with pytest.raises(SettingsError, match="leave nothing of a 28 x 28 image"):
        DannMnistConfig(widths=widths)


def test_pooling_follows_the_convolutions_that_are_named():
    config = DannMnistConfig(widths=(4, 6, 8), pooled=(3, 1), kernel_size=3, padding=1, hidden=())
    model = DannMnistForImageClassification(config)
    blocks = model.dann_mnist.blocks
    assert [any(isinstance(part, torch.nn.MaxPool2d) for part in block) for block in blocks] == [True, False, True]
    output = model.dann_mnist(torch.rand(2, 3, 28, 28))
    assert output.last_hidden_state.shape == (2, 8, 7, 7)
    assert config.features == output.pooler_output.shape[1] == model.classifier[0].in_features == 8 * 49
    assert DannMnistConfig.from_dict(config.to_dict()).pooled == [1, 3]
    assert (
        DannMnistConfig(widths=(4, 6, 8), padding=2).side
        == DannMnistConfig(widths=(4, 6, 8), padding=2, pooled=(1, 2, 3)).side
    )


@pytest.mark.parametrize("pooled", [(0,), (1, 4), (), (1, 1)])
def test_pooling_after_a_convolution_that_is_not_there_is_refused(pooled):
    with pytest.raises(SettingsError, match="DannMnistConfig: pooled="):
        DannMnistConfig(widths=(4, 6, 8), padding=2, pooled=pooled)


def test_other_images_are_refused():
    with pytest.raises(DataError, match=r"reads images of shape \(1 or 3, 28, 28\), but got \(3, 32, 32\)"):
        DannMnistForImageClassification(DannMnistConfig())(torch.zeros(1, 3, 32, 32))
