"""Which strategy, and does transfer help at all."""

from typing import TYPE_CHECKING

from hf_transfer_kit.lazy_words import load_when_used

if TYPE_CHECKING:
    from hf_transfer_kit.backbones.fresh_networks import DANN_MNIST, FRESH_NETWORKS, fresh_network, fresh_processor
    from hf_transfer_kit.selection.advice import measured_experience, recommend
    from hf_transfer_kit.selection.contest.budget import Budget, default_steps
    from hf_transfer_kit.selection.contest.executors import Executor, ProcessWorkers, RayWorkers
    from hf_transfer_kit.selection.contest.progress import ProgressLine, RunClock
    from hf_transfer_kit.selection.contest.store import RunStore
    from hf_transfer_kit.selection.examples.digits_source import train_digits_source
    from hf_transfer_kit.selection.finetuning.caching import PrefixCaches
    from hf_transfer_kit.selection.finetuning.depth_search import depth_strategy, groups_frozen_at, search_freeze_depth
    from hf_transfer_kit.selection.finetuning.found_depths import with_found_depths
    from hf_transfer_kit.selection.finetuning.other_sources import OtherSource, check_sources, compare_sources
    from hf_transfer_kit.selection.finetuning.race import (
        Comparison,
        compare_strategies,
        single_run,
        validate_strategies,
    )
    from hf_transfer_kit.selection.finetuning.running import finished_run, make_trainer, readable_data, run_strategy
    from hf_transfer_kit.selection.measures.distances import DISTANCES, domain_distance
    from hf_transfer_kit.selection.measures.ranking import rank_sources
    from hf_transfer_kit.selection.measures.transferability import transferability
    from hf_transfer_kit.selection.strategies import STRATEGIES, Strategy, register_strategy
    from hf_transfer_kit.selection.strategies.specification import make_strategy, strategy_text

__all__ = [
    "DANN_MNIST",
    "DISTANCES",
    "FRESH_NETWORKS",
    "STRATEGIES",
    "Budget",
    "Comparison",
    "Executor",
    "OtherSource",
    "PrefixCaches",
    "ProcessWorkers",
    "ProgressLine",
    "RayWorkers",
    "RunClock",
    "RunStore",
    "Strategy",
    "check_sources",
    "compare_sources",
    "compare_strategies",
    "default_steps",
    "depth_strategy",
    "domain_distance",
    "finished_run",
    "fresh_network",
    "fresh_processor",
    "groups_frozen_at",
    "make_strategy",
    "make_trainer",
    "measured_experience",
    "rank_sources",
    "readable_data",
    "recommend",
    "register_strategy",
    "run_strategy",
    "search_freeze_depth",
    "single_run",
    "strategy_text",
    "train_digits_source",
    "transferability",
    "validate_strategies",
    "with_found_depths",
]

load_when_used(__name__)
