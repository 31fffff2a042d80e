"""From logits to answers: one function for each type of task, the same decision that its metrics judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hf_transfer_kit.adaptation.rejection import Rejection
from hf_transfer_kit.data.raw_inputs import RawInputs, encoded
from hf_transfer_kit.metrics.transcripts import collapsed
from hf_transfer_kit.predicting.answers import (
    UNKNOWN,
    Answer,
    ClassAnswer,
    LabelsAnswer,
    NumberAnswer,
    Ranked,
    TextAnswer,
    WordsAnswer,
)


@dataclass(frozen=True)
class Meaning:
    """What the logits of a task say.

    Args:
        type: Of the task.
        names: Of the outputs.
        task: Its name in a network of several tasks.
        measure: ``"probability"`` of a softmax over the logits, or ``"score"``: the logits themselves.
        rejection: Of an open-set network.
        blank: Of ``ctc`` the symbol that is none.
    """

    type: str
    names: tuple[str, ...]
    task: str | None = None
    measure: str = "probability"
    rejection: Rejection | None = None
    blank: int = 0

    def answers(
        self, logits: Tensor, names: Sequence[str | int], values: Sequence[Any], inputs: RawInputs, top: int
    ) -> list[Answer]:
        """One a row.

        Args:
            logits: float32 (B, C), or of sequences (B, T, C).
            names: Of the rows.
            values: What was read.
            inputs: What made the batch of it.
            top: How many classes are told.
        """
        return _MAKERS[self.type](self, logits, names, values, inputs, top)


def _classes(of: Meaning, logits: Tensor, names: Sequence[str | int], _: Any, __: Any, top: int) -> list[Answer]:
    rejected = [None] * len(names) if of.rejection is None else of.rejection(logits).tolist()
    figures = logits.double().softmax(dim=1) if of.measure == "probability" else logits
    return [
        ClassAnswer(name, of.task, UNKNOWN if unknown else best[0][0], best, unknown, of.measure)
        for name, best, unknown in zip(names, _ranked(figures, of.names, top), rejected, strict=True)
    ]


def _several(of: Meaning, logits: Tensor, names: Sequence[str | int], _: Any, __: Any, top: int) -> list[Answer]:
    held = [tuple(n for n, on in zip(of.names, row, strict=True) if on) for row in (logits > 0).tolist()]
    ranked = _ranked(logits.double().sigmoid(), of.names, top)
    rows = zip(names, held, ranked, strict=True)
    return [LabelsAnswer(name, of.task, labels, best) for name, labels, best in rows]


def _numbers(of: Meaning, logits: Tensor, names: Sequence[str | int], _: Any, __: Any, ___: Any) -> list[Answer]:
    rows = logits.reshape(len(names), -1).tolist()
    values = [tuple(zip(of.names, row, strict=True)) for row in rows]
    return [NumberAnswer(name, of.task, value) for name, value in zip(names, values, strict=True)]


def _words(
    of: Meaning, logits: Tensor, names: Sequence[str | int], values: Sequence[Any], inputs: RawInputs, _: Any
) -> list[Answer]:
    encoding = encoded(inputs.processor, values, inputs.sizes.max_length)
    best = logits.double().softmax(dim=-1).max(dim=-1)
    left = getattr(inputs.processor, "padding_side", "right") == "left"
    found: list[Answer] = []
    for row, words in enumerate(values):
        places = encoding.word_ids(row)
        shift = logits.shape[1] - len(places) if left else 0
        first = {word: place + shift for place, word in reversed(list(enumerate(places))) if word is not None}
        read = [
            (
                word,
                of.names[int(best.indices[row, first[index]])] if index in first else None,
                float(best.values[row, first[index]]) if index in first else None,
            )
            for index, word in enumerate(words)
        ]
        found.append(WordsAnswer(names[row], of.task, tuple(read)))
    return found


def _heard(of: Meaning, logits: Tensor, names: Sequence[str | int], _: Any, __: Any, ___: Any) -> list[Answer]:
    padding = (logits == -100).all(dim=-1)
    paths = logits.argmax(dim=-1).masked_fill(padding, -1).tolist()
    spelled = ["".join(of.names[symbol] for symbol in collapsed(path, of.blank)) for path in paths]
    return [TextAnswer(name, of.task, text) for name, text in zip(names, spelled, strict=True)]


_MAKERS: Mapping[str, Callable[..., list[Answer]]] = {
    "classification": _classes,
    "multi_label": _several,
    "regression": _numbers,
    "token_classification": _words,
    "ctc": _heard,
}


def _ranked(figures: Tensor, names: Sequence[str], top: int) -> list[Ranked]:
    best = figures.topk(min(top, figures.shape[1]), dim=1)
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [tuple((names[i], v) for i, v in zip(indices, values, strict=True)) for indices, values in pairs]


def finite_rows(logits: Mapping[Any, Tensor]) -> list[bool]:
    """Of each row whether all that was said of it is finite."""
    each = [torch.isfinite(of_task).flatten(1).all(dim=1) for of_task in logits.values()]
    return torch.stack(each).all(dim=0).tolist()
