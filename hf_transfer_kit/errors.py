"""The kit's errors: every message is a sentence that states the rule, the finding and the way out."""

from __future__ import annotations


class TransferKitError(ValueError):
    """Root of all errors the kit raises on purpose."""


class ModelError(TransferKitError):
    """A model cannot be loaded, ordered, split, or given a new head."""


class DataError(TransferKitError):
    """A dataset cannot be read, or its columns, labels or sizes do not fit the request."""


class SettingsError(TransferKitError):
    """An argument, a flag or a combination of them is not allowed."""
