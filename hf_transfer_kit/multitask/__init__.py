"""Several tasks, one trunk: shared layers, separate inputs where they differ, and a head for each task."""

from hf_transfer_kit.multitask.configuration import MultiTaskConfig
from hf_transfer_kit.multitask.heads import HEADS, Head
from hf_transfer_kit.multitask.modeling import MultiTaskModel

__all__ = ["HEADS", "Head", "MultiTaskConfig", "MultiTaskModel"]
