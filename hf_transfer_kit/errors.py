"""The kit's errors: every message is a sentence that states the rule, the finding and the way out."""

from __future__ import annotations

__all__ = [
    "DataError",
    "FullDiskError",
    "HubError",
    "ModelError",
    "NotFiniteError",
    "SettingsError",
    "TransferKitError",
    "WorkerError",
]


class TransferKitError(ValueError):
    """Root of all errors the kit raises on purpose."""


class ModelError(TransferKitError):
    """A model cannot be loaded, ordered, split, or given a new head."""


class DataError(TransferKitError):
    """A dataset cannot be read, or its columns, labels or sizes do not fit the request."""


class FullDiskError(DataError):
    """No space is left for what was to be written; what was there before is as it was."""


class SettingsError(TransferKitError):
    """An argument, a flag or a combination of them is not allowed."""


class HubError(TransferKitError):
    """The Hub does not take what is pushed, or what would be pushed must not be shared."""


class WorkerError(TransferKitError):
    """A worker process or machine ended before the run that it did."""


def first_line(error: BaseException) -> str:
    """The first line of a foreign error's words, for a sentence of ours; its name when it has none.

    A line that ends in a colon says nothing without the next one, which is taken with it.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


class NotFiniteError(TransferKitError):
    """Training gave a loss or a figure that is NaN or infinite.

    Args:
        words: The sentence.
        step: After how many optimizer steps.
    """

    def __init__(self, words: str, step: int = 0) -> None:
        super().__init__(words)
        self.step = step

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        return type(self), (str(self), self.step)  # from a worker process it comes with its step
