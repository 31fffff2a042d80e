"""Classes described by texts in place of attributes."""

import pytest
import tiny
import torch
from transformers import BertModel

from hf_transfer_kit.errors import DataError, ModelError
from hf_transfer_kit.zero_shot import ZeroShotModel, described_classes


class Tokenizer:
    """A token for each letter, padded with 0."""

    def __call__(self, texts, *, padding, truncation, return_tensors):
        assert (padding, truncation, return_tensors) == (True, True, "pt")
        longest = max(map(len, texts))
        rows = [[3 + ord(letter) % 20 for letter in text] for text in texts]
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        return Batch(input_ids=ids, attention_mask=(ids > 0).long())


class Batch(dict):
    def to(self, device):
        return self


def encoder():
    return BertModel(tiny._bert("Bert")).train()


def test_a_class_is_the_mean_of_its_texts_positions_without_padding():
    torch.manual_seed(0)
    model = encoder()
    table = described_classes({"owl": "a bird", "cat": "fur"}, model, Tokenizer())
    assert table.classes == ("owl", "cat")
    assert table.attributes[:2] == ("dimension 0", "dimension 1")
    assert model.training
    with torch.no_grad():
        alone = model.eval()(**Tokenizer()(["fur"], padding=True, truncation=True, return_tensors="pt"))
    expected = torch.nn.functional.normalize(alone.last_hidden_state.mean(dim=1).double(), dim=1)
    assert torch.allclose(torch.from_numpy(table.rows(["cat"])), expected, atol=1e-6)
    one_by_one = described_classes({"owl": "a bird", "cat": "fur"}, model, Tokenizer(), batch_size=1)
    assert abs(one_by_one.values - table.values).max() < 1e-6


def test_names_describe_themselves_and_make_a_model():
    table = described_classes(["killer whale", "killer+whales"], encoder(), Tokenizer())
    assert table.classes == ("killer whale", "killer+whales")
    network, inputs = tiny.TRANSFORMERS["bert"]()
    assert ZeroShotModel.from_backbone(network, table)(**inputs).logits.shape == (2, 2)


def test_what_says_nothing_is_refused():
    with pytest.raises(DataError, match=r"'owl' is described by ' '\. Give every class a text"):
        described_classes({"owl": " "}, encoder(), Tokenizer())
    with pytest.raises(DataError, match="no class to describe"):
        described_classes({}, encoder(), Tokenizer())
    with pytest.raises(ModelError, match="BertForSequenceClassification gives no last_hidden_state"):
        described_classes(["owl"], tiny.TRANSFORMERS["bert"]()[0], Tokenizer())
