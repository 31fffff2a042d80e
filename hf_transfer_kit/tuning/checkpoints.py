"""Checkpoints of Trainer that are whole: found among those that a kill or a full disk left half-written."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, SaveStrategy

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.shards import local
from hf_transfer_kit.disk import free_bytes, full_disk_told
from hf_transfer_kit.errors import FullDiskError, SettingsError, first_line
from hf_transfer_kit.features.ranks import Ranks
from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.tuning.calling import calling_trainer
from hf_transfer_kit.tuning.conservative.anchor import stateful_callbacks
from hf_transfer_kit.tuning.own_checkpoints import (
    STATE,
    facts_of,
    in_the_way,
    kept,
    mark,
    newest_first,
    read_state,
    remove_older,
)

logger = get_logger(__name__)

_WEIGHTS = ("model.safetensors", "adapter_model.safetensors", "pytorch_model.bin", "adapter_model.bin")
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
# Weights and optimizer in a form of their own, which FSDP and DeepSpeed read and check themselves.
_ELSEWHERE = ("pytorch_model_fsdp_0", "pytorch_model_fsdp.bin", "latest")


@checked_arguments()
def last_whole_checkpoint(
    output_dir: str | Path,
    *,
    facts: Mapping[str, Any] | None = None,
    tell: Callable[[str], object] | None = logger.warning,
) -> str | None:
    """The newest checkpoint of a folder from which training can go on, for ``train(resume_from_checkpoint=...)``.

    Trainer itself takes the one with the highest number, whether or not it is whole, and goes on without an optimizer
    where ``optimizer.pt`` is missing.

    Args:
        output_dir: Trainer's ``args.output_dir``; it need not exist.
        facts: What the run is, as given to ``GuardCheckpoints``: whole checkpoints of another run are passed over.
        tell: Called with one sentence that names what was passed over, and says so when there is nothing to go on
            from; None says nothing.

    Returns:
        The checkpoint's folder; None where training has to begin anew.

    Raises:
        SettingsError: When all whole checkpoints are of other runs, whose places this run would take.

    Example:
        >>> last_whole_checkpoint("not_begun", tell=print)
        No checkpoint to go on from (there is none yet): training starts from the beginning.
    """
    passed, foreign = [], []
    for folder in newest_first(Path(output_dir)):
        fault = fault_of(folder)
        difference = None if fault else difference_from(folder, facts) or _unknown(folder, facts)
        if fault or difference:
            passed.append(f"{folder.name} ({fault or difference})")
            foreign += [f"{folder.name} ({difference})"] if difference else []
            continue
        if passed and tell:
            tell(f"Going on from {folder.name}; passed over: {', '.join(passed)}.")
        return str(folder)
    if foreign:
        raise SettingsError(
            f"The checkpoints in {output_dir} are of another run: {', '.join(foreign)}. Give the flags of that run, "
            "or an --output_dir of its own for this one."
        )
    if tell:
        found = f"no checkpoint in {output_dir} is whole: {', '.join(passed)}" if passed else "there is none yet"
        tell(f"No checkpoint to go on from ({found}): training starts from the beginning.")
    return None


@checked_arguments()
def check_checkpoint(folder: str | Path, *, facts: Mapping[str, Any] | None = None) -> str:
    """This checkpoint, named by the user, when training can go on from it.

    Raises:
        SettingsError: When it is not there, not whole, or of another run; the sentence names the newest that would do.

    Example:
        >>> args.save_strategy, args.save_steps = "steps", 1
        >>> _ = Trainer(model, args, train_dataset=train, callbacks=[GuardCheckpoints()]).train()
        >>> check_checkpoint(f"{args.output_dir}/checkpoint-1").endswith("checkpoint-1")
        True
    """
    folder = existing_checkpoint(folder)
    reason = fault_of(folder) or difference_from(folder, facts)
    if reason is None:
        return str(folder)
    others = [one for one in newest_first(folder.parent) if not (fault_of(one) or difference_from(one, facts))]
    way_out = f"Give {others[0]}" if others else "No other beside it would do; leave the flag out to start anew"
    raise SettingsError(f"Training cannot go on from {folder} ({reason}). {way_out}.")


def existing_checkpoint(folder: str | Path) -> Path:
    """The folder of a checkpoint that the user named.

    Raises:
        SettingsError: When it is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SettingsError(
            f"There is no checkpoint {folder}: there is no such folder. Give one that Trainer wrote, or true for the "
            "last."
        )
    return folder


