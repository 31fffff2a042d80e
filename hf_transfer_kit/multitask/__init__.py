"""Several tasks, one trunk: shared layers, separate inputs where they differ, and a head for each task."""

from typing import TYPE_CHECKING

from hf_transfer_kit.lazy_words import load_when_used

if TYPE_CHECKING:
    from hf_transfer_kit.multitask.affinity import TaskAffinity
    from hf_transfer_kit.multitask.balancing import BALANCERS, Balancer, BalancingEpochs, register_balancer
    from hf_transfer_kit.multitask.collator import MultiTaskCollator
    from hf_transfer_kit.multitask.configuration import DEFAULT_INPUT, MultiTaskConfig
    from hf_transfer_kit.multitask.dataset import MultiTaskDataset
    from hf_transfer_kit.multitask.epochs import MultiTaskEpochs
    from hf_transfer_kit.multitask.heads import HEADS, Head
    from hf_transfer_kit.multitask.metrics import delta_m, multi_task_metrics
    from hf_transfer_kit.multitask.mixing import MIXINGS, mixing_shares
    from hf_transfer_kit.multitask.modeling import MultiTaskModel
    from hf_transfer_kit.multitask.recording import WithLabels, record_logits
    from hf_transfer_kit.multitask.source import Source, TaskRow
    from hf_transfer_kit.multitask.streaming import StreamedMultiTaskDataset

__all__ = [
    "BALANCERS",
    "DEFAULT_INPUT",
    "HEADS",
    "MIXINGS",
    "Balancer",
    "BalancingEpochs",
    "Head",
    "MultiTaskCollator",
    "MultiTaskConfig",
    "MultiTaskDataset",
    "MultiTaskEpochs",
    "MultiTaskModel",
    "Source",
    "StreamedMultiTaskDataset",
    "TaskAffinity",
    "TaskRow",
    "WithLabels",
    "delta_m",
    "mixing_shares",
    "multi_task_metrics",
    "record_logits",
    "register_balancer",
]

load_when_used(__name__, at_once=["modeling"])
