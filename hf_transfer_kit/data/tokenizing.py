"""What a tokenizer does, apart from the settings that each call to it leaves behind."""

from __future__ import annotations

import json
from typing import Any

from transformers import PreTrainedTokenizerBase

_PADDING = (
    "padding_side",
    "truncation_side",
    "pad_token_id",
    "pad_token_type_id",
    "model_input_names",
    "model_max_length",
    "special_tokens_map",
)
_LEFT_BEHIND = ("padding", "truncation")  # set anew by every call that pads or cuts


def tokenizer_facts(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The vocabulary and its rules in serialised form, and how rows are padded; two that are equal do the same."""
    facts: dict[str, Any] = {name: getattr(tokenizer, name) for name in _PADDING}
    facts["special_tokens_map"] = {name: str(token) for name, token in facts["special_tokens_map"].items()}
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        rules = json.loads(backend.to_str())
        kept = {name: rule for name, rule in rules.items() if name not in _LEFT_BEHIND}
        facts["rules"] = json.dumps(kept, sort_keys=True)
    else:
        facts["vocabulary"] = tokenizer.get_vocab()
        facts["settings"] = {name: str(value) for name, value in tokenizer.init_kwargs.items()}
    return facts
