"""Results in, words and pictures out; nothing here trains."""

from hf_transfer_kit.reports.adaptation_pictures import adaptation_bars, adaptation_scalars, feature_maps_picture
from hf_transfer_kit.reports.adaptation_report import adaptation_report, adaptation_table
from hf_transfer_kit.reports.adaptation_words import adaptation_words, unknown_sentence
from hf_transfer_kit.reports.advice_report import advice_report
from hf_transfer_kit.reports.comparison import comparison_report, confusion_table, described_data, strategy_table
from hf_transfer_kit.reports.depth_curve import depth_picture, save_depth_picture
from hf_transfer_kit.reports.depth_report import depth_report, depth_table
from hf_transfer_kit.reports.facts import RunFacts
from hf_transfer_kit.reports.generalisation_report import generalisation_report, generalisation_table
from hf_transfer_kit.reports.generalisation_words import generalisation_words
from hf_transfer_kit.reports.growing import growing_table
from hf_transfer_kit.reports.html import html_report, write_report
from hf_transfer_kit.reports.multitask_report import described_tasks, multitask_report, multitask_table
from hf_transfer_kit.reports.multitask_words import multitask_words
from hf_transfer_kit.reports.report import TransferReport, library_versions, read_report
from hf_transfer_kit.reports.suspected import located, suspected_lines
from hf_transfer_kit.reports.verdicts import all_verdicts, verdict_lines
from hf_transfer_kit.reports.zero_shot_report import zero_shot_report, zero_shot_table
from hf_transfer_kit.reports.zero_shot_words import zero_shot_words

__all__ = [
    "RunFacts",
    "TransferReport",
    "adaptation_bars",
    "adaptation_report",
    "adaptation_scalars",
    "adaptation_table",
    "adaptation_words",
    "advice_report",
    "all_verdicts",
    "comparison_report",
    "confusion_table",
    "depth_picture",
    "depth_report",
    "depth_table",
    "described_data",
    "described_tasks",
    "feature_maps_picture",
    "generalisation_report",
    "generalisation_table",
    "generalisation_words",
    "growing_table",
    "html_report",
    "library_versions",
    "located",
    "multitask_report",
    "multitask_table",
    "multitask_words",
    "read_report",
    "save_depth_picture",
    "strategy_table",
    "suspected_lines",
    "unknown_sentence",
    "verdict_lines",
    "write_report",
    "zero_shot_report",
    "zero_shot_table",
    "zero_shot_words",
]
