"""Methods of adaptation, one file each. A new one is a file and a line in ``OBJECTIVES``.

Two rows of every comparison are no objective but ``source_only`` with a choice of BatchNorm or of data: ``adabn``,
whose statistics are gathered on the target; and ``target_supervised``, the upper bound, whose labelled "source" is the
target with its labels.
"""

from collections import ChainMap
from collections.abc import Mapping

from hf_transfer_kit.adaptation.objectives.adamatch import AdaMatch
from hf_transfer_kit.adaptation.objectives.cdan import CDAN
from hf_transfer_kit.adaptation.objectives.clusters import Clusters
from hf_transfer_kit.adaptation.objectives.coral import DeepCORAL
from hf_transfer_kit.adaptation.objectives.dann import DANN
from hf_transfer_kit.adaptation.objectives.entropy import EntropyMinimisation
from hf_transfer_kit.adaptation.objectives.jan import JAN
from hf_transfer_kit.adaptation.objectives.mcc import MCC
from hf_transfer_kit.adaptation.objectives.mcd import MCD
from hf_transfer_kit.adaptation.objectives.mmd import MMD
from hf_transfer_kit.adaptation.objectives.objective import DomainBatch, Objective
from hf_transfer_kit.adaptation.objectives.self_training import SelfTraining
from hf_transfer_kit.adaptation.objectives.shot import SHOT
from hf_transfer_kit.adaptation.objectives.source_only import SourceOnly
from hf_transfer_kit.adaptation.objectives.tent import TENT
from hf_transfer_kit.adaptation.objectives.vada import VADA
from hf_transfer_kit.registering import Registry

OBJECTIVES: Registry[Objective] = Registry(
    "method of adaptation",
    Objective,
    (
        SourceOnly,
        DANN,
        CDAN,
        MMD,
        JAN,
        DeepCORAL,
        MCD,
        MCC,
        Clusters,
        EntropyMinimisation,
        VADA,
        AdaMatch,
        SelfTraining,
    ),
)
"""Methods that learn from source and target rows, by name."""

SOURCE_FREE: Registry[Objective] = Registry("method of adaptation", Objective, (TENT, SHOT, SelfTraining))
"""Those that need no source rows: a trained network and the target are all they have."""

METHODS: Mapping[str, type[Objective]] = ChainMap(OBJECTIVES, SOURCE_FREE)
"""All."""


def register_objective(objective: type[Objective]) -> type[Objective]:
    """Adds a method under its ``name``; a decorator.

    One that needs no source rows stands among those of ``SOURCE_FREE``, all others in ``OBJECTIVES``.

    Raises:
        SettingsError: When it is no subclass of Objective, or its name is another's.

    Example:
        >>> @register_objective
        ... class MeanGap(Objective):
        ...     name = "mean_gap"
        ...     summary = "equal mean features"
        ...     def compute_terms(self, batch):
        ...         return {"gap_loss": (batch.source_features.mean(0) - batch.target_features.mean(0)).square().sum()}
        >>> DomainAdversarialModel.from_classifier(model, method="mean_gap").objective.name
        'mean_gap'
    """
    for registry in (OBJECTIVES, SOURCE_FREE):
        registry.check(objective)
    return (OBJECTIVES if objective.needs_source else SOURCE_FREE).register(objective)


__all__ = ["METHODS", "OBJECTIVES", "SOURCE_FREE", "DomainBatch", "Objective", "register_objective"]
