"""Rows into batches for one way of reading them: what cannot be read is left out and told, the order is kept."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from hf_transfer_kit.data.decoding import problem_of
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.predicting.given_rows import GivenRow
from hf_transfer_kit.predicting.saved_models import Reading

OTHER_KIND = "it is nothing that this network reads"
_MOST_THREADS = 4

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Batch:
    """Rows that were read at once.

    Args:
        places: Of the rows that could be read, among all that were given.
        names: Of these rows.
        values: Of these rows.
        tensors: What the network is given; None where no row could be read.
        problems: Place -> name and reason of the others.
    """

    places: tuple[int, ...]
    names: tuple[str | int, ...]
    values: tuple[Any, ...]
    tensors: dict[str, Tensor] | None
    problems: dict[int, tuple[str | int, str]]


def batches(rows: Iterable[GivenRow], reading: Reading, batch_size: int) -> Iterator[Batch]:
    """Batches in order; pictures and sounds are decoded in threads while the network is at the one before."""
    checked = _checked(rows, reading)
    chunks = _chunks(checked, batch_size)
    if reading.kind == "text":  # a fast tokenizer is not to be asked by two threads at once
        yield from (_read(chunk, reading) for chunk in chunks)
        return
    yield from _in_threads(lambda chunk: _read(chunk, reading), chunks)


def _checked(rows: Iterable[GivenRow], reading: Reading) -> Iterator[tuple[int, GivenRow]]:
    """Places and rows as this reading takes them, with what is wrong with them before they are opened."""
    pairs = len(reading.columns) == 2 if reading.columns else None
    for place, row in enumerate(rows):
        problem, value = row.problem, row.value
        if problem is None and (row.kind or reading.kind) != reading.kind:
            problem = OTHER_KIND
        elif problem is None and reading.kind == "text" and value is not None:
            value = value.split() if reading.words and isinstance(value, str) else value
            if pairs is None and isinstance(value, str | tuple):
                pairs = isinstance(value, tuple)
            problem = _wrong_text(value, reading.words, pairs)
        yield place, GivenRow(row.name, row.kind, value, problem)


def _wrong_text(value: Any, words: bool, pairs: bool | None) -> str | None:
    if words:
        plain = isinstance(value, list) and all(isinstance(word, str) for word in value)
        return None if plain else "each row is a text or a list of words here"
    if pairs and not (isinstance(value, tuple) and len(value) == 2):
        return "the network reads pairs of texts; give each as a tuple, or two columns of a table"
    if isinstance(value, tuple) and not pairs:
        return "it is a pair among single texts"
    if any(each is None for each in value):
        return "nothing is there"
    return "it is a list of words, and the network reads whole texts" if isinstance(value, list) else None


def _read(chunk: Sequence[tuple[int, GivenRow]], reading: Reading) -> Batch:
    problems = {place: (row.name, row.problem) for place, row in chunk if row.problem is not None}
    good = [(place, row) for place, row in chunk if row.problem is None]
    tensors = None
    if good:
        try:
            tensors = reading.inputs([row.value for _, row in good])
        except DataError:
            found = {place: problem_of(row.value, reading.kind) for place, row in good}
            if not any(found.values()):
                raise
            problems |= {place: (row.name, problem) for place, row in good if (problem := found[place])}
            good = [(place, row) for place, row in good if found[place] is None]
            tensors = reading.inputs([row.value for _, row in good]) if good else None
    return Batch(
        tuple(place for place, _ in good),
        tuple(row.name for _, row in good),
        tuple(row.value for _, row in good),
        tensors,
        problems,
    )


def _chunks(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    chunk: list[T] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _in_threads(work: Callable[[T], R], given: Iterable[T]) -> Iterator[R]:
    """The results in order, no more of them ahead than there are threads."""
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for each in given:
                waiting.append(pool.submit(work, each))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
