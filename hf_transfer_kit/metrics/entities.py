"""Names found in sentences: spans of words rather than single words."""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import evaluate

Span = tuple[str, int, int]


def entity_spans(tags: Sequence[str]) -> set[Span]:
    """Type, first word and word after the last of each entity in a sentence tagged ``B-x``, ``I-x`` or ``O``.

    As in the CoNLL evaluation (Tjong Kim Sang & De Meulder 2003): an ``I-x`` that goes on from nothing, or from another
    type, begins an entity of its own.
    """
    spans: set[Span] = set()
    begun: tuple[str, int] | None = None
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        goes_on = prefix == "I" and begun is not None and begun[0] == kind
        if begun is not None and not goes_on:
            spans.add((*begun, place))
            begun = None
        if prefix in ("B", "I") and not goes_on:
            begun = (kind, place)
    return spans


class EntityF1(evaluate.Metric):
    """F1 over entities, right only when type and both ends are: ``precision``, ``recall``, ``f1``, each in [0, 1].

    Predictions and references are tags of sentences, lists of lists of texts.

    Example:
        >>> EntityF1().compute(predictions=[["B-city", "O", "O"]], references=[["B-city", "O", "B-city"]])
        {'precision': 1.0, 'recall': 0.5, 'f1': 0.6666666666666666}
    """

    def _info(self) -> evaluate.MetricInfo:
        tags = datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(
            description="F1 over whole entities.",
            citation="",
            inputs_description="",
            features=datasets.Features({"predictions": tags, "references": tags}),
        )

    def _compute(self, predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> dict[str, float]:
        found, wanted = ([entity_spans(tags) for tags in sentences] for sentences in (predictions, references))
        right = sum(len(a & b) for a, b in zip(found, wanted, strict=True))
        named, there = sum(map(len, found)), sum(map(len, wanted))
        return {
            "precision": right / named if named else 0.0,
            "recall": right / there if there else 0.0,
            "f1": 2 * right / (named + there) if named + there else 0.0,
        }
