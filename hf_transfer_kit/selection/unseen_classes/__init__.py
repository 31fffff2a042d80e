"""Methods for classes never seen, on several splits of the classes, chosen on seen classes alone."""

from hf_transfer_kit.selection.unseen_classes.comparing import ZeroShotComparison, compare_zero_shot
from hf_transfer_kit.selection.unseen_classes.data import (
    FeatureMaker,
    NamedRows,
    SplitFeatures,
    frozen_features,
    trained_features,
)

__all__ = [
    "FeatureMaker",
    "NamedRows",
    "SplitFeatures",
    "ZeroShotComparison",
    "compare_zero_shot",
    "frozen_features",
    "trained_features",
]
