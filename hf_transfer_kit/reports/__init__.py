"""Results in, words and pictures out; nothing here trains.

A recipe's findings have a folder, which ``section`` finds by itself: report, words, pictures, and a ``SECTION`` that
says what of them stands in pages, cards and verdicts.
"""

from typing import TYPE_CHECKING

from hf_transfer_kit.lazy_words import load_when_used

if TYPE_CHECKING:
    from hf_transfer_kit.reports.adaptation import (
        adaptation_bars,
        adaptation_report,
        adaptation_scalars,
        adaptation_table,
        adaptation_words,
        feature_maps_picture,
        unknown_sentence,
    )
    from hf_transfer_kit.reports.advice import advice_report
    from hf_transfer_kit.reports.console import report_text
    from hf_transfer_kit.reports.depth import depth_picture, depth_report, depth_table, save_depth_picture
    from hf_transfer_kit.reports.described import confusion_table, described_data
    from hf_transfer_kit.reports.facts import RunFacts, budget_facts
    from hf_transfer_kit.reports.generalisation import generalisation_report, generalisation_table, generalisation_words
    from hf_transfer_kit.reports.growing import growing_table
    from hf_transfer_kit.reports.html import html_report, write_report
    from hf_transfer_kit.reports.multitask import described_tasks, multitask_report, multitask_table, multitask_words
    from hf_transfer_kit.reports.race import comparison_report, strategy_table
    from hf_transfer_kit.reports.report import TransferReport, library_versions, read_report
    from hf_transfer_kit.reports.run_lengths import budget_sentence, length_sentence, race_lengths
    from hf_transfer_kit.reports.section import Section, all_sections, sections_of
    from hf_transfer_kit.reports.suspected import located, suspected_lines
    from hf_transfer_kit.reports.verdicts import all_verdicts, verdict_lines
    from hf_transfer_kit.reports.zero_shot import zero_shot_report, zero_shot_table, zero_shot_words

__all__ = [
    "RunFacts",
    "Section",
    "TransferReport",
    "adaptation_bars",
    "adaptation_report",
    "adaptation_scalars",
    "adaptation_table",
    "adaptation_words",
    "advice_report",
    "all_sections",
    "all_verdicts",
    "budget_facts",
    "budget_sentence",
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
    "length_sentence",
    "library_versions",
    "located",
    "multitask_report",
    "multitask_table",
    "multitask_words",
    "race_lengths",
    "read_report",
    "report_text",
    "save_depth_picture",
    "sections_of",
    "strategy_table",
    "suspected_lines",
    "unknown_sentence",
    "verdict_lines",
    "write_report",
    "zero_shot_report",
    "zero_shot_table",
    "zero_shot_words",
]

load_when_used(__name__)
