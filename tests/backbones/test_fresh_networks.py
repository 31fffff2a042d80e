"""Small networks with random weights, named in place of a checkpoint."""

import numpy as np
import pytest
import torch

from hf_transfer_kit import load_model, load_processor
from hf_transfer_kit.backbones import modality_of
from hf_transfer_kit.errors import ModelError
from hf_transfer_kit.selection import FRESH_NETWORKS, fresh_network, fresh_processor


@pytest.mark.parametrize("name", FRESH_NETWORKS)
def test_they_read_what_their_processor_gives_and_are_saved_and_loaded(tmp_path, name):
    network = fresh_network(name, ["a", "b", "c"], seed=1).eval()
    processor = fresh_processor(name)
    if modality_of(network) == "image":
        inputs = processor([np.full((40, 50, 3), 90, np.uint8)] * 2, return_tensors="pt")
    else:
        inputs = processor([np.ones(4000, np.float32)] * 2, sampling_rate=8000, return_tensors="pt")
    network.save_pretrained(tmp_path)
    again = FRESH_NETWORKS[name].auto.from_pretrained(tmp_path).eval()
    assert network(**inputs).logits.shape == (2, 3)
    assert torch.equal(network(**inputs).logits, again(**inputs).logits)
    assert again.config.id2label == {0: "a", 1: "b", 2: "c"}


def test_weights_come_from_the_seed_alone():
    state = torch.get_rng_state()
    first, same, other = (fresh_network("dann_mnist", "ab", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    weights = [next(network.parameters()) for network in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("name", FRESH_NETWORKS)
def test_it_is_loaded_by_its_name_wherever_a_checkpoint_is(name):
    loaded = load_model(name, id2label={0: "a", 1: "b"}, seed=3)
    own = fresh_network(name, ["a", "b"], seed=3)
    assert all(torch.equal(loaded.state_dict()[key], value) for key, value in own.state_dict().items())
    assert load_model(name, num_labels=4, dtype="bfloat16").dtype == torch.bfloat16
    assert load_processor(name, modality_of(loaded)).to_dict() == fresh_processor(name).to_dict()
    with pytest.raises(ModelError, match="no trained head"):
        load_model(name, trained_head=True)


def test_a_name_that_is_near_one_is_told(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="Did you mean 'dann_mnist'"):
        load_model("dann_mnst")