def fault_of(folder: Path) -> str | None:
    """What keeps a checkpoint from being whole, in a few words; None where nothing does."""
    state = read_state(folder)  # written last
    if state is None:
        return f"{STATE} is missing or cut off: it was not written to its end"
    if not any((folder / name).exists() for name in _ELSEWHERE):
        weights, fault = _weight_files(folder)
        if fault:
            return fault
        for name in [*weights, "optimizer.pt", "scheduler.pt"]:
            if not (folder / name).is_file():
                return f"{name} is missing"
    if fault := _missing(folder, kept(state).get("attributes")):
        return fault
    return next((fault for file in sorted(folder.iterdir()) if (fault := _unreadable(file))), None)


def difference_from(folder: Path, facts: Mapping[str, Any] | None) -> str | None:
    """How the run that wrote a checkpoint differs from this one, in a few words; None where neither says so."""
    written = facts_of(folder) or {}
    asked = _plain(facts)
    differing = [name for name in asked if name in written and written[name] != asked[name]]
    words = [f"{name} {written[name]}, not {asked[name]}" for name in differing]
    return f"of a run with {', '.join(words)}" if words else None


def _unknown(folder: Path, facts: Mapping[str, Any] | None) -> str | None:
    """That a checkpoint does not say which run it is of, where that is asked for."""
    return "it does not say of which run; name it to go on from it" if facts and facts_of(folder) is None else None


class GuardCheckpoints(TrainerCallback, ExportableState):
    """Keeps a full disk from costing a checkpoint, and writes into each what it is whole with and whose it is.

    Pass it in ``Trainer(callbacks=[...])``. Before a checkpoint is written the free space is compared with what it
    takes; when the disk is full all the same, the half-written folder is removed. Earlier checkpoints stay. A folder
    that is written again counts as not whole until it is (``last_whole_checkpoint``). Checkpoints that others wrote are
    neither replaced nor, for ``save_total_limit``, cleaned away.

    Args:
        facts: Plain values that tell this run from others, such as its strategy; ``last_whole_checkpoint`` compares
            them.
        overwrite: Whether checkpoints that a guard wrote for another run may be replaced.

    Raises:
        SettingsError: When ``facts`` are no plain values, or, before training, when checkpoints of others lie where
            this run's will be.
        FullDiskError: When a checkpoint is due and there is no space for it.

    Example:
        >>> args.save_strategy, args.save_steps = "steps", 1
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[GuardCheckpoints({"strategy": "full"})])
        >>> _ = trainer.train(resume_from_checkpoint=last_whole_checkpoint(args.output_dir, tell=None))
    """

    @checked_arguments()
    def __init__(self, facts: Mapping[str, Any] | None = None, *, overwrite: bool = False) -> None:
        self.facts = _plain(facts)
        self.overwrite = overwrite
        self.cleans: TrainingArguments | None = None
        self.processes = 1
        self.files: dict[str, int] = {}
        self.writing: Path | None = None

    def state(self) -> dict:
        """What ``trainer_state.json`` keeps, which Trainer asks for when all other files are written."""
        if self.writing is not None and self.writing.is_dir():
            # Other processes may still be writing theirs.
            found = [file for file in self.writing.iterdir() if file.is_file() and not file.name.startswith("rng_")]
            self.files = {file.name: file.stat().st_size for file in found if file.name != STATE}
            if self.cleans is not None:
                self.cleans.save_total_limit = None  # Trainer is about to clean away all that is called checkpoint-*
        return {"args": {"facts": self.facts}, "attributes": {"processes": self.processes, "files": self.files}}

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        trainer = calling_trainer()
        self.processes = args.world_size
        if trainer is not None:
            setattr(trainer, "_save_checkpoint", _GuardedSave(trainer, self))  # noqa: B010 - a method of this one alone

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        ahead = range(state.global_step + 1, state.max_steps + 1)
        theirs = in_the_way(Path(str(args.output_dir)), self.facts, ahead, overwrite=self.overwrite)
        if args.save_strategy != SaveStrategy.NO and theirs:
            raise SettingsError(
                f"{args.output_dir} holds {theirs[0].name}, which is not of this run, and the run writes checkpoints "
                "of such names. Choose another output_dir, or move it away."
            )
        # Trainer, resumed, knows the callbacks of the checkpoint alone.
        stateful_callbacks(state).setdefault(type(self).__name__, self.state())


