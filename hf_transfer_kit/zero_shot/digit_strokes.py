"""Handwritten digits described by their strokes."""

from __future__ import annotations

from hf_transfer_kit.zero_shot.table import AttributeTable

STROKES = {
    "closed loop above": "the upper half encloses a hole",
    "closed loop below": "the lower half encloses a hole",
    "one large loop": "the whole digit encloses one hole",
    "straight upright stroke": "a straight line runs down",
    "straight level stroke above": "a straight line runs across the top",
    "straight level stroke below": "a straight line runs across the middle or the bottom",
    "slanting stroke": "a straight line runs aslant",
    "curved stroke": "some of it is bent",
    "opens to the left above": "the upper half is open on the left",
    "opens to the right above": "the upper half is open on the right",
    "opens to the left below": "the lower half is open on the left",
    "opens to the right below": "the lower half is open on the right",
    "two loose ends": "exactly two strokes end freely",
    "crossing": "strokes cross or touch in the middle",
}
"""Attribute -> what it means, of digits as they are usually written."""

_DIGITS = {
    #     above below large upright top  level slant curve l-abo r-abo l-bel r-bel ends cross
    "0": (0,    0,    1,    0,      0,   0,    0,    1,    0,    0,    0,    0,    0,   0),
    "1": (0,    0,    0,    1,      0,   0,    0,    0,    1,    1,    1,    1,    1,   0),
    "2": (0,    0,    0,    0,      0,   1,    1,    1,    1,    0,    0,    1,    1,   0),
    "3": (0,    0,    0,    0,      0,   0,    0,    1,    1,    0,    1,    0,    1,   1),
    "4": (0,    0,    0,    1,      0,   1,    1,    0,    0,    1,    1,    1,    0,   1),
    "5": (0,    0,    0,    1,      1,   0,    0,    1,    0,    1,    1,    0,    1,   0),
    "6": (0,    1,    0,    0,      0,   0,    0,    1,    0,    1,    0,    0,    0,   1),
    "7": (0,    0,    0,    0,      1,   0,    1,    0,    1,    0,    1,    1,    1,   0),
    "8": (1,    1,    0,    0,      0,   0,    0,    1,    0,    0,    0,    0,    0,   1),
    "9": (1,    0,    0,    0,      0,   0,    0,    1,    0,    0,    1,    0,    0,   1),
}  # fmt: skip


def digit_strokes() -> AttributeTable:
    """The ten digits x ``STROKES``.

    Example:
        >>> strokes = digit_strokes()
        >>> strokes.classes[:3], strokes.attributes[:2]
        (('0', '1', '2'), ('closed loop above', 'closed loop below'))
    """
    return AttributeTable.of({name: dict(zip(STROKES, row, strict=True)) for name, row in _DIGITS.items()})
