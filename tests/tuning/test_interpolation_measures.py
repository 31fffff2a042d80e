"""The accuracy of a point on the path is that of the model's own task."""

import math

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
)

from hf_transfer_kit.tuning.conservative.interpolation import measured

BERT = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
TOKENS = torch.randint(1, 20, (6, 7), generator=torch.Generator().manual_seed(0))


def collate(rows):
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def rows(**columns):
    return [{"input_ids": TOKENS[i], **{name: value[i] for name, value in columns.items()}} for i in range(6)]


@pytest.mark.parametrize("shift", [0, 1])
def test_accuracy_of_tokens_is_read_where_the_loss_reads_it(shift):
    if shift:
        model = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2)).eval()
    else:
        model = BertForMaskedLM(BertConfig(**BERT)).eval()
    model.get_output_embeddings().weight.data.mul_(30)
    with torch.no_grad():
        guess = model(TOKENS).logits.argmax(-1)
    labels = TOKENS.clone()
    labels[:, shift:] = guess[:, : 7 - shift]
    labels[0] = -100
    labels[1, shift] = (labels[1, shift] + 1) % 20
    found = measured(model, rows(labels=labels), collate, batch_size=4)["accuracy"]
    assert found == pytest.approx(1 - 1 / (5 * (7 - shift)))


@pytest.mark.parametrize("kind", ["numbers", "several", "spans"])
def test_tasks_without_classes_have_a_loss_and_no_accuracy(kind):
    if kind == "spans":
        model = BertForQuestionAnswering(BertConfig(**BERT))
        data = rows(start_positions=torch.arange(6), end_positions=torch.arange(6))
    else:
        model = BertForSequenceClassification(BertConfig(**BERT, num_labels=1 if kind == "numbers" else 3))
        data = rows(labels=torch.rand(6) if kind == "numbers" else torch.ones(6, 3))
    found = measured(model, data, collate, batch_size=4)
    assert math.isnan(found["accuracy"])
    assert found["loss"] > 0
