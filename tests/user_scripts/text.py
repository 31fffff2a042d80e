"""A user's own script: fine-tunes BERT on token ids, with warm-up, accumulation and a metric of its own."""

import sys

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

torch.manual_seed(0)
config = BertConfig(
    vocab_size=50, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, num_labels=2
)
model = BertForSequenceClassification(config)


class PaddingTokenizer(PreTrainedTokenizerFast):
    """Pads only; the rows are token ids already."""


def make_tokenizer():
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = {"[PAD]": 0, **{str(i): i for i in range(1, 50)}}
    return PaddingTokenizer(tokenizer_object=Tokenizer(WordLevel(words, unk_token="[PAD]")), pad_token="[PAD]")


rows = []
for i in range(48):
    length = int(torch.randint(3, 9, ()))
    rows.append({"input_ids": torch.randint(1, 25, (length,)).add(25 * (i % 2)).tolist(), "labels": i % 2})


def compute_metrics(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


trainer = Trainer(
    model=model,
    args=TrainingArguments(
        output_dir=sys.argv[1],
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        num_train_epochs=2,
        learning_rate=1e-3,
        lr_scheduler_type="cosine",
        warmup_steps=2,
        logging_steps=2,
        eval_strategy="steps",
        eval_steps=4,
        report_to="none",
        use_cpu=True,
    ),
    data_collator=DataCollatorWithPadding(make_tokenizer()),
    train_dataset=rows,
    eval_dataset=rows[:12],
    compute_metrics=compute_metrics,
)
trainer.train()
trainer.save_model()
