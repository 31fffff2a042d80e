"""Sections in the order of execution: each part goes where it is first used, with as few parts moved as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from statistics import median

from torch import nn

from hf_transfer_kit.backbones.tracing import Trace


def in_order_of_execution(
    model: nn.Module, section_of: Mapping[str, int], head: int, trace: Trace
) -> tuple[dict[str, int], list[int]]:
    """Moves the sections, and what lies in the wrong one, so that depth never falls along the forward.

    Of all ways to do so the one that moves fewest layers is taken (dynamic programming over layers in the order of
    their first use). Nothing moves into the head. What the forward did not execute stays where it was.

    Args:
        model: The model, whose layers are kept whole.
        section_of: Parameter -> number of its section.
        head: Number of the head's section.
        trace: One forward.

    Returns:
        Parameter -> number of its section, and the numbers of the sections from input to output.
    """
    items = _layers(model, section_of, trace)
    used = sorted(set(section_of.values()))
    places = {number: [item.first for item in items if item.section == number] for number in used}
    body = [number for number in used if number != head]
    body.sort(key=_Place(places, body))
    order = [*body, *([head] if head in used else [])]
    rank = {number: index for index, number in enumerate(order)}
    labels = _least_moves([rank[item.section] for item in items], rank.get(head))
    result = dict(section_of)
    for item, label in zip(items, labels, strict=True):
        for name in item.parameters:
            result[name] = order[label]
    return result, order


def side_by_side(section_of: Mapping[str, int], order: Sequence[int], head: int, trace: Trace) -> list[tuple[int, ...]]:
    """Sections of the same depth together: those of branches that run one after another but read nothing of each other.

    A branch counts where it and the one before it are both of one section and read the inputs, or both of at least two:
    what only one section makes for a later layer (a decoder's embeddings beside a whole encoder, position embeddings)
    is no branch.

    Returns:
        Numbers of sections, input to output; several of one depth in one tuple.
    """
    bit = {name: 1 << index for index, name in enumerate(trace.names)}
    own, reads = dict.fromkeys(order, 0), dict.fromkeys(order, 0)
    for name, number in section_of.items():
        if name in trace.first_use:
            own[number] |= bit.get(name, 0)
            reads[number] |= trace.reads.get(name, 0)
    found: list[tuple[int, ...]] = [(number,) for number in order]
    while (merged := _first_branches(found, own, reads, head)) is not None:
        found = merged
    return found


def _first_branches(
    found: list[tuple[int, ...]], own: Mapping[int, int], reads: Mapping[int, int], head: int
) -> list[tuple[int, ...]] | None:
    def depends(later: int, earlier: int) -> bool:
        masks = [own[number] for number in found[earlier]]
        return any(reads[number] & mask for number in found[later] for mask in masks)

    body = [i for i, numbers in enumerate(found) if head not in numbers and all(own[n] for n in numbers)]
    for start in body:
        trunk = max((i for i in range(start) if depends(start, i)), default=-1)
        first = range(trunk + 1, start)
        end = start + 1
        while end in body and not any(depends(end, i) for i in first):
            end += 1
        second = range(start, end)
        single = len(first) == len(second) == 1 and all(reads[n] for i in (*first, *second) for n in found[i])
        if not first or not (single or min(len(first), len(second)) > 1):
            continue
        pairs = zip_longest([found[i] for i in first], [found[i] for i in second], fillvalue=())
        return [*found[: trunk + 1], *(a + b for a, b in pairs), *found[end:]]
    return None


class _Place:
    """Where a section is: the median of its layers' first uses; unused ones follow what they were defined after."""

    def __init__(self, places: Mapping[int, Sequence[int]], body: Sequence[int]) -> None:
        self._keys: dict[int, tuple[float, int]] = {}
        previous = -1.0
        for number in body:
            previous = median(places[number]) if places[number] else previous
            self._keys[number] = (previous, number)

    def __call__(self, number: int) -> tuple[float, int]:
        return self._keys[number]


class _Layer:
    def __init__(self, section: int, first: int, parameters: list[str]) -> None:
        self.section, self.first, self.parameters = section, first, parameters


def _layers(model: nn.Module, section_of: Mapping[str, int], trace: Trace) -> list[_Layer]:
    """Executed leaf modules, and executed parameters of other modules, in the order of their first use."""
    modules = dict(model.named_modules())
    found: dict[tuple[str, int], list[str]] = {}
    for name, section in section_of.items():
        if name in trace.first_use:
            owner = name.rpartition(".")[0]
            leaf = not any(True for _ in modules[owner].children()) if owner in modules else False
            found.setdefault((owner if leaf else name, section), []).append(name)
    layers = [
        _Layer(section, min(trace.first_use[name] for name in names), names) for (_, section), names in found.items()
    ]
    return sorted(layers, key=lambda layer: layer.first)


def _least_moves(labels: list[int], head: int | None) -> list[int]:
    """The non-decreasing sequence that differs from ``labels`` in the fewest places; none enters ``head`` anew."""
    if labels == sorted(labels):
        return labels
    count = max(labels) + 1
    costs = [0.0] * count
    choices: list[list[int]] = []
    for label in labels:
        best, where, row, new = float("inf"), 0, [], []
        for candidate in range(count):
            if costs[candidate] < best:
                best, where = costs[candidate], candidate
            row.append(where)
            price = 0.0 if candidate == label else (float("inf") if candidate == head else 1.0)
            new.append(best + price)
        choices.append(row)
        costs = new
    current = min(range(count), key=lambda index: costs[index])
    result = []
    for row in reversed(choices):
        result.append(current)
        current = row[current]
    return result[::-1]
