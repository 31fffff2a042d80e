"""Ways of balancing tasks, one file each. A new one is a file and a line in ``BALANCERS``."""

from hf_transfer_kit.multitask.balancing.aligned_mtl import AlignedMTL
from hf_transfer_kit.multitask.balancing.balancer import Balancer
from hf_transfer_kit.multitask.balancing.cagrad import CAGrad
from hf_transfer_kit.multitask.balancing.dual_proj import DualProj
from hf_transfer_kit.multitask.balancing.dwa import DWA
from hf_transfer_kit.multitask.balancing.epochs import BalancingEpochs
from hf_transfer_kit.multitask.balancing.fixed import Fixed
from hf_transfer_kit.multitask.balancing.gls import GLS
from hf_transfer_kit.multitask.balancing.gradient_balancer import GradientBalancer
from hf_transfer_kit.multitask.balancing.gradnorm import GradNorm
from hf_transfer_kit.multitask.balancing.imtl_g import IMTLG
from hf_transfer_kit.multitask.balancing.mgda import MGDA
from hf_transfer_kit.multitask.balancing.nash_mtl import NashMTL
from hf_transfer_kit.multitask.balancing.pcgrad import PCGrad
from hf_transfer_kit.multitask.balancing.rlw import RLW
from hf_transfer_kit.multitask.balancing.uncertainty import Uncertainty
from hf_transfer_kit.multitask.balancing.upgrad import UPGrad
from hf_transfer_kit.registering import Registry

BALANCERS: Registry[Balancer] = Registry(
    "balancer",
    Balancer,
    (
        Fixed,
        Uncertainty,
        DWA,
        RLW,
        GLS,
        GradNorm,
        PCGrad,
        CAGrad,
        MGDA,
        IMTLG,
        NashMTL,
        AlignedMTL,
        UPGrad,
        DualProj,
    ),
)
"""Ways of balancing tasks, by name."""


def register_balancer(balancer: type[Balancer]) -> type[Balancer]:
    """Adds a balancer under its ``name``; a decorator.

    Args:
        balancer: A subclass of Balancer.

    Returns:
        The class.

    Raises:
        SettingsError: When it is no such class, or its name is no word or another's.

    Example:
        >>> @register_balancer
        ... class Even(Balancer):
        ...     name, summary = "even", "the mean of the losses"
        ...     def combine(self, names, losses, shared):
        ...         return torch.stack(losses).mean()
        >>> BALANCERS["even"](["digit", "ink"]).tasks
        ('digit', 'ink')
    """
    return BALANCERS.register(balancer)


__all__ = ["BALANCERS", "Balancer", "BalancingEpochs", "GradientBalancer", "register_balancer"]
