"""A target without labels: networks whose features suit a labelled source and an unlabelled target at once."""

from typing import TYPE_CHECKING

from hf_transfer_kit.lazy_words import load_when_used

if TYPE_CHECKING:
    from hf_transfer_kit.adaptation.alignment import ALIGNMENTS, ShallowAdaptation, shallow_adaptation
    from hf_transfer_kit.adaptation.class_shares import TargetShares
    from hf_transfer_kit.adaptation.configuration import DomainAdversarialConfig
    from hf_transfer_kit.adaptation.diagnosis import Diagnosis, diagnose, negative_adaptation
    from hf_transfer_kit.adaptation.domain_pairs import (
        DomainCollator,
        DomainPairs,
        SourceRows,
        TargetRows,
        check_same_classes,
    )
    from hf_transfer_kit.adaptation.generalisation import (
        SOURCES_OBJECTIVES,
        SWAD,
        ReshuffleSources,
        SeveralSources,
        SeveralSourcesConfig,
        SeveralSourcesModel,
        SourcesCollator,
        flat_region,
        reestimate_on_sources,
    )
    from hf_transfer_kit.adaptation.mean_teacher import MeanTeacher
    from hf_transfer_kit.adaptation.modeling import DomainAdversarialModel
    from hf_transfer_kit.adaptation.objectives import (
        OBJECTIVES,
        SOURCE_FREE,
        DomainBatch,
        Objective,
        register_objective,
    )
    from hf_transfer_kit.adaptation.pseudo_labels import PseudoLabels, target_outputs
    from hf_transfer_kit.adaptation.reestimation import ReestimateBatchNorm, reestimate_batch_norm
    from hf_transfer_kit.adaptation.rejection import Rejection, choose_rejection, open_set_metrics
    from hf_transfer_kit.adaptation.reversal import reverse_gradient
    from hf_transfer_kit.adaptation.schedule import (
        AdversarialSchedule,
        constant_strength,
        dann_strength,
        linear_strength,
    )
    from hf_transfer_kit.adaptation.scores import (
        SCORES,
        TargetScore,
        TargetScores,
        agreement,
        domain_outputs,
        register_score,
        target_scores,
    )
    from hf_transfer_kit.adaptation.streamed_pairs import StreamedDomainPairs
    from hf_transfer_kit.backbones.dann_mnist import DannMnistConfig, DannMnistForImageClassification, DannMnistModel

__all__ = [
    "ALIGNMENTS",
    "OBJECTIVES",
    "SCORES",
    "SOURCES_OBJECTIVES",
    "SOURCE_FREE",
    "SWAD",
    "AdversarialSchedule",
    "DannMnistConfig",
    "DannMnistForImageClassification",
    "DannMnistModel",
    "Diagnosis",
    "DomainAdversarialConfig",
    "DomainAdversarialModel",
    "DomainBatch",
    "DomainCollator",
    "DomainPairs",
    "MeanTeacher",
    "Objective",
    "PseudoLabels",
    "ReestimateBatchNorm",
    "Rejection",
    "ReshuffleSources",
    "SeveralSources",
    "SeveralSourcesConfig",
    "SeveralSourcesModel",
    "ShallowAdaptation",
    "SourceRows",
    "SourcesCollator",
    "StreamedDomainPairs",
    "TargetRows",
    "TargetScore",
    "TargetScores",
    "TargetShares",
    "agreement",
    "check_same_classes",
    "choose_rejection",
    "constant_strength",
    "dann_strength",
    "diagnose",
    "domain_outputs",
    "flat_region",
    "linear_strength",
    "negative_adaptation",
    "open_set_metrics",
    "reestimate_batch_norm",
    "reestimate_on_sources",
    "register_objective",
    "register_score",
    "reverse_gradient",
    "shallow_adaptation",
    "target_outputs",
    "target_scores",
]

load_when_used(__name__, at_once=["modeling", "generalisation.modeling"])
