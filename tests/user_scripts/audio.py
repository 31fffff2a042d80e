"""A user's own script: fine-tunes Wav2Vec2 on raw sound with a subclassed model and its own collator."""

import sys

import torch
from transformers import Trainer, TrainingArguments, Wav2Vec2Config, Wav2Vec2ForSequenceClassification

torch.manual_seed(0)
config = Wav2Vec2Config(
    hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8),
    conv_stride=(5, 4), conv_kernel=(10, 8), num_feat_extract_layers=2, num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=2, classifier_proj_size=8, num_labels=2, layerdrop=0.0, mask_time_prob=0.0,
)  # fmt: skip
model = Wav2Vec2ForSequenceClassification(config)
rows = [{"wave": torch.sin(torch.arange(400) * (0.05 + 0.2 * (i % 2))), "label": i % 2} for i in range(32)]


def collate(batch):
    return {
        "input_values": torch.stack([row["wave"] for row in batch]),
        "labels": torch.tensor([row["label"] for row in batch]),
    }


trainer = Trainer(
    model=model,
    args=TrainingArguments(
        output_dir=sys.argv[1],
        per_device_train_batch_size=4,
        max_steps=10,
        optim="sgd",
        optim_args="momentum=0.9",
        learning_rate=1e-2,
        logging_steps=2,
        eval_strategy="steps",
        eval_steps=5,
        remove_unused_columns=False,
        report_to="none",
        use_cpu=True,
    ),
    data_collator=collate,
    train_dataset=rows,
    eval_dataset=rows[:8],
)
trainer.train()
trainer.save_model()
