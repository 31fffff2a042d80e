"""Several processes that build one cache together: each hears how the others fared, so none waits forever."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from hf_transfer_kit.errors import DataError

T = TypeVar("T")


class Ranks:
    """This process among those of ``torch.distributed``; alone where that is not initialised."""

    def __init__(self) -> None:
        distributed = torch.distributed
        together = distributed.is_available() and distributed.is_initialized()
        self.rank: int = distributed.get_rank() if together else 0
        self.world: int = distributed.get_world_size() if together else 1

    def exchange(self, value: Any) -> list[Any]:
        """The values of all processes, in order; all of them must call it."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(found, value)
        return found

    def on_all_ranks(self, work: Callable[[], T]) -> T:
        """This process's result of ``work``; when it fails in one process it fails in all.

        Raises:
            Exception: What ``work`` raised, where it raised.
            DataError: In the other processes; the sentence says which process failed, and why.
        """
        result: T | None = None
        failure: Exception | None = None
        try:
            result = work()
        except Exception as error:
            failure = error
        words = self.exchange(None if failure is None else f"{type(failure).__name__}: {failure}")
        if failure is not None:
            raise failure
        for rank, said in enumerate(words):
            if said is not None:
                raise DataError(f"Process {rank} of {self.world} failed, so all stop. It said: {said}")
        return cast(T, result)

    def broadcast_from_main(self, work: Callable[[], T]) -> T:
        """What ``work`` returns in the first process, in all of them; only there it runs."""
        found = self.on_all_ranks(lambda: work() if self.rank == 0 else None)
        return self.exchange(found)[0]

    @contextmanager
    def temporary_folder(self, shared: Path) -> Iterator[Path]:
        """A folder for a while, the same one in all processes.

        Args:
            shared: Folder on a disk that all machines see, where it lies when there are several of them.
        """
        here = int(os.environ.get("LOCAL_WORLD_SIZE", self.world)) == self.world

        def make() -> str:
            if not here:
                shared.mkdir(parents=True, exist_ok=True)
            return tempfile.mkdtemp(dir=None if here else shared)

        folder = Path(self.broadcast_from_main(make))
        try:
            yield folder
            self.exchange(None)  # nobody reads there any more
        finally:
            if self.rank == 0:
                shutil.rmtree(folder, ignore_errors=True)
