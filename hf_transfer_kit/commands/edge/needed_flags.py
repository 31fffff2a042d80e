"""Flags of transformers that do nothing without another one, or beside it: refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from hf_transfer_kit.errors import SettingsError


class Need(NamedTuple):
    """What a flag hangs on."""

    flag: str
    value: str
    """The other flag's value in words; empty where it is a switch."""
    holds: Callable[[str], bool]
    default: str = ""
    """Of the other flag, as the kit's recipes have it."""


def is_on(value: str) -> bool:
    """Whether a switch's text turns it on."""
    return value.lower() not in ("", "0", "false", "f", "no", "n", "none")


def _all(names: str, *needs: Need) -> dict[str, tuple[Need, ...]]:
    return dict.fromkeys(names.split(), needs)


_BEST = (
    Need("load_best_model_at_end", "", is_on),
    Need("save_strategy", "best", "best".__eq__, "steps"),
)
NEEDED: Mapping[str, tuple[Need, ...]] = {
    **_all("fsdp_config", Need("fsdp", "", is_on)),
    **_all("liger_kernel_config", Need("use_liger_kernel", "", is_on)),
    **_all("activation_checkpointing_kwargs", Need("activation_checkpointing", "", is_on)),
    **_all("gradient_checkpointing_kwargs", Need("gradient_checkpointing", "", is_on)),
    **_all("save_steps", Need("save_strategy", "steps", "steps".__eq__, "steps")),
    **_all(
        "save_total_limit save_only_model save_on_each_node load_best_model_at_end enable_jit_checkpoint",
        Need("save_strategy", "steps, epoch or best", "no".__ne__, "steps"),
    ),
    **_all("metric_for_best_model greater_is_better", *_BEST),
    **_all("eval_steps", Need("eval_strategy", "steps", "steps".__eq__, "steps")),
    **_all("eval_delay", Need("eval_strategy", "steps or epoch", "no".__ne__, "steps")),
    **_all("logging_steps", Need("logging_strategy", "steps", "steps".__eq__, "steps")),
    **_all("logging_first_step", Need("logging_strategy", "steps or epoch", "no".__ne__, "steps")),
    **_all("length_column_name", Need("train_sampling_strategy", "group_by_length", "group_by_length".__eq__)),
    **_all(
        "dataloader_persistent_workers dataloader_multiprocessing_context dataloader_in_order",
        Need("dataloader_num_workers", "1 or more", is_on),
    ),
    **_all("hub_model_id hub_private_repo hub_revision hub_token", Need("push_to_hub", "", is_on)),
    **_all("run_name", Need("report_to", "a tracker", is_on)),
    **_all(
        "project trackio_space_id trackio_bucket_id trackio_static_space_id",
        Need("report_to", "trackio", lambda value: value in ("trackio", "all")),
    ),
    **_all("held_rows shuffle_buffer", Need("streaming", "", is_on)),
    **_all("ignore_data_skip restore_callback_states_from_checkpoint", Need("resume_from_checkpoint", "", is_on)),
}
"""Flag -> of what one must hold for it to do anything."""


def refuse_without(typed: Mapping[str, object]) -> None:
    """Refuses flags that would do nothing because of what is not given, or of what is.

    Args:
        typed: What the user gave, on the command line or in a settings file.

    Raises:
        SettingsError: With the first of them, and what it hangs on.
    """
    for name, given in typed.items():
        needs = NEEDED.get(name, ()) if is_on(str(given)) else ()  # a switch that is turned off asks for nothing
        if needs and not any(need.holds(str(typed.get(need.flag, need.default))) for need in needs):
            words = " or ".join(f"--{need.flag} {need.value}".rstrip() for need in needs)
            raise SettingsError(f"--{name} does nothing without {words}. Give that too, or leave --{name} out.")
    steps, epochs = typed.get("max_steps"), typed.get("num_train_epochs", "0")
    if steps is not None and str(epochs) not in ("0", "0.0"):  # a run that was counted in steps has noted no epochs
        raise SettingsError(
            f"--max_steps {steps} and --num_train_epochs {epochs} both say how long to train, and the steps would win. "
            "Leave one out."
        )
