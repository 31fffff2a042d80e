"""A slice of ``scripts/benchmarks/network_sweep.py``: one network of each kind of fault, in the columns that showed it."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LayoutLMv3Config, LayoutLMv3ForTokenClassification

from hf_transfer_kit import replace_head
from hf_transfer_kit.errors import ModelError, TransferKitError

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "benchmarks"))

from sweep import checks, zoo

ORDERED = ("groups", "order", "head", "freezing")
SLICE = {
    "transformers/OPTForCausalLM": ORDERED,  # the final norm is defined first
    "transformers/MPNetForSequenceClassification": ORDERED,  # a bias that all blocks read is defined last
    "transformers/FlaubertForQuestionAnsweringSimple": ORDERED,  # parallel lists of attention and norms
    "transformers/GitForCausalLM": ORDERED,  # pictures beside texts
    "transformers/MusicgenForCausalLM": ORDERED,  # rows of codebooks
    "transformers/BartForConditionalGeneration": (*ORDERED, "cache_prefix"),  # an encoder that holds a tied embedding
    "transformers/CamembertForMaskedLM": ("cache_prefix", "replace_head"),  # an output layer tied to the first group
    "transformers/BertForMultipleChoice": ("head", "cache_prefix", "replace_head"),  # several pieces a row
    "transformers/BertForQuestionAnswering": ("replace_head",),  # two outputs that are no classes
    "transformers/PvtForImageClassification": ("order", "replace_head"),  # num_labels is a field of the config
    "transformers/PPLCNetForImageClassification": ("head", "replace_head"),  # logits without a name
    "transformers/DeiTForImageClassificationWithTeacher": ("head", "replace_head"),  # two heads
    "transformers/MambaForCausalLM": ("reinitialize",),  # parameters of its own rules
    "timm/efficientvim": ORDERED,
    "timm/tnt": ("reinitialize",),  # class tokens
    "own/head_first": ORDERED,
    "own/loss_dict": (*ORDERED, "replace_head"),
    "own/two_levels": (*ORDERED, "replace_head"),
}


@pytest.mark.parametrize("name", SLICE)
def test_what_people_bring_is_right(name):
    library, own = name.split("/")
    for column in SLICE[name]:
        model, inputs = zoo.build(library, own)
        assert checks.CHECKS[column](model, inputs) is None, column


def test_a_head_that_is_built_otherwise_for_few_classes_follows(tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    boxes = {"coordinate_size": 2, "shape_size": 4, "visual_embed": False, "num_labels": 11}
    model = LayoutLMv3ForTokenClassification(LayoutLMv3Config(vocab_size=40, **sizes, **boxes)).eval()
    inputs = {"input_ids": torch.tensor([[5, 6, 7]]), "bbox": torch.zeros(1, 3, 4, dtype=torch.long)}
    assert not isinstance(model.classifier, nn.Linear)
    replace_head(model, 7, seed=0)
    logits = model(**inputs).logits
    model.save_pretrained(tmp_path)
    again = LayoutLMv3ForTokenClassification.from_pretrained(tmp_path).eval()
    assert logits.shape == (1, 3, 7)
    torch.testing.assert_close(again(**inputs).logits, logits)


def test_every_layer_that_counts_classes_follows():
    auxiliary, _ = zoo.build("transformers", "UperNetForSemanticSegmentation")
    replace_head(auxiliary, 7)
    assert auxiliary.auxiliary_head.classifier.out_channels == auxiliary.decode_head.classifier.out_channels == 7
    detector, inputs = zoo.build("transformers", "DetrForObjectDetection")
    replace_head(detector, 7)
    assert detector(**inputs).logits.shape[-1] == 8  # and one for no object


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("GPT2LMHeadModel", "do not follow num_labels"),
        ("BertForMultipleChoice", "do not follow num_labels"),
        ("BertForQuestionAnswering", "cannot have 7 classes"),
    ],
)
def test_outputs_that_are_no_classes_are_refused_and_the_network_stays(name, words):
    model, inputs = zoo.build("transformers", name)
    before, labels = checks.outputs_of(model, inputs), dict(model.config.id2label)
    with pytest.raises(ModelError, match=words):
        replace_head(model, 7)
    assert all(map(torch.equal, checks.outputs_of(model, inputs), before))
    assert model.config.id2label == labels


def test_a_network_inside_a_module_of_ones_own_counts_its_classes():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, _ = zoo.build("transformers", "BertForSequenceClassification")

        def forward(self, input_ids, labels=None):
            return self.net(input_ids, labels=labels)

    wrapper = replace_head(Wrapper(), 7)
    assert (wrapper.net.num_labels, wrapper.net.config.num_labels) == (7, 7)
    output = wrapper(torch.tensor([[5, 6, 7, 2]]), labels=torch.tensor([6]))
    assert output.logits.shape == (1, 7)
    assert output.loss.isfinite()


def test_refusals_of_a_cache_say_the_reason():
    model, inputs = zoo.build("transformers", "BioGptForCausalLM")
    with pytest.raises(TransferKitError, match="'biogpt' draws random numbers between its frozen layers"):
        checks.CHECKS["cache_prefix"](model, inputs)
