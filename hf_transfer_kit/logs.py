"""Messages to people, through transformers' logging: its handler, its verbosity, and once for all processes."""

from __future__ import annotations

import logging
import os
from typing import cast

import torch
import transformers


def get_logger(name: str) -> logging.Logger:
    """A logger that obeys ``transformers.utils.logging.set_verbosity`` and speaks in the first process alone.

    Args:
        name: ``__name__`` of the module.
    """
    # A child of transformers' own logger has its handler and its level.
    logger = cast(logging.Logger, transformers.utils.logging.get_logger(f"transformers.{name}"))
    if _in_first_process not in cast(list, logger.filters):
        logger.addFilter(_in_first_process)
    return logger


def _in_first_process(record: logging.LogRecord) -> bool:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank() == 0
    return os.environ.get("RANK", "0") == "0"  # as launchers set it, before the processes have met
