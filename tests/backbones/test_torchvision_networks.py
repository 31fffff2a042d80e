"""torchvision's classifiers as transformers models."""

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForImageClassification

from hf_transfer_kit.backbones.torchvision_networks import (
    AUXILIARY_WEIGHTS,
    TorchvisionConfig,
    TorchvisionForImageClassification,
    architectures,
)
from hf_transfer_kit.errors import DataError, ModelError


@pytest.mark.parametrize("name", architectures())
def test_every_classifier_is_built_from_its_configuration(name):
    with torch.device("meta"):
        model = TorchvisionForImageClassification(TorchvisionConfig(name, num_labels=3))
    assert any(parameter.shape[0] == 3 for parameter in model.parameters())


@pytest.mark.parametrize(("name", "side"), [("resnet18", 32), ("googlenet", 64), ("mobilenet_v2", 32)])
def test_a_saved_network_gives_the_same_logits(name, side, tmp_path):
    model = TorchvisionForImageClassification(TorchvisionConfig(name, num_labels=3, image_size=side)).eval()
    model.save_pretrained(tmp_path)
    images = torch.randn(2, 3, side, side)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    assert again(images).logits.shape == (2, 3)
    assert torch.equal(again(images).logits, model(images).logits)


def test_googlenets_loss_holds_its_auxiliary_heads():
    model = TorchvisionForImageClassification(TorchvisionConfig("googlenet", num_labels=3)).train()
    images, labels = torch.randn(2, 3, 64, 64), torch.tensor([0, 2])
    torch.manual_seed(0)
    loss = model(images, labels=labels).loss
    torch.manual_seed(0)
    main, second, first = model.network(images)
    expected = functional.cross_entropy(main, labels)
    expected = expected + 0.3 * (functional.cross_entropy(first, labels) + functional.cross_entropy(second, labels))
    assert AUXILIARY_WEIGHTS["googlenet"] == 0.3
    torch.testing.assert_close(loss, expected)


def test_images_of_a_wrong_size_are_refused():
    with torch.device("meta"):
        small = TorchvisionForImageClassification(TorchvisionConfig("inception_v3", num_labels=3))
        fixed = TorchvisionForImageClassification(TorchvisionConfig("vit_b_32", num_labels=3, image_size=64))
    with pytest.raises(DataError, match="at least 75 pixels a side, but got 64"):
        small(torch.zeros(1, 3, 64, 64))
    with pytest.raises(DataError, match="built for images of 64 x 64 pixels, but got 96 x 96"):
        fixed(torch.zeros(1, 3, 96, 96))


def test_an_unknown_name_is_refused():
    with pytest.raises(ModelError, match="torchvision has no classifier 'resnet19'"):
        TorchvisionConfig("resnet19")
