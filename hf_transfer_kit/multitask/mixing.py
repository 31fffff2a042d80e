"""How much of each source an epoch holds, and which row comes where: pure functions of sizes, seed and epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean

MIXINGS: Mapping[str, Callable[[int, float], float]] = {
    "proportional": lambda size, temperature: size,
    "equal": lambda size, temperature: 1.0,
    "temperature": lambda size, temperature: size ** (1.0 / temperature),
}
"""Name -> weight of a source, from its number of rows and the temperature."""

# So that the seeds of orders and of rounds never coincide.
_ORDER, _ROUND = 0, 1


def mixing_shares(
    sizes: Mapping[str, int], mixing: str | Mapping[str, float] = "proportional", *, temperature: float = 2.0
) -> dict[str, float]:
    """Share of each source in what is read; together 1.

    With n_s rows in source s: ``"proportional"`` n_s / sum n, ``"equal"`` 1 / S, ``"temperature"``
    n_s^(1/T) / sum n^(1/T) (Arivazhagan et al., 2019; Raffel et al., 2020, section 3.5.2, there with a limit on n):
    T = 1 is proportional, T -> infinity equal.

    Args:
        sizes: Source -> its number of rows.
        mixing: The rule's name, or a weight above 0 for each source, of any sum.
        temperature: T of ``"temperature"``, above 0; 5 in the first paper, 2 the best in the second.

    Raises:
        SettingsError: When the rule is unknown, weights do not fit the sources, or the temperature is not above 0.

    Example:
        >>> mixing_shares({"news": 900, "pairs": 100}, "temperature", temperature=2.0)
        {'news': 0.75, 'pairs': 0.25}
    """
    if not sizes or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in sizes.values()):
        raise SettingsError(f"sizes={dict(sizes)} must give one source or more its number of rows, at least 1.")
    if isinstance(mixing, Mapping):
        weights = checked_weights(mixing, sizes)
    elif isinstance(mixing, str) and mixing in MIXINGS:
        if not isinstance(temperature, int | float) or not 1e-3 <= temperature < math.inf:
            raise SettingsError(
                f"temperature={temperature!r} must be above 0, and 0.001 or more; 1 mixes by size, a high one equally."
            )
        weights = {name: MIXINGS[mixing](size, temperature) for name, size in sizes.items()}
    else:
        raise SettingsError(
            f"mixing={mixing!r} is unknown; choose {', '.join(map(repr, MIXINGS))}, or give a weight for each source: "
            f"{', '.join(sizes)}.{did_you_mean(mixing, MIXINGS)}"
        )
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def checked_weights(weights: Mapping[str, float], sources: Mapping[str, object]) -> dict[str, float]:
    """The weights in the order of the sources.

    Raises:
        SettingsError: When a source has no weight, a weight no source, or one is not a number above 0.
    """
    missing = [name for name in sources if name not in weights]
    unknown = [name for name in weights if name not in sources]
    if missing or unknown:
        found = f"{', '.join(missing)} has none" if missing else f"{', '.join(unknown)} is no source"
        raise SettingsError(f"mixing needs one weight for each of the sources {', '.join(sources)}, but {found}.")
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise SettingsError(
                f"mixing gives {name} the weight {weight}, but weights must be above 0. Leave the source out if it is "
                "not to be read."
            )
    return {name: float(weights[name]) for name in sources}


def check_seed(seed: int) -> None:
    """Refuses what is no seed of numpy's generators.

    Raises:
        SettingsError: When it is no whole number, at least 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise SettingsError(f"seed={seed!r} must be a whole number, at least 0.")


def whole_counts(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers of sum ``total``, each within 1 of its share of it (largest remainder, ties to the first).

    Args:
        shares: Source -> share; together 1.
        total: What is given out.
    """
    exact = np.array([share * total for share in shares.values()])
    # Shares are quotients: 3 must not become 2.9999999999999996 and lose its unit to a rounding error.
    counts = np.floor(exact + 1e-9).astype(np.int64)
    left = total - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:left]] += 1
    return dict(zip(shares, counts.tolist(), strict=True))


def epoch_rows(
    sizes: Mapping[str, int], counts: Mapping[str, int], *, seed: int, epoch: int, block: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """What each index of an epoch stands for.

    A source is read round by round, each round all its rows in a new order, and an epoch goes on where the one before
    ended: after any number of epochs no row of a source came twice more than another.

    Args:
        sizes: Source -> its number of rows.
        counts: Source -> how many of them an epoch holds, multiples of ``block``.
        seed: Of all orders, at least 0.
        epoch: Which epoch, from 0.
        block: So many indices in a row stand for rows of one source; blocks are in random order.

    Returns:
        Number of the source, in the order of ``sizes``, int16 of shape (N,), and row in it, int64 of shape (N,).
    """
    numbers = np.repeat(np.arange(len(sizes), dtype=np.int16), list(counts.values()))  # (N,)
    rows = np.concatenate(
        [
            _rows_in_rounds(size, epoch * counts[name], counts[name], [seed, _ROUND, number])
            for number, (name, size) in enumerate(sizes.items())
        ]
    )  # (N,)
    blocks = np.random.default_rng([seed, _ORDER, epoch]).permutation(len(rows) // block)
    order = (blocks[:, None] * block + np.arange(block)).reshape(-1)  # (N,)
    return numbers[order], rows[order]


def _rows_in_rounds(size: int, start: int, count: int, seed: list[int]) -> np.ndarray:
    """Rows at the places ``start`` to ``start + count`` of endless rounds through a source."""
    first, last = start // size, (start + count - 1) // size
    rounds = [np.random.default_rng([*seed, around]).permutation(size) for around in range(first, last + 1)]
    return np.concatenate(rounds)[start - first * size :][:count]
