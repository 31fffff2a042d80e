"""What several tasks ask of FSDP2: it gathers parameters group by group, and every process must do so as often."""

from __future__ import annotations

from typing import Any

from hf_transfer_kit.backbones.shards import groups_below, sharded_apart
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask.affinity import TaskAffinity
from hf_transfer_kit.multitask.balancing.gradient_balancer import GradientBalancer


def check_shards(model: Any) -> None:
    """Refuses a sharded model of several tasks that would wait for ever or train wrongly.

    A process whose batch lacks an input would not gather what the others gather for it. A balancer of gradients runs
    the heads backward more than once in a step, after which a head's own group counts its gradient wrongly.

    Args:
        model: A ``MultiTaskModel``.

    Raises:
        SettingsError: Naming the setting.
    """
    if not groups_below(model):
        return
    if len(model.config.inputs) > 1:
        raise SettingsError(
            f"A MultiTaskModel with the inputs {', '.join(model.config.inputs)} is sharded in several groups, and a "
            f"process whose batch lacks one of them would gather fewer than the others, which wait for it. Use "
            "DistributedDataParallel."
        )
    balancer = model.balancer.balancer if isinstance(model.balancer, TaskAffinity) else model.balancer
    apart = [name for name, head in model.heads.items() if sharded_apart(model, head)]
    if apart and isinstance(balancer, GradientBalancer):
        raise SettingsError(
            f"{balancer.name} takes the tasks' gradients one by one, and the head {apart[0]!r} is sharded in a group "
            "of its own, which adds them up wrongly. Leave heads to the outermost group: wrap the network's blocks "
            "alone, with transformer_layer_cls_to_wrap."
        )
