"""Which weights of a run are kept, told without labels of the target."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.adaptation import (
    SCORES,
    DomainAdversarialModel,
    MeanTeacher,
    domain_outputs,
    reestimate_batch_norm,
    target_outputs,
    target_scores,
)
from hf_transfer_kit.adaptation.scores.domain_outputs import DomainOutputs
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.selection.adapting.methods import LAST, SELECT
from hf_transfer_kit.selection.contest.not_finite import check_finite
from hf_transfer_kit.tuning.networks import GIVEN
from hf_transfer_kit.values import AdaptationPoint, MapRows
from hf_transfer_kit.values.rows import evenly_spread

Rows = MapRows


class KeepBest(TrainerCallback):
    """Looks at a copy of the network now and then, and puts the best one's weights into the model when training ends.

    What is looked at is the teacher where there is one, with BatchNorm statistics of the target where ``reestimate``
    says so. Unlike ``TargetScores``, which leaves the choice to Trainer's checkpoints, it writes nothing to disk.

    Args:
        source: Source rows with labels that are not trained on; None where they cannot be had.
        target: Target rows that are not trained on; labels in them are not read.
        target_train: Target rows to gather BatchNorm statistics on; None leaves them as they are.
        collator: Rows -> batch.
        every: Steps between two evaluations; a function where they may change.
        select: A key of ``SCORES``, or ``"last"``.
        teacher: Whose average to look at.
        accuracy: Classes predicted for ``target``'s rows -> accuracy, for the points alone.
        max_rows: At most so many of each domain.

    Attributes:
        points: One entry an evaluation.
        kept_step: The step whose weights the model has after training.
        scores: Those of the weights that were kept.
        outputs: What they say of rows of both domains; None without a source.

    Raises:
        SettingsError: When the score is unknown.

    Example:
        >>> keep = KeepBest(data.validation, other_data.validation, data.collator, every=1, select="bnm")
        >>> adapted = DomainAdversarialModel.from_classifier(make_model(0), method="mmd")
        >>> trainer = Trainer(
        ...     adapted, args, train_dataset=DomainPairs(data.train, other_data.train),
        ...     data_collator=DomainCollator(data.collator), callbacks=[AdversarialSchedule(), keep],
        ... )
        >>> _ = trainer.train()
        >>> [point.step for point in keep.points], keep.kept_step in (1, 2)
        ([1, 2], True)
    """

    def __init__(
        self,
        source: Rows | None,
        target: Rows,
        collator: Callable[[list[Mapping[str, Any]]], Mapping[str, Any]],
        *,
        every: int | Callable[[], int],
        select: str,
        target_train: Rows | None = None,
        teacher: MeanTeacher | None = None,
        accuracy: Callable[[np.ndarray], float] | None = None,
        max_rows: int = 1000,
    ) -> None:
        if select != LAST and select not in SCORES:
            raise SettingsError(
                f"select={select!r} is unknown; choose {LAST} or one of {', '.join(SCORES)}."
                f"{did_you_mean(select, [LAST, *SCORES])}"
            )
        self.source = source
        self.target = target
        self.target_train = target_train
        self.collator = collator
        self.every = every
        self.select = select
        self.teacher = teacher
        self.accuracy = accuracy
        self.max_rows = max_rows
        self.points: list[AdaptationPoint] = []
        self.kept_step = 0
        self.scores: dict[str, float] = {}
        self.outputs: DomainOutputs | None = None
        self._kept: dict[str, Tensor] = {}

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        every = self.every() if callable(self.every) else self.every
        if state.global_step % every == 0 or state.global_step >= state.max_steps:
            self.look(cast(DomainAdversarialModel, plain_model(model)[0]), state.global_step)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        if self._kept:
            plain_model(model)[0].load_state_dict(self._kept)
            self._kept = {}

    def look(self, model: DomainAdversarialModel, step: int) -> None:
        """Scores the network as it is now, and keeps its weights where they are the best so far."""
        learned = model if self.teacher is None else cast(DomainAdversarialModel, self.teacher.teacher)
        network = copy.deepcopy(learned).requires_grad_(False)
        if self.target_train is not None:
            reestimate_batch_norm(network, self.target_train, self.collator, max_rows=2 * self.max_rows)
        scores, outputs = self._scores(network, step)
        accuracy = None if self.accuracy is None else self.accuracy(outputs.target_logits.argmax(1))
        # Every process must keep the same step, though rounding may differ.
        scores, accuracy = broadcast_object_list([scores, accuracy])
        self.points.append(AdaptationPoint(step, scores, accuracy))
        if self._better(scores):
            self.kept_step, self.scores = step, scores
            self.outputs = cast(DomainOutputs, outputs) if self.source is not None else None
            self._kept = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def looks(self) -> list[tuple[int, float]]:
        """Step and score of each evaluation so far, higher is better; of ``"last"`` the score is ``SELECT``."""
        name = SELECT if self.select == LAST else self.select
        sign = SCORES[name].sign
        return [(point.step, sign * point.scores[name]) for point in self.points]

    def _scores(
        self, network: DomainAdversarialModel, step: int
    ) -> tuple[dict[str, float], DomainOutputs | SimpleNamespace]:
        if self.source is not None:
            outputs = domain_outputs(
                network, self.source, self.target, self.collator, max_rows=self.max_rows, together=True
            )
            check_finite(_ranges(outputs), step)
            return target_scores(outputs), outputs
        chosen = [self.target[row] for row in evenly_spread(len(self.target), self.max_rows)]
        logits, features = (part.numpy() for part in target_outputs(network, chosen, self.collator, together=True))
        alone = SimpleNamespace(target_logits=logits, target_features=features)
        check_finite(_ranges(alone), step)
        return {
            name: float(s.value(cast(DomainOutputs, alone))) for name, s in SCORES.items() if not s.needs_source
        }, alone

    def _better(self, scores: Mapping[str, float]) -> bool:
        if self.select == LAST or not self._kept:
            return True
        sign = SCORES[self.select].sign
        return sign * scores[self.select] > sign * self.scores[self.select]


def _ranges(outputs: DomainOutputs | SimpleNamespace) -> dict[str, float]:
    """The largest size of each kind of output; no score is to meet what is not finite."""
    return {name.replace("_", " "): float(np.abs(value).max()) for name, value in vars(outputs).items()}


def evenly_spread_accuracy(labels: np.ndarray | None, max_rows: int) -> Callable[[np.ndarray], float] | None:
    """Classes predicted for the rows that ``domain_outputs`` reads -> accuracy; None without labels.

    Args:
        labels: Of all rows, (N,).
        max_rows: As given to ``domain_outputs``.
    """
    if labels is None:
        return None
    true = np.asarray(labels)[evenly_spread(len(labels), max_rows)]
    return lambda predicted: float(np.mean(predicted == true))
