"""Small multi-task models and packed batches for them."""

from __future__ import annotations

import tiny
import torch

from hf_transfer_kit.multitask import MultiTaskModel

TEXT_TASKS = {
    "topic": {"type": "classification", "num_labels": 3, "weight": 2.0},
    "tags": {"type": "multi_label", "num_labels": 4},
    "score": {"type": "regression"},
    "entities": {"type": "token_classification", "num_labels": 5, "weight": 0.5},
}


def text_model(tasks=None, seed: int = 0, **settings) -> MultiTaskModel:
    """A tiny BERT without dropout and the tasks above; in training mode."""
    torch.manual_seed(seed)
    network, _ = tiny.TRANSFORMERS["bert"]()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    network.config.hidden_dropout_prob = network.config.attention_probs_dropout_prob = 0.0
    return MultiTaskModel.from_backbone(network, tasks or TEXT_TASKS, **settings).train()


def text_batch(rows: int = 6, length: int = 6, prefix: str = "default") -> dict[str, torch.Tensor]:
    """Inputs of ``rows`` texts, the last one padded."""
    inputs = tiny.tokens(rows, length)
    inputs["input_ids"] = inputs["input_ids"] % 40
    inputs["attention_mask"][-1, length // 2 :] = 0
    return {f"{prefix}__{name}": value for name, value in inputs.items()}


def text_labels() -> dict[str, torch.Tensor]:
    """Rows and labels of every task; row 1 has labels for two tasks, row 5 for none of the sequence's last half."""
    entities = torch.randint(0, 5, (2, 6), generator=torch.Generator().manual_seed(1))
    entities[1, 3:] = -100
    return {
        "topic__rows": torch.tensor([0, 1]),
        "topic__labels": torch.tensor([2, 0]),
        "tags__rows": torch.tensor([1, 2, 3]),
        "tags__labels": torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 1], [1, 1, 1, 1]]),
        "score__rows": torch.tensor([4]),
        "score__labels": torch.tensor([0.7]),
        "entities__rows": torch.tensor([4, 5]),
        "entities__labels": entities,
    }


def picture_model(family: str = "wrapped/resnet18", shared_from: int = 1, **changes) -> MultiTaskModel:
    """Two inputs, pictures with three channels and with one, a task each."""
    torch.manual_seed(0)
    network, _ = tiny.classifiers()[family]()
    return MultiTaskModel.from_backbone(
        network,
        {
            "real": {"type": "classification", "num_labels": 4, "input": "rgb"},
            "drawn": {"type": "classification", "num_labels": 2, "input": "grey"},
        },
        inputs={"rgb": {}, "grey": {"channels": 1}},
        shared_from=shared_from,
        **changes,
    ).train()


def picture_batch(rgb: int = 4, grey: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    """Pictures of both inputs, all labelled; an input with 0 rows is left out."""
    generator = torch.Generator().manual_seed(seed)
    batch = {}
    for name, task, rows, channels, classes in (("rgb", "real", rgb, 3, 4), ("grey", "drawn", grey, 1, 2)):
        if rows:
            batch[f"{name}__pixel_values"] = torch.randn(rows, channels, 32, 32, generator=generator)
            batch[f"{task}__rows"] = torch.arange(rows)
            batch[f"{task}__labels"] = torch.arange(rows) % classes
    return batch


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of all gradients by name."""
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
