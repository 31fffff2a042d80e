"""Networks of many makes are drawn anew, or refused in a sentence."""

import pytest
import timm
import torch

from hf_transfer_kit import reinitialize


@pytest.mark.parametrize("name", ["cait_xxs24_224", "gcvit_xxtiny", "pit_ti_224"])
def test_nothing_that_differs_from_a_constant_stays(name):
    model = timm.create_model(name, num_classes=3)
    before = {key: value.clone() for key, value in model.named_parameters()}
    reinitialize(model, all=True, seed=5)
    same = [k for k, v in model.named_parameters() if torch.equal(v, before[k]) and (v != v.flatten()[0]).any()]
    assert not same
