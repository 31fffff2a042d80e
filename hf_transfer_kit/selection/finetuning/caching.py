"""Caches for the runs of a comparison: used where they change nothing, and said so."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel

from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.data import SPLITS, PreparedData
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.features import CachedPrefix, cache_prefix
from hf_transfer_kit.features.cache_budget import bytes_of, readable_bytes


class PrefixCaches:
    """Gives runs with frozen first layers what these layers computed once; ``attach`` goes to ``run_strategy``.

    A run goes without a cache when training data is augmented, the budget is 0 or too small, or the network cannot be
    split there; ``notes`` says which and why.

    Args:
        data: The prepared splits.
        batch_size: Rows a forward.
        cache_budget: Bytes that one cache may take, such as ``"4GB"``; 0 uses none.
        dtype: What float32 tensors are stored as.
        cache_dir: Folder of all caches; None for the usual one.
        progress: Say what is done while it is done.

    Raises:
        SettingsError: When the budget cannot be read.

    Example:
        >>> caches = PrefixCaches(data, cache_dir="cache")
        >>> found = compare_strategies(make_model, data, ["head_only"], args, budget, caches=caches)
        >>> caches.notes
        ('The frozen network before the head ran once for each of the 51 rows; training read 159.3 KB of cache.',)
    """

    def __init__(
        self,
        data: PreparedData,
        *,
        batch_size: int = 64,
        cache_budget: int | str = "4GB",
        dtype: str = "float32",
        cache_dir: str | Path | None = None,
        progress: bool = False,
    ) -> None:
        self.data, self.batch_size, self.cache_budget = data, batch_size, cache_budget
        self.dtype, self.cache_dir, self.progress = dtype, cache_dir, progress
        self.is_off = bytes_of(cache_budget) == 0
        self._notes: dict[str, None] = {}
        self._last = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each number of frozen groups that was asked for."""
        return tuple(self._notes)

    def take_note(self) -> str:
        """The sentence for the last model that was to be attached, once; empty when there was none."""
        note, self._last = self._last, ""
        return note

    def remember(self, note: str) -> None:
        """Counts a sentence among the ``notes`` that was said in another process, or before a run was interrupted."""
        if note:
            self._notes.setdefault(note)

    @property
    def search_options(self) -> dict[str, object]:
        """The same choices for ``search_freeze_depth``."""
        return {"cache_dir": self.cache_dir, "cache_budget": self.cache_budget, "dtype": self.dtype}

    def attach(self, model: PreTrainedModel, k: int) -> CachedPrefix | None:
        """The model on cached rows behind its first k groups, or None with the reason in ``notes``."""
        groups = layer_groups(model)
        what = "The frozen network before the head" if k == len(groups.body) else f"The first {k} layer groups"
        if self.is_off:
            return None
        if self.data.describe.get("augmented"):
            self._say(f"{what} ran at every step, because training data is augmented anew each time.")
            return None
        splits = {split: getattr(self.data, split) for split in SPLITS}
        try:
            cached = cache_prefix(
                model,
                k,
                splits,
                collator=self.data.collator,
                batch_size=self.batch_size,
                dtype=self.dtype,
                cache_dir=self.cache_dir,
                cache_budget=self.cache_budget,
                progress=False,
            )
        except (ModelError, SettingsError) as error:
            self._say(f"{what} ran at every step, without a cache: {error}")
            return None
        rows = sum(len(split) for split in splits.values())
        self._say(
            f"{what} ran once for each of the {rows:,} rows; training read {readable_bytes(cached.nbytes)} of cache."
        )
        return cached

    def _say(self, sentence: str) -> None:
        if sentence not in self._notes and self.progress:
            print(sentence)
        self._last = sentence
        self.remember(sentence)