class _GuardedSave:
    """``Trainer._save_checkpoint`` of one Trainer, with a look at the disk before and a clean folder after."""

    def __init__(self, trainer: Trainer, guard: GuardCheckpoints) -> None:
        self._trainer, self._guard, self._save = trainer, guard, trainer._save_checkpoint

    def __call__(self, model: nn.Module, trial: Any, **kwargs: Any) -> None:
        trainer, ranks = self._trainer, Ranks()
        folder = Path(trainer._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{trainer.state.global_step}"
        ranks.broadcast_from_main(lambda: self._before(folder))
        # Trainer may have restored a guard of its own from a checkpoint, which it asks for its state then.
        guards = [one for one in trainer.callback_handler.callbacks if isinstance(one, GuardCheckpoints)]
        limit = trainer.args.save_total_limit
        for guard in guards:
            guard.writing, guard.cleans = folder, trainer.args
        try:
            with full_disk_told(f"No space is left to write {folder}, which was removed. {_way_out(folder)}"):
                self._save(model, trial, **kwargs)
        except FullDiskError:
            if ranks.rank == 0:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            trainer.args.save_total_limit = limit
            for guard in guards:
                guard.writing = guard.cleans = None
        if trainer.args.should_save:
            remove_older(folder.parent, self._guard.facts, limit=limit, best=trainer.state.best_model_checkpoint)

    def _before(self, folder: Path) -> None:
        needed, free = checkpoint_bytes(self._trainer), free_bytes(folder)
        if needed > free:
            raise FullDiskError(
                f"{folder} takes about {needed / 2**20:,.1f} MiB, and {free / 2**20:,.1f} MiB are free. "
                f"{_way_out(folder)}"
            )
        (folder / STATE).unlink(missing_ok=True)  # not whole until it is written to its end again
        mark(folder, self._guard.facts)


def checkpoint_bytes(trainer: Trainer) -> int:
    """About what a checkpoint takes: the weights that are saved, and what the optimizer keeps of each."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "peft_config"):  # an adapter alone is saved
        tensors = [parameter for parameter in model.parameters() if parameter.requires_grad]
    else:
        named = model.state_dict()  # tied weights have two names; an empty part lies nowhere
        tensors = list({local(tensor).data_ptr() or name: tensor for name, tensor in named.items()}.values())
    for moments in trainer.optimizer.state.values() if trainer.optimizer is not None else ():
        tensors += [value for value in moments.values() if isinstance(value, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _way_out(folder: Path) -> str:
    others = [one.name for one in newest_first(folder.parent) if one != folder and fault_of(one) is None]
    stays = f"{others[0]} is whole. " if others else ""
    return (
        f"{stays}Free some space (--save_total_limit keeps fewer checkpoints), and the same command with "
        "--resume_from_checkpoint true goes on."
    )


def _plain(facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """Facts as a checkpoint keeps them."""
    try:
        return json.loads(json.dumps(dict(facts or {})))
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"facts={facts!r} cannot be kept in a checkpoint ({first_line(error)}). Give texts, numbers and lists of "
            "them by name."
        ) from error


def _weight_files(folder: Path) -> tuple[list[str], str | None]:
    """Names of the files that hold the weights, and what is wrong with the list of them."""
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return [name], None
    for name in _INDEXES:
        if (folder / name).is_file():
            try:
                return sorted(set(json.loads((folder / name).read_text())["weight_map"].values())), None
            except (ValueError, KeyError, AttributeError):
                return [], f"{name} is cut off"
    return [], "the weights are missing"


def _missing(folder: Path, written: Mapping[str, Any] | None) -> str | None:
    """Which file is not as ``GuardCheckpoints`` saw it; without its word, whether there is a random state at all."""
    if not written:
        return None if any(folder.glob("rng_state*.pth")) else "rng_state.pth is missing"
    processes = written["processes"]
    names = ["rng_state.pth"] if processes == 1 else [f"rng_state_{rank}.pth" for rank in range(processes)]
    for name in names:
        if not (folder / name).is_file():
            return f"{name} is missing"
    for name, size in written["files"].items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != size:
            return f"{name} is missing or has another size than when it was written"
    return None


def _unreadable(file: Path) -> str | None:
    """What is wrong with a file of tensors, by its header, its length and, where it has them, its checksums."""
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt"):
                pass
        elif file.suffix in (".pt", ".pth"):
            with zipfile.ZipFile(file) as archive:
                if damaged := archive.testzip():
                    return f"{file.name} is damaged at {damaged}"
    except (OSError, SafetensorError, zipfile.BadZipFile, ValueError):
        return f"{file.name} is cut off or damaged"
    return None
