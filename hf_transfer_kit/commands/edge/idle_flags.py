"""Flags of transformers that a recipe cannot honour: refused by name where a user gives them, by one rule for all.

A recipe sets some of TrainingArguments itself (``run_settings``) and has no use for others. What is here changes
nothing in that recipe, so that who gives it would wait for what never comes.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields

from transformers import HfArgumentParser, TrainingArguments

from hf_transfer_kit.commands.edge.needed_flags import is_on
from hf_transfer_kit.errors import SettingsError


def _all(names: str, reason: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), reason)


_STAGES = _all("do_train do_eval do_predict", "which parts of its work are done cannot be chosen")
_UPLOADS = _all("hub_strategy hub_always_push", "the finished folder is pushed once, at the end")
_NO_HUB = _all("hub_model_id hub_token hub_private_repo hub_revision", "this script leaves no model that is pushed")
_RESUMING = "resume_from_checkpoint ignore_data_skip restore_callback_states_from_checkpoint"
_CHECKPOINTS = (
    "save_strategy save_steps save_total_limit save_only_model save_on_each_node enable_jit_checkpoint "
    "load_best_model_at_end metric_for_best_model greater_is_better"
)
_EVERY_SCRIPT = {
    **_STAGES,
    **_UPLOADS,
    "auto_find_batch_size": "a step has the rows of --batch_size; more --gradient_accumulation_steps take less memory",
    "label_names": "rows hold their labels under a name of the kit's own",
    **_all(
        "prediction_loss_only include_for_metrics batch_eval_metrics eval_do_concat_batches eval_use_gather_object",
        "figures are computed from the predictions of all rows at once",
    ),
}
_ON_ANOTHER_DAY = _all(_RESUMING, "nothing is trained here that could be gone on with; give it to hf-transfer finetune")
_RUNS = {
    **_all(_RESUMING, "finished runs are kept, and the same command goes on with what is missing (--keep_runs)"),
    **_all(_CHECKPOINTS, "its runs write no checkpoints; those that end are kept (--keep_runs), the best are chosen"),
    **_all("logging_strategy logging_steps logging_nan_inf_filter", "each run logs in as many parts as suit its steps"),
    **_all("seed data_seed", "give --seeds, one run each"),
    "run_name": "trackers call each run by its candidate and its seed",
}
_LOOKS = _all("eval_strategy eval_steps", "give --evaluations, how often a run is looked at")
_OWN_LOOKS = _all("eval_delay eval_on_start", "the recipe looks at a run by itself")
_OWN_COLUMNS = {
    "remove_unused_columns": "rows hold what is read under names of their own",
    **_all("train_sampling_strategy length_column_name", "rows come in an order of the recipe's own"),
}

_USED_ALONE = (
    *("output_dir", "overwrite_output_dir", "per_device_eval_batch_size", "seed", "use_cpu", "tf32", "ddp_backend"),
    *("ddp_timeout", "local_rank", "push_to_hub", "disable_tqdm"),
)
_OF_TRAINING = [field.name for field in fields(TrainingArguments) if field.name not in _USED_ALONE]


def _untrained(reason: str, *, but: Collection[str] = ()) -> dict[str, str]:
    names = [*_OF_TRAINING, "evaluations", "batch_size"]
    return {**{name: reason for name in names if name not in but}, **_EVERY_SCRIPT}


IDLE: Mapping[str, Mapping[str, str]] = {
    "finetune": _EVERY_SCRIPT,
    "transfer": {**_EVERY_SCRIPT, **_RUNS, **_LOOKS},
    "adapt": {**_EVERY_SCRIPT, **_RUNS, **_LOOKS, **_OWN_LOOKS, **_OWN_COLUMNS},
    "multitask": {
        **_EVERY_SCRIPT,
        **_RUNS,
        **_LOOKS,
        **_OWN_LOOKS,
        **_OWN_COLUMNS,
    },
    "zero_shot": {
        **_EVERY_SCRIPT,
        **_all(_RESUMING, "training of a split is short, and begins anew"),
        **_all(_CHECKPOINTS, "training of a split is short, and writes no checkpoints"),
        **_all("eval_strategy eval_steps evaluations", "its networks are looked at once, at their end"),
        **_OWN_LOOKS,
        **_all("max_steps num_train_epochs", "--train_network says how many steps a split's network learns"),
    },
    # What these say of training goes into the settings that they write for hf-transfer finetune.
    "advise": {**_EVERY_SCRIPT, **_NO_HUB, **_ON_ANOTHER_DAY},
    "search_depth": {**_EVERY_SCRIPT, **_NO_HUB, **_ON_ANOTHER_DAY, **_all("seed data_seed", "give --seeds")},
    "extract_features": {
        **_untrained("nothing is trained here"),
        **_NO_HUB,
        **_all("license language", "features have no card"),
    },
}
"""Recipe -> flag -> why it is idle there."""
_STREAMED = {
    "extract_features": {
        **_all("train_size validation_size test_size split_seed", "a stream is read in the splits that it has, whole"),
        "missing_label": "each row of a stream has a label, or ends the pass",
        "augment": "rows of a stream are read once, as they are",
        "cache_dir": "a stream is kept nowhere",
    },
    "finetune": {
        **_all("train_size split_seed", "rows of a stream are trained on as they come, for --max_steps"),
        **_all("validation_size test_size", "a stream's rows are not counted; give --held_rows"),
        "num_train_epochs": "a stream is not counted; give --max_steps",
        "missing_label": "each row of a stream has a label, or ends the run",
        "rename_classes": "the classes of a stream are named by --class_names",
        **_all("cache_dir cache_budget cache_dtype", "rows of a stream come once, so that nothing is kept of them"),
        **_all("class_weights sampler", "how many rows each class has is known at a stream's end alone"),
        **_all("old_classes replay replay_config replay_input_column", "old and new classes are counted and joined"),
        **_all("replay_label_column replay_rows margin lwf", "old and new classes are counted and joined"),
        **_all("train_sampling_strategy length_column_name", "a stream is shuffled within --shuffle_buffer"),
        "accelerator_config": "every process reads its own rows of a stream",
    },
}
"""Recipe that reads streams -> flag -> why it is idle with --streaming."""
_UNTRAINED_ZERO_SHOT = _untrained(
    "without --train_network nothing is trained",
    but=("hub_model_id", "hub_token", "hub_private_repo", "hub_revision"),
)


def idle_flags(recipe: str | None, typed: Mapping[str, object]) -> Mapping[str, str]:
    """Flag -> why it is idle, for a recipe and what the user gave."""
    idle = IDLE.get(recipe, {})
    if is_on(str(typed.get("streaming", ""))):
        idle = {**idle, **_STREAMED.get(recipe or "", {})}
    untrained = recipe == "zero_shot" and str(typed.get("train_network", 0)) == "0"
    return {**idle, **_UNTRAINED_ZERO_SHOT} if untrained else idle


def typed_flags(kinds: Sequence[type], argv: Sequence[str]) -> dict[str, object]:
    """The fields that a command line gives a value, and the value as text, whichever way it writes the flag.

    Args:
        kinds: The dataclasses that are parsed.
        argv: The command line; one that cannot be parsed gives nothing, for the parser itself will say so.
    """
    parser = HfArgumentParser(list(kinds))
    for action in parser._actions:
        action.default, action.required = argparse.SUPPRESS, False
        action.type = action.choices = None  # whether values are right is not asked here

    def unreadable(message: str) -> None:
        raise ValueError(message)

    parser.error = unreadable
    try:
        found, _ = parser.parse_known_args([word for word in argv if word not in ("-h", "--help")])
    except ValueError:
        return {}
    return vars(found)


def refuse_idle(recipe: str | None, typed: Mapping[str, object], *, program: str) -> None:
    """Refuses flags that would do nothing.

    Args:
        recipe: Name of the recipe's file.
        typed: What the user gave, on the command line or in a settings file.
        program: What was called.

    Raises:
        SettingsError: With each of them, and why.
    """
    idle = idle_flags(recipe, typed)
    refused = [name for name in idle if name in typed]
    if refused:
        reasons: dict[str, list[str]] = {}
        for name in refused:
            reasons.setdefault(idle[name], []).append(f"--{name}")
        words = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
        raise SettingsError(f"{program} cannot honour {words}. Leave out what does nothing.")
