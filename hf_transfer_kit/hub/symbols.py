"""The symbols that a network for CTC spells, saved as the tokenizer that decodes what it says."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from transformers import Wav2Vec2CTCTokenizer


def symbol_tokenizer(symbols: Sequence[str]) -> Wav2Vec2CTCTokenizer:
    """transformers' tokenizer of a network for CTC: ``decode`` joins what is repeated and drops blanks.

    Args:
        symbols: In the order of the network's logits, the blank first; every other one a single character.

    Example:
        >>> symbol_tokenizer(["<blank>", "e", "s"]).decode([2, 2, 0, 1, 0, 1])
        'see'
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.json"
        path.write_text(json.dumps({symbol: place for place, symbol in enumerate(symbols)}), encoding="utf-8")
        return Wav2Vec2CTCTokenizer(
            str(path),
            # No token of its own: its indices are those of the logits.
            bos_token=None,
            eos_token=None,
            unk_token=symbols[0],
            pad_token=symbols[0],
            word_delimiter_token=" " if " " in symbols else symbols[0],
            clean_up_tokenization_spaces=False,
        )
