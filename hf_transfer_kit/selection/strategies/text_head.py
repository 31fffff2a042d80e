"""The class names' text embeddings as the head, then training goes on from this zero-shot classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback

from hf_transfer_kit.backbones import JointTowers, checked_templates, class_embeddings, load_towers, replace_head
from hf_transfer_kit.backbones.tower_classifier import tower_classifier
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.options import check_choice, check_int
from hf_transfer_kit.selection.strategies.strategy import Strategy
from hf_transfer_kit.tuning import FreezeSchedule, WeightInterpolation
from hf_transfer_kit.values import LayerGroups


@dataclass(frozen=True)
class TextHead(Strategy):
    """The zero-shot classifier of a joint network, fine-tuned: by WiSE-FT, head and body averaged with their start
    (Wortsman et al. 2022), or by LP-FT, the head first (Kumar et al. 2022); both at the rate of ``full``.

    The network trained is the seeing or hearing tower with its projection, as ``load_tower_classifier`` gives it, not
    transformers' own classifier of the checkpoint, whose last layer does not read what texts are compared with.

    Args:
        then: ``"wise_ft"`` or ``"lp_ft"``.
        template: A prompt with ``{}`` for the class's name; default: several, averaged.
        points: Of ``wise_ft``, as there.
        source: The checkpoint with both towers; default: the one that the model came from.
    """

    name: ClassVar[str] = "text_head"
    summary: ClassVar[str] = "A head of the class names' text embeddings, then everything fine-tuned."
    needs_classes: ClassVar[str] = "begins with the names of the classes"
    keeps_head: ClassVar[str] = "begins with the embeddings of the classes' names"

    then: str = "wise_ft"
    template: str | None = None
    points: int = 11
    source: str | None = None

    def validate(self, groups: LayerGroups) -> None:
        check_choice("text_head", "then", self.then, ("wise_ft", "lp_ft"))
        check_int("text_head", "points", self.points, low=2)
        if self.template is not None:
            checked_templates([self.template])

    def check_model(self, model: PreTrainedModel) -> None:
        self._towers_and_rows(model)

    def prepare_model(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        towers, rows = self._towers_and_rows(model)
        tower = tower_classifier(towers.model, towers.reads, seed=seed)
        replace_head(tower, id2label=cast(dict[int, str], model.config.id2label), init=rows)
        tower.name_or_path = model.name_or_path
        cast(nn.Module, tower).to(model.device, model.dtype)
        return tower.train(model.training)

    def callbacks(self, model: PreTrainedModel) -> list[TrainerCallback]:
        if self.then == "lp_ft":
            return [FreezeSchedule.lp_ft(full_rate=1.0, quiet=True)]
        return [WeightInterpolation([index / (self.points - 1) for index in range(self.points)], head=True)]

    def _towers_and_rows(self, model: PreTrainedModel) -> tuple[JointTowers, Tensor]:
        """Both towers of the checkpoint, and the head.

        Raises:
            SettingsError: When the model came from no checkpoint, or from one without a text tower.
        """
        source = self.source or model.name_or_path
        if not source:
            raise SettingsError(
                f"text_head begins with a checkpoint's text tower, and this {type(model).__name__} came from none. "
                "Name one with text_head:source=CHECKPOINT, or leave the strategy out."
            )
        revision = None if self.source else getattr(model.config, "_commit_hash", None)
        try:
            towers = load_towers(source, revision=revision)
        except ModelError as error:
            raise SettingsError(f"text_head cannot begin: {error}") from error
        id2label = cast(dict[int, str], model.config.id2label)
        names = [id2label[index] for index in range(len(id2label))]
        return towers, class_embeddings(names, towers, templates=[self.template] if self.template else None)
