"""Several tasks, one trunk: how their losses are balanced, whether they agree, what they gain."""

from hf_transfer_kit.multitask.affinity import TaskAffinity
from hf_transfer_kit.multitask.balancing import BALANCERS, Balancer, BalancingEpochs
from hf_transfer_kit.multitask.metrics import delta_m, multi_task_metrics

__all__ = ["BALANCERS", "Balancer", "BalancingEpochs", "TaskAffinity", "delta_m", "multi_task_metrics"]
