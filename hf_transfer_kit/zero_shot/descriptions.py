"""Classes described by texts: their names or sentences on them, as a text encoder embeds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from hf_transfer_kit.backbones import JointTowers, class_embeddings
from hf_transfer_kit.backbones.pooling import pooled_positions
from hf_transfer_kit.errors import DataError, ModelError
from hf_transfer_kit.zero_shot.table import AttributeTable


def prompted_classes(
    names: Sequence[str], towers: JointTowers, *, templates: Sequence[str] | None = None
) -> AttributeTable:
    """A table whose attributes are the dimensions of a joint network's text features: its zero-shot classifier.

    For the methods ``joint`` and, with attributes beside, ``joint_mix``, on the same network's other tower; rows of
    further names, in the same templates, can be added to a model later with ``set_classes``.

    Args:
        names: Of the classes.
        towers: By ``hf_transfer_kit.load_towers``.
        templates: As in ``class_embeddings``, whose rows these are.

    Raises:
        SettingsError: As ``class_embeddings``, like the next two.
        DataError: As above.
        ModelError: As above.

    Example:
        >>> found = prompted_classes(["zebra", "horse"], towers, templates=["a photo of a {}."])
        >>> found.classes, found.values.shape
        (('zebra', 'horse'), (2, 6))
    """
    values = class_embeddings(names, towers, templates=templates).numpy()
    return AttributeTable(tuple(names), tuple(f"dimension {place}" for place in range(values.shape[1])), values)


@torch.no_grad()
def described_classes(
    texts: Mapping[str, str] | Sequence[str], encoder: nn.Module, tokenizer: Any, *, batch_size: int = 32
) -> AttributeTable:
    """A table whose attributes are the dimensions of text embeddings, in place of attributes made by hand.

    An embedding is the mean over the text's positions, of length 1 (Reimers & Gurevych 2019, EMNLP). Texts that say
    the same as others of new classes can be added to a model later with ``set_classes``.

    Args:
        texts: Class -> its name or a description; or names alone.
        encoder: A text encoder of transformers, such as MiniLM, that gives ``last_hidden_state``.
        tokenizer: Its tokenizer.
        batch_size: Texts of a forward.

    Raises:
        DataError: When there is no text, or an empty one.
        ModelError: When the encoder gives no positions.

    Example:
        >>> encoder = text_model.bert
        >>> found = described_classes(["a sentence", "few words"], encoder, tokenizer)
        >>> found.classes, found.values.shape
        (('a sentence', 'few words'), (2, 8))
    """
    texts = dict(texts) if isinstance(texts, Mapping) else {name: name for name in texts}
    if empty := [name for name, text in texts.items() if not isinstance(text, str) or not text.strip()]:
        raise DataError(
            f"{empty[0]!r} is described by {texts[empty[0]]!r}. Give every class a text that says something."
        )
    if not texts:
        raise DataError("There is no class to describe: give class -> text.")
    was_training = encoder.training
    encoder.eval()
    device = next(encoder.parameters()).device
    found, given = [], [text.replace("_", " ").replace("+", " ") for text in texts.values()]
    for start in range(0, len(given), batch_size):
        tokens = tokenizer(given[start : start + batch_size], padding=True, truncation=True, return_tensors="pt")
        output = encoder(**tokens.to(device))
        positions = getattr(output, "last_hidden_state", None)
        if positions is None:
            raise ModelError(
                f"{type(encoder).__name__} gives no last_hidden_state, so no embedding of a text. Load the "
                "encoder with AutoModel."
            )
        pooled = pooled_positions(positions, tokens["attention_mask"].bool(), how="mean")
        found.append(nn.functional.normalize(pooled.double(), dim=1).cpu())
    encoder.train(was_training)
    values = torch.cat(found).numpy()
    return AttributeTable(tuple(texts), tuple(f"dimension {place}" for place in range(values.shape[1])), values)
