"""How processes of a test end when torch.distributed is at work in them."""

import os
import sys

import torch


def leave() -> None:
    """Ends the process at once, its work being done.

    A thread of gloo that wants the interpreter's lock while Python shuts down aborts the process: seen in one run of
    hundreds on a busy machine, after all was written.
    """
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # a process that leaves first may take the other's connection with it
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
