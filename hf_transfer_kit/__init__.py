"""Transfer learning for the Hugging Face ecosystem: measured, compared, and plugged into the stock Trainer.

Public words are loaded when first used, so that importing the package costs nothing.
"""

from importlib import import_module

__version__ = "0.1.0"

_ROOMS = {
    "adaptation": (
        "AdversarialSchedule",
        "DomainAdversarialConfig",
        "DomainAdversarialModel",
        "DomainCollator",
        "DomainPairs",
        "ReestimateBatchNorm",
        "PseudoLabels",
        "ReshuffleSources",
        "SWAD",
        "SeveralSources",
        "SeveralSourcesConfig",
        "SeveralSourcesModel",
        "SourceRows",
        "SourcesCollator",
        "TargetRows",
        "reestimate_batch_norm",
        "reestimate_on_sources",
    ),
    "backbones": (
        "class_embeddings",
        "extend_head",
        "layer_groups",
        "load_model",
        "load_processor",
        "load_tower_classifier",
        "load_towers",
        "register_architecture",
        "register_head",
        "reinitialize",
        "replace_head",
    ),
    "data": ("ClassBalance", "load_data", "prepare_data", "replayed_rows"),
    "features": ("cache_boundaries", "cache_features", "cache_prefix", "linear_probe"),
    "hub": ("KeepRaceReport", "KeepReport", "NoPickleUploads", "TransferCard", "load_inputs", "push_transfer_model"),
    "metrics": ("Accuracy", "ConfusionMatrix", "MacroF1", "TopKAccuracy", "classification_metrics"),
    "multitask": ("MultiTaskCollator", "MultiTaskConfig", "MultiTaskDataset", "MultiTaskModel"),
    "predicting": ("load_transferred",),
    "reports": ("TransferReport", "write_report"),
    "selection": (
        "compare_strategies",
        "domain_distance",
        "make_strategy",
        "rank_sources",
        "recommend",
        "search_freeze_depth",
        "transferability",
    ),
    "tuning": (
        "BSS",
        "CoTuning",
        "DELTA",
        "FairLossScale",
        "FreezeLayers",
        "FreezeSchedule",
        "GradualUnfreezing",
        "GuardCheckpoints",
        "L2SP",
        "L2SPFisher",
        "LogScalars",
        "LwF",
        "RestoreWeights",
        "RoundWeights",
        "ScalarCallback",
        "WeightInterpolation",
        "find_learning_rate",
        "last_whole_checkpoint",
        "layerwise_optimizer",
        "record_scalars",
    ),
    "zero_shot": ("AttributeTable", "ZeroShotConfig", "ZeroShotModel"),
}
_ROOM_OF = {word: room for room, words in _ROOMS.items() for word in words}

__all__ = sorted(_ROOM_OF)


def __getattr__(name: str) -> object:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
