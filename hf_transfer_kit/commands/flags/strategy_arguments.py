"""Which strategy runs, and when it is looked at."""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, field

from transformers import IntervalStrategy

from hf_transfer_kit.commands.flags.run_arguments import KitTrainingArguments
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection import STRATEGIES, Budget


@dataclass
class StrategyArguments:
    """How to transfer."""

    strategy: str = field(
        default="full",
        metadata={
            "help": f"One of {', '.join(STRATEGIES)}; options after a colon: freeze_first:k=3, freeze_first:auto. Or "
            "auto, which takes what recommend advises.",
            "aliases": ["--strategies"],
        },
    )


def evaluated(args: KitTrainingArguments, budget: Budget, typed: Collection[str]) -> KitTrainingArguments:
    """The arguments with the evaluations that --evaluations asks for, where no flag of Trainer's asks for others.

    Args:
        args: As parsed.
        budget: Says how many steps lie between two of them.
        typed: Fields that the user gave.

    Raises:
        SettingsError: When both --evaluations and a flag of Trainer's say when, or the run is to end by figures that it
            does not look at.
    """
    own = [name for name in ("eval_strategy", "eval_steps") if name in typed]
    if own and "evaluations" in typed:
        raise SettingsError(f"--evaluations and --{own[0]} both say when the run is looked at: leave one out.")
    if budget.patience and "eval_strategy" in own and args.eval_strategy == IntervalStrategy.NO:
        raise SettingsError(
            "--eval_strategy no never looks at the score by which the run is to end. Leave it out, or say how long it "
            "is (--max_steps, --num_train_epochs) and leave --patience out."
        )
    args = copy.copy(args)
    if "eval_strategy" not in own:
        args.do_eval, args.eval_strategy = True, IntervalStrategy.STEPS
        args.eval_steps = args.eval_steps if own else budget.eval_steps
    if not {"logging_strategy", "logging_steps"} & set(typed):
        args.logging_steps = min(args.logging_steps, budget.eval_steps)  # losses beside the evaluations' figures
    return args
