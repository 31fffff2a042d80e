"""From attributes to classes: the nearest rows of a table."""

from __future__ import annotations

import numpy as np
import torch

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.options import check_choice
from hf_transfer_kit.zero_shot.methods.attribute_prediction import class_log_likelihoods
from hf_transfer_kit.zero_shot.methods.method import unit_rows
from hf_transfer_kit.zero_shot.table import AttributeTable

LOOKUPS = ("cosine", "likelihood")


def look_up(
    attributes: np.ndarray, table: AttributeTable, *, how: str = "cosine", priors: np.ndarray | None = None
) -> tuple[str, ...]:
    """The class whose row fits best, for each row of attributes that something predicted.

    Args:
        attributes: (N, A), in the order of ``table.attributes``; probabilities in [0, 1] for ``"likelihood"``.
        table: The classes.
        how: ``"cosine"`` of the rows; or ``"likelihood"``, DAP's (Lampert et al. 2014): the product of
            p(a_m = a_m^z | x) / p(a_m = a_m^z), attributes of the table above 1/2 being there.
        priors: p(a_m = 1), (A,), for ``"likelihood"``; None: the share of the classes that have it, 1/2 where all or
            none do.

    Raises:
        DataError: When there is another number of attributes, or a probability is none.
        SettingsError: When ``how`` is unknown.

    Example:
        >>> look_up(np.array([[0.9, 0.8, 0.1], [0.1, 0.2, 0.9]]), table)
        ('zebra', 'gull')
    """
    check_choice("look_up", "how", how, LOOKUPS)
    given = torch.as_tensor(np.asarray(attributes, dtype=np.float64))
    if given.dim() != 2 or given.shape[1] != len(table.attributes):
        raise DataError(
            f"Attributes have the shape {tuple(given.shape)}, but the table has {len(table.attributes)} attributes. "
            "Give a row for each input with a value for each attribute."
        )
    values = torch.from_numpy(table.values)
    if how == "cosine":
        scores = unit_rows(given) @ unit_rows(values).T
    else:
        if not ((given >= 0) & (given <= 1)).all():
            raise DataError(
                "Attributes must be probabilities in [0, 1] for how='likelihood'. Use how='cosine' instead."
            )
        binary = (values > 0.5).to(torch.float64)
        share = binary.mean(dim=0) if priors is None else torch.as_tensor(np.asarray(priors, dtype=np.float64))
        share = torch.where((share <= 0) | (share >= 1), torch.full_like(share, 0.5), share)
        scores = class_log_likelihoods(given, binary, share)
    return tuple(table.classes[place] for place in scores.argmax(dim=1).tolist())
