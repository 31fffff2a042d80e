"""Types of tasks by name: what the labels of rows are."""

from __future__ import annotations

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean

CLASSIFICATION = "classification"
TOKEN_CLASSIFICATION = "token_classification"
CTC = "ctc"
TASK_TYPES = (CLASSIFICATION, "regression", "multi_label", TOKEN_CLASSIFICATION, CTC)


def check_task_type(task_type: str) -> None:
    """Refuses what is no type of task.

    Raises:
        SettingsError: With the types.
    """
    if task_type not in TASK_TYPES:
        raise SettingsError(
            f"task_type={task_type!r} is unknown; choose {', '.join(TASK_TYPES)}.{did_you_mean(task_type, TASK_TYPES)}"
        )
