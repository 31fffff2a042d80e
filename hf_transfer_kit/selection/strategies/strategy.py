"""What a strategy is: data that turns into model preparation, training arguments and callbacks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.options import check_choice
from hf_transfer_kit.values import LayerGroups

PROBE, RANDOM = "probe", "random"
HEADS = (PROBE, RANDOM)
"""What a fresh head may begin with: the solution of a regression on the network's features, or random weights."""
SOLVED_RATE = 0.01
"""Factor on the rate of a head that was solved, where it would learn at the large rate of a fresh one: that rate takes
it away from a solution that was regularised."""


@dataclass(frozen=True)
class Strategy:
    """One way to carry a pretrained network to new data.

    A subclass is one file: its fields are the options a user may set (``freeze_first:k=3``), its class variables say
    what it is, and it overrides the steps that differ. Steps are called in the order below, once a run.

    Args:
        head: What a fresh head begins with: ``"probe"``, the solution of a regularised regression on what it reads of
            the untouched network (``solve_head``), or ``"random"`` weights. None: in classification as
            ``begins_with`` says, where the network has such a head; else random.

    Class variables:
        name: The registered name.
        summary: One sentence for people.
        pretrained: Whether the run starts from the pretrained weights.
        rate_kind: Which default learning rate fits, when the user gives none: ``"head"`` (fresh weights on fixed
            features), ``"body"`` (pretrained weights move) or ``"scratch"``.
        begins_with: What ``head`` is by default.
        keeps_head: Why its head is not solved, to follow "because it"; empty where it may be.
        needs_classes: Why it is for classification alone, to follow "because it"; empty where any task will do.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class SmallSteps(Strategy):
        ...     name = "small_steps"
        ...     summary = "The whole network at a tenth of the rate."
        ...     factor: float = 0.1
        ...     def optimizer(self, model, args):
        ...         return torch.optim.AdamW, {"lr": self.factor * args.learning_rate}
        >>> strategy_text(SmallSteps(factor=0.2))
        'small_steps:factor=0.2'
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    pretrained: ClassVar[bool] = True
    rate_kind: ClassVar[str] = "body"
    begins_with: ClassVar[str] = RANDOM
    keeps_head: ClassVar[str] = ""
    needs_classes: ClassVar[str] = ""

    head: str | None = field(default=None, kw_only=True, repr=False)

    @property
    def begins_solved(self) -> bool:
        """Whether the head is solved before training: ``head`` says so, by itself or once it is settled for a model."""
        return self.head == PROBE

    @property
    def searched(self) -> str | None:
        """Direction (``"first"`` or ``"last"``) of a depth that is still to be found by a search; None otherwise."""
        return None

    def validate(self, groups: LayerGroups) -> None:
        """Raises SettingsError when an option does not fit a model with these layer groups; before any training."""

    def check_head(self) -> None:
        """Raises SettingsError when ``head`` is unknown, or cannot be solved whatever the network."""
        if self.head is not None:
            check_choice(self.name, "head", self.head, HEADS)
        if self.begins_solved and self.keeps_head:
            raise SettingsError(f"{self.name}:head=probe cannot be, because it {self.keeps_head}. Leave head out.")

    def check_model(self, model: PreTrainedModel) -> None:
        """Raises SettingsError when this very model, unprepared, lacks what the strategy needs; before any training."""

    def check_task(self, task_type: str) -> None:
        """Raises SettingsError when the strategy does not work with this type of task; before any training."""
        if self.needs_classes and task_type != "classification":
            raise SettingsError(
                f"{self.name} is for classification, because it {self.needs_classes}; this is a task of {task_type}. "
                "Leave it out."
            )

    def frozen_prefix(self, groups: LayerGroups) -> int:
        """How many of the first layer groups never move, so that what they give may be computed once."""
        return 0

    def prepare_model(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        """Changes the freshly loaded model (with its fresh head) in place before training and returns it."""
        return model

    def optimizer(
        self, model: PreTrainedModel, args: TrainingArguments
    ) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
        """What ``Trainer(optimizer_cls_and_kwargs=...)`` gets; None for Trainer's own optimizer."""
        return None

    def callbacks(self, model: PreTrainedModel) -> list[TrainerCallback]:
        """Callbacks for the stock Trainer, for the prepared model."""
        return []
