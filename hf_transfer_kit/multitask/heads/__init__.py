"""Heads: one kind of task, one file."""

from hf_transfer_kit.multitask.heads.classification import ClassificationHead
from hf_transfer_kit.multitask.heads.ctc import CTCHead
from hf_transfer_kit.multitask.heads.head import POOLED, SEQUENCE, Head
from hf_transfer_kit.multitask.heads.multi_label import MultiLabelHead
from hf_transfer_kit.multitask.heads.regression import RegressionHead
from hf_transfer_kit.multitask.heads.token_classification import TokenClassificationHead

HEADS: dict[str, type[Head]] = {
    head.kind: head for head in (ClassificationHead, MultiLabelHead, RegressionHead, TokenClassificationHead, CTCHead)
}
"""Heads by the type of their task."""

__all__ = ["HEADS", "POOLED", "SEQUENCE", "Head"]
