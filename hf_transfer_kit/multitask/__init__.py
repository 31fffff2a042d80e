"""Several tasks, one trunk: shared layers, separate inputs where they differ, and a head for each task."""

from hf_transfer_kit.multitask.collator import MultiTaskCollator
from hf_transfer_kit.multitask.dataset import MultiTaskDataset
from hf_transfer_kit.multitask.epochs import MultiTaskEpochs
from hf_transfer_kit.multitask.mixing import MIXINGS, mixing_shares
from hf_transfer_kit.multitask.source import Source, TaskRow
from hf_transfer_kit.multitask.streaming import StreamedMultiTaskDataset

__all__ = [
    "MIXINGS",
    "MultiTaskCollator",
    "MultiTaskDataset",
    "MultiTaskEpochs",
    "Source",
    "StreamedMultiTaskDataset",
    "TaskRow",
    "mixing_shares",
]
