"""Several tasks in one network beside each task alone, under one budget."""

from hf_transfer_kit.selection.multitasking.comparing import MultiTaskComparison, compare_multitask
from hf_transfer_kit.selection.multitasking.methods import METHODS, MultiTaskMethod, make_method
from hf_transfer_kit.selection.multitasking.task_data import TaskData, TaskSet

__all__ = [
    "METHODS",
    "MultiTaskComparison",
    "MultiTaskMethod",
    "TaskData",
    "TaskSet",
    "compare_multitask",
    "make_method",
]
