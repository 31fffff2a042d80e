"""Weights averaged at every step of the flat region of the validation loss, written into the model at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy

from hf_transfer_kit.adaptation.generalisation.flat_region import flat_region
from hf_transfer_kit.adaptation.generalisation.reestimation import reestimate_on_sources
from hf_transfer_kit.adaptation.generalisation.several_sources import SeveralSources
from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.batch_norms import batch_norms
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.options import check_int, check_number
from hf_transfer_kit.tuning.averaging.means import Average, wide_copies
from hf_transfer_kit.tuning.averaging.taken_steps import TakenSteps
from hf_transfer_kit.tuning.beside_checkpoints import to_read, to_write
from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback

logger = get_logger(__name__)

FILE = "swad.safetensors"


class SWAD(NetworkCallback):
    """Stochastic weight averaging, densely: the mean of the weights after each step of a flat region (Cha et al. 2021).

    The region is found by the validation loss of Trainer's own evaluations (``flat_region``): it begins and ends with
    one. Where the loss has not stopped falling when training ends, the mean of the steps before the last evaluation is
    taken, and said. Checkpoints hold the means as ``swad.safetensors``; a resumed run goes on with them.

    Args:
        sources: What was trained on, for BatchNorm statistics of the averaged weights; must be given for a network that
            has BatchNorm.
        collator: Rows -> batch, likewise.
        metric: Name of the loss among the metrics of an evaluation.
        start_patience: As in ``flat_region``, like the next two.
        end_patience: Evaluations above the limit that end it.
        tolerance: Of the limit.

    Attributes:
        steps: First and last step of the mean, once training has ended.

    Raises:
        SettingsError: When an argument is out of range; before training, when there are no evaluations, the best
            checkpoint is to be loaded at the end, BatchNorm has no rows to gather statistics on, or the checkpoint
            holds no means; at the first step after an evaluation that had no ``metric``.

    Example:
        >>> args.eval_strategy, args.eval_steps = "steps", 1
        >>> swad = SWAD(SeveralSources({"photo": train, "art": target}), collator)
        >>> trainer = Trainer(model, args, train_dataset=train, eval_dataset=test, callbacks=[swad])
        >>> _ = trainer.train()
        >>> swad.steps
        (2, 2)
    """

    reaches_parameters = True
    instead_of_shards = "Without averages keep the best checkpoint, by load_best_model_at_end."

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        sources: SeveralSources | None = None,
        collator: Callable[[list[Mapping[str, Any]]], Mapping[str, Any]] | None = None,
        *,
        metric: str = "eval_loss",
        start_patience: int = 3,
        end_patience: int = 6,
        tolerance: float = 0.3,
    ) -> None:
        self.sources = sources
        self.collator = collator
        self.metric = metric
        self.start_patience = check_int("SWAD", "start_patience", start_patience, low=1)
        self.end_patience = check_int("SWAD", "end_patience", end_patience, low=1)
        self.tolerance = check_number("SWAD", "tolerance", tolerance, low=0)
        self._begin()

    def _begin(self) -> None:
        self.steps: tuple[int, int] | None = None
        self._losses: list[float] = []
        self._ends: list[int] = []  # steps of the evaluations
        self._segments: dict[int, Average] = {}  # of the steps before each evaluation, where they may still be needed
        self._current: Average | None = None  # of the steps since the last one
        self._found: Average | None = None  # of the segments that are in the region
        self._missed: list[str] = []
        self._running = False
        self._steps: TakenSteps = GIVEN

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        optimizer: torch.optim.Optimizer = GIVEN,
        **kwargs: Any,
    ) -> None:
        if args.load_best_model_at_end or args.eval_strategy == IntervalStrategy.NO:
            raise SettingsError(
                "SWAD averages weights by the validation loss of Trainer's evaluations and writes them into the model "
                "at the end. Give eval_strategy='steps' with eval_steps, and leave load_best_model_at_end out."
            )
        inner, _ = plain_model(model)
        if batch_norms(inner) and (self.sources is None or self.collator is None):
            raise SettingsError(
                f"{type(inner).__name__} has BatchNorm, whose statistics must be gathered anew for averaged weights. "
                "Give SWAD(sources, collator): what is trained on, and what makes batches of its rows."
            )
        self._begin()
        self._running = True
        self._steps = TakenSteps(optimizer)
        if state.global_step:
            self._load(load_file(to_read(args, state, FILE, "SWAD")), inner)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._missed and not self._losses:
            raise SettingsError(
                f"SWAD(metric={self.metric!r}) finds no such metric; the evaluation gave {', '.join(self._missed)}. "
                "Name one of them that is a loss."
            )

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        if not self._steps.last():
            return
        weights = _parameters(model)
        self._current = Average(wide_copies(weights), 1) if self._current is None else self._current.with_more(weights)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] = GIVEN,
        **kwargs: Any,
    ) -> None:
        if not self._running or self._current is None:
            return
        if self.metric not in (metrics or {}):
            self._missed = sorted(metrics or {})
            return
        self._losses.append(float(metrics[self.metric]))
        self._ends.append(state.global_step)
        self._segments[len(self._losses) - 1] = self._current
        self._current = None
        self._settle()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            save_file(self._saved(), to_write(args, state, FILE))

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        self._running = False
        start, end = self._region()  # what lies after the end was let go of
        if start is None:
            if not self._segments:
                logger.warning("SWAD saw no evaluation, so the weights of the last step were kept.")
                return
            start = max(self._segments)
            logger.warning(
                f"SWAD found no flat region in {len(self._losses)} evaluations: the validation loss was still falling. "
                "The mean of the steps before the last evaluation was taken. Evaluate more often, or train longer."
            )
        for segment in sorted(self._segments):
            if segment >= start:
                self._add(segment)
        self.steps = (self._ends[start - 1] + 1 if start else 1, self._ends[-1 if end is None else end - 1])
        with torch.no_grad():
            for parameter, mean in zip(_parameters(model), cast(Average, self._found).tensors, strict=True):
                parameter.copy_(mean)
        if self.sources is not None and self.collator is not None:
            reestimate_on_sources(plain_model(model)[0], self.sources, self.collator)

    def _region(self) -> tuple[int | None, int | None]:
        return flat_region(
            self._losses,
            start_patience=self.start_patience,
            end_patience=self.end_patience,
            tolerance=self.tolerance,
        )

    def _settle(self) -> None:
        """Adds what is known to be in the region to its mean, and lets go of what can no longer be in it."""
        start, end = self._region()
        seen = len(self._losses)
        if start is None:
            first = min(seen - 1, seen - self.start_patience + 1)
            self._segments = {i: average for i, average in self._segments.items() if i >= first}
            return
        certain = seen - self.end_patience + 1 if end is None else end
        for segment in sorted(self._segments):
            if start <= segment < certain:
                self._add(segment)
            elif segment < start or end is not None:
                del self._segments[segment]

    def _add(self, segment: int) -> None:
        average = self._segments.pop(segment)
        self._found = average if self._found is None else self._found.with_more(average.tensors, average.count)

    def _saved(self) -> dict[str, Tensor]:
        parts = {"current": self._current, "found": self._found}
        parts |= {f"segment{index}": average for index, average in self._segments.items()}
        kept = {
            "losses": torch.tensor(self._losses, dtype=torch.float64),
            "ends": torch.tensor(self._ends, dtype=torch.int64),
        }
        for name, average in parts.items():
            if average is not None:
                kept[f"{name}.count"] = torch.tensor(average.count)
                kept |= {f"{name}.{i}": tensor.cpu().contiguous() for i, tensor in enumerate(average.tensors)}
        return kept

    def _load(self, kept: dict[str, Tensor], model: nn.Module) -> None:
        self._losses, self._ends = kept.pop("losses").tolist(), kept.pop("ends").tolist()
        parameters = _parameters(model)
        for name in [key.removesuffix(".count") for key in kept if key.endswith(".count")]:
            tensors = [kept[f"{name}.{i}"].to(parameter.device) for i, parameter in enumerate(parameters)]
            average = Average(tensors, int(kept[f"{name}.count"]))
            if name.startswith("segment"):
                self._segments[int(name.removeprefix("segment"))] = average
            else:
                setattr(self, f"_{name}", average)


def _parameters(model: nn.Module) -> list[Tensor]:
    """All of them, in their order: which ones are frozen may change while training goes on."""
    return list(plain_model(model)[0].parameters())
