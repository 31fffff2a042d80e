"""A user's own script: fine-tunes a ViT on small images. It knows nothing of the kit."""

import sys

import torch
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

torch.manual_seed(0)
config = ViTConfig(
    image_size=16, patch_size=8, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32,
    num_labels=3,
)  # fmt: skip
model = ViTForImageClassification(config)
rows = [{"pixel_values": torch.randn(3, 16, 16) + i % 3, "labels": i % 3} for i in range(48)]

trainer = Trainer(
    model=model,
    args=TrainingArguments(
        output_dir=sys.argv[1],
        per_device_train_batch_size=8,
        num_train_epochs=2,
        learning_rate=1e-3,
        weight_decay=0.01,
        logging_steps=2,
        eval_strategy="epoch",
        report_to="none",
        use_cpu=True,
    ),
    train_dataset=rows,
    eval_dataset=rows[:12],
)
trainer.train()
trainer.save_model()
