"""What every report says of its data and of the saved model's mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_transfer_kit.data import LoadedData, LoadedSources, PreparedData
from hf_transfer_kit.values import ConfusionTable


def described_data(data: LoadedData | LoadedSources, prepared: PreparedData) -> dict[str, Any]:
    """What a report says of the data: sizes, classes, fingerprints, how rows were prepared.

    Example:
        >>> described_data(loaded, prepare_data(loaded, processor))["sizes"]
        {'train': 30, 'validation': 134, 'test': 271}
    """
    return {
        "modality": data.modality,
        "task_type": prepared.task_type,
        "classes": list(data.label_names),
        "sizes": data.sizes(),
        "fingerprints": data.fingerprints(),
        "skipped_rows": data.skipped_rows,
        "prepared": dict(prepared.describe),
    }


def confusion_table(labels: tuple[str, ...], true: np.ndarray, predicted: np.ndarray) -> ConfusionTable:
    """Counts of (true class, predicted class) over test rows; both arrays are of shape (rows,).

    Example:
        >>> confusion_table(("cat", "dog"), np.array([0, 0, 1]), np.array([0, 1, 1]))
        ConfusionTable(labels=('cat', 'dog'), counts=((1, 1), (0, 1)))
    """
    counts = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(counts, (true, predicted), 1)
    return ConfusionTable(tuple(labels), tuple(tuple(int(count) for count in row) for row in counts))
