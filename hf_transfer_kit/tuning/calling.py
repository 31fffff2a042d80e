"""Who calls a callback: Trainer gives it no way to itself."""

from __future__ import annotations

import inspect
from types import FrameType

from transformers import Trainer
from transformers.trainer_callback import CallbackHandler


def calling_trainer() -> Trainer | None:
    """The Trainer whose event is being handled, for callbacks are given no way to it; None outside of one."""
    handler = owners_frame(CallbackHandler)
    frame = None if handler is None else owners_frame(Trainer, handler)
    return None if frame is None else frame.f_locals["self"]


def owners_frame(kind: type, frame: FrameType | None = None) -> FrameType | None:
    """The innermost running frame, from ``frame`` outwards, of a method of an object of this class."""
    frame = frame or inspect.currentframe()
    while frame is not None and not isinstance(frame.f_locals.get("self"), kind):
        frame = frame.f_back
    return frame
