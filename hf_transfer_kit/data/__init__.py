"""Datasets in: loading, checking, splitting, and making them readable for a model."""

from typing import TYPE_CHECKING

from hf_transfer_kit.lazy_words import load_when_used

if TYPE_CHECKING:
    from hf_transfer_kit.data.class_balance import METRICS, ClassBalance
    from hf_transfer_kit.data.embedded import EMBEDDED, embedded_data
    from hf_transfer_kit.data.loading import LoadedData, load_data
    from hf_transfer_kit.data.preparing import SPLITS, PreparedData, prepare_data, raw_rows
    from hf_transfer_kit.data.raw_inputs import InputSizes, RawInputs
    from hf_transfer_kit.data.replay import replayed_rows
    from hf_transfer_kit.data.several import LoadedSources, UnionRows, distinct_names, united

__all__ = [
    "EMBEDDED",
    "METRICS",
    "SPLITS",
    "ClassBalance",
    "InputSizes",
    "LoadedData",
    "LoadedSources",
    "PreparedData",
    "RawInputs",
    "UnionRows",
    "distinct_names",
    "embedded_data",
    "load_data",
    "prepare_data",
    "raw_rows",
    "replayed_rows",
    "united",
]

load_when_used(__name__)
