"""A schedule written out: stage by stage, what is trained and at which rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.tuning.checking import is_number
from hf_transfer_kit.tuning.freezing.schedule import Horizon, Plateau, Stage, parse_span, step_of
from hf_transfer_kit.tuning.freezing.staged import StagedTraining
from hf_transfer_kit.tuning.selecting import selected_names
from hf_transfer_kit.values import LayerGroups
from hf_transfer_kit.yaml_texts import read_yaml_file

_KEYS = ("train", "until", "rates", "early_stopping")
_STOPPING_KEYS = ("metric", "patience", "min_delta", "greater_is_better")


class FreezeSchedule(StagedTraining):
    """Trains what each stage names; the rest is frozen meanwhile (no gradient, BatchNorm fixed, dropout off).

    Pass it in ``Trainer(callbacks=[...])``. See ``StagedTraining`` for what holds for every schedule. A stage is a
    mapping with

    - ``train``: a selector or a list of them: ``"all"``, ``"body"``, ``"head"``, a depth of ``layer_groups`` (negative
      from the end), a group's name, a glob on parameter names, or ``"re:"`` and a regular expression;
    - ``until``: when the stage ends, counted from the start of training: ``"2 epochs"``, ``"200 steps"``, or a share
      of training such as 0.3. The last stage has none;
    - ``rates``: optional, selector -> factor on the learning rate in this stage; of several that fit the last counts.
      The optimizer's own rate, its scheduler and its checkpoints stay as they are;
    - ``early_stopping``: optional, ``{"metric": "eval_loss", "patience": 2}`` (also ``min_delta``,
      ``greater_is_better``): the stage ends when the metric has not improved for so many evaluations; in the last
      stage training stops.

    Args:
        stages: The stages in order; a mapping with the key ``stages``; or the path of a YAML file with either.
        batch_norm: As in ``FreezeLayers``.
        dropout: As in ``FreezeLayers``.
        adapters: As in ``StagedTraining``.
        quiet: Do not print the table of stages when training starts.
        example_inputs: As in ``FreezeLayers``.

    Raises:
        SettingsError: When a stage cannot be read, or does not fit the model (before training).

    Example:
        >>> stages = [{"train": "head", "until": 0.5}, {"train": "all", "rates": {"body": 0.1}}]
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[FreezeSchedule(stages, quiet=True)])
        >>> _ = trainer.train()
    """

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        stages: Sequence[Mapping[str, Any]] | Mapping[str, Any] | str | Path,
        *,
        batch_norm: str = "freeze",
        dropout: str = "off",
        adapters: str = "trained",
        quiet: bool = False,
        example_inputs: Any = None,
    ) -> None:
        super().__init__(
            batch_norm=batch_norm, dropout=dropout, adapters=adapters, quiet=quiet, example_inputs=example_inputs
        )
        self.written = _written_stages(stages)

    @classmethod
    def lp_ft(cls, *, head_fraction: float = 0.3, full_rate: float = 1.0, **options: Any) -> FreezeSchedule:
        """The head alone first, then everything (Kumar et al. 2022: LP-FT keeps pretrained features undistorted).

        Args:
            head_fraction: Share of training, in (0, 1), for the head alone.
            full_rate: Factor on the learning rate afterwards; the paper takes a smaller one than for the head.
            **options: ``batch_norm``, ``dropout``, ``adapters``, ``quiet``, ``example_inputs``.
        """
        rates = {} if full_rate == 1 else {"rates": {"all": full_rate}}
        return cls([{"train": "head", "until": head_fraction}, {"train": "all", **rates}], **options)

    def check_model(self, groups: LayerGroups) -> None:
        """Raises SettingsError when a selector means nothing in this model."""
        for written in self.written:
            for selector in [*_listed(written["train"]), *(written.get("rates") or {})]:
                selected_names(groups, selector)

    def stages(self, groups: LayerGroups, horizon: Horizon) -> list[Stage]:
        """The written stages, resolved for this model and length of training."""
        result: list[Stage] = []
        for written in self.written:
            selectors = _listed(written["train"])
            trainable = frozenset().union(*(selected_names(groups, selector) for selector in selectors))
            factors: dict[str, float] = {}
            for selector, factor in (written.get("rates") or {}).items():
                factors.update(dict.fromkeys(selected_names(groups, selector), float(factor)))
            until = None if written.get("until") is None else step_of(written["until"], horizon)
            stopping = written.get("early_stopping")
            result.append(
                Stage(
                    title=", ".join(map(str, selectors)),
                    trainable=trainable,
                    until=until,
                    factors={name: factor for name, factor in factors.items() if name in trainable},
                    plateau=None if stopping is None else Plateau(**stopping),
                )
            )
        return result


def _written_stages(stages: object) -> list[dict[str, Any]]:
    """The stages as plain dicts, checked as far as that needs no model."""
    if isinstance(stages, (str, Path)):
        stages = read_yaml_file(stages, what=f"FreezeSchedule: {str(stages)!r}")
    if isinstance(stages, Mapping):
        if set(stages) != {"stages"}:
            raise SettingsError(
                f"FreezeSchedule: a mapping must have the one key 'stages', not {sorted(map(str, stages))}."
            )
        stages = stages["stages"]
    if (
        isinstance(stages, str | bytes)
        or not isinstance(stages, Sequence)
        or not stages
        or not all(isinstance(stage, Mapping) for stage in stages)
    ):
        raise SettingsError('FreezeSchedule takes a list of stages such as {"until": 0.3, "train": "head"}.')
    for number, stage in enumerate(stages):
        _check_stage(number, stage, is_last=number == len(stages) - 1)
    return [dict(stage) for stage in stages]


def _check_stage(number: int, stage: Mapping[str, Any], *, is_last: bool) -> None:
    where = f"FreezeSchedule: stage {number}"
    unknown = sorted(map(str, set(stage) - set(_KEYS)))
    if unknown:
        raise SettingsError(
            f"{where} has unknown keys {', '.join(unknown)}; known are {', '.join(_KEYS)}."
            f"{did_you_mean(unknown[0], _KEYS)}"
        )
    if not _listed(stage.get("train")) or not all(_is_selector(selector) for selector in _listed(stage["train"])):
        raise SettingsError(f'{where} does not say what to train: give \'train\', such as "head" or ["head", -2].')
    stopping = stage.get("early_stopping")
    if stopping is not None:
        if not isinstance(stopping, Mapping) or not {"metric", "patience"} <= set(stopping) <= set(_STOPPING_KEYS):
            raise SettingsError(
                f"{where}: early_stopping={stopping!r} must be a mapping with metric and patience, "
                f"of the keys {', '.join(_STOPPING_KEYS)}."
            )
        Plateau(**stopping)
    if stage.get("until") is not None:
        parse_span(stage["until"])
        if is_last:
            raise SettingsError(f"{where} is the last and lasts to the end of training: leave out its 'until'.")
    elif not is_last and stopping is None:
        raise SettingsError(f"{where} has no end: give 'until' or 'early_stopping', or make it the last.")
    rates = stage.get("rates") or {}
    if not isinstance(rates, Mapping):
        raise SettingsError(f"{where}: rates={rates!r} must map selectors to factors, such as {{'body': 0.1}}.")
    for selector, factor in rates.items():
        if not is_number(factor) or factor < 0:
            raise SettingsError(f"{where}: the rate of {selector!r} is {factor!r}; give a factor of at least 0.")


def _is_selector(selector: object) -> bool:
    return isinstance(selector, str | int) and not isinstance(selector, bool)


def _listed(selectors: Any) -> list[str | int]:
    if selectors is None:
        return []
    return list(selectors) if isinstance(selectors, (list, tuple)) else [selectors]
