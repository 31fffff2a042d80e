"""Gradual unfreezing: the head first, then one layer group after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.tuning.freezing.schedule import Horizon, Plateau, Stage, parse_span, step_of, steps_in
from hf_transfer_kit.tuning.freezing.staged import StagedTraining
from hf_transfer_kit.values import LayerGroup, LayerGroups

_ORDERS = ("top_down", "bottom_up")
_TITLE_LENGTH = 60


class GradualUnfreezing(StagedTraining):
    """Trains the head first and thaws the other layer groups in order (Howard & Ruder 2018, ULMFiT).

    Pass it in ``Trainer(callbacks=[...])``. See ``StagedTraining`` for what holds for every schedule. A model without a
    head begins with its first group in the order.

    Args:
        every: When the next groups thaw. ``"auto"``, the default without ``on_plateau``, spreads the stages evenly over
            the run, so that all are reached. A span of training, ``"1 epoch"``, ``"200 steps"`` or a share in (0, 1)
            such as 0.25, thaws at each of its multiples; a list such as ``[0.1, 0.3]`` or ``["1 epoch", "3 epochs"]``
            holds the times themselves, counted from the start of training, as many as there are groups to thaw at a
            time.
        order: ``"top_down"`` from the head to the input, or ``"bottom_up"``.
        groups_per_stage: How many groups thaw at a time, >= 1.
        keep_frozen: How many groups, the last in the order, never thaw.
        on_plateau: ``("eval_loss", 2)``: thaw when the metric has not improved for so many evaluations in a row.
            Alone, or beside ``every``: whichever comes first.
        batch_norm: As in ``FreezeLayers``.
        dropout: As in ``FreezeLayers``.
        adapters: As in ``StagedTraining``.
        quiet: Do not print the table of stages when training starts.
        example_inputs: As in ``FreezeLayers``.

    Raises:
        SettingsError: When a value is out of range, or does not fit the model (before training).

    Example:
        >>> callbacks = [GradualUnfreezing(groups_per_stage=3, quiet=True)]
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=callbacks)
        >>> _ = trainer.train()
    """

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        *,
        every: str | float | Sequence[str | float] | None = None,
        order: str = "top_down",
        groups_per_stage: int = 1,
        keep_frozen: int = 0,
        on_plateau: tuple[str, int] | None = None,
        batch_norm: str = "freeze",
        dropout: str = "off",
        adapters: str = "trained",
        quiet: bool = False,
        example_inputs: Any = None,
    ) -> None:
        super().__init__(
            batch_norm=batch_norm, dropout=dropout, adapters=adapters, quiet=quiet, example_inputs=example_inputs
        )
        if every is None and on_plateau is None:
            every = "auto"
        if every is not None and every != "auto":
            spans: Any = every if isinstance(every, (list, tuple)) else [every]
            for span in spans:
                parse_span(span)
        if order not in _ORDERS:
            raise SettingsError(
                f"order={order!r} is unknown; choose one of {', '.join(_ORDERS)}.{did_you_mean(order, _ORDERS)}"
            )
        for name, value, least in (("groups_per_stage", groups_per_stage, 1), ("keep_frozen", keep_frozen, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SettingsError(f"{name}={value!r} must be a whole number, at least {least}.")
        if on_plateau is not None:
            if not isinstance(on_plateau, (list, tuple)) or len(on_plateau) != 2:
                raise SettingsError(f'on_plateau={on_plateau!r} must be a metric and a patience: ("eval_loss", 2).')
            Plateau(*on_plateau)
        self.every = every
        self.order = order
        self.groups_per_stage = groups_per_stage
        self.keep_frozen = keep_frozen
        self.on_plateau = on_plateau

    def check_model(self, groups: LayerGroups) -> None:
        """Raises SettingsError when ``keep_frozen`` or the list of times does not fit the model's groups."""
        thawed = self._order_in(groups)
        if isinstance(self.every, (list, tuple)) and len(self.every) != len(thawed) - 1:
            raise SettingsError(
                f"every={list(self.every)} holds {len(self.every)} times, but this model has {len(thawed) - 1} steps "
                f"to thaw ({self.groups_per_stage} of {len(groups.body) - self.keep_frozen} groups at a time): "
                "give as many times, or another groups_per_stage."
            )

    def stages(self, groups: LayerGroups, horizon: Horizon) -> list[Stage]:
        """One stage for the head, and one for each ``groups_per_stage`` groups."""
        self.check_model(groups)
        steps = self._order_in(groups)
        plateau = None if self.on_plateau is None else Plateau(*self.on_plateau)
        result: list[Stage] = []
        trained: list[LayerGroup] = []
        for number, thawed in enumerate(steps):
            trained += thawed
            is_last = number == len(steps) - 1
            result.append(
                Stage(
                    title=_title(trained, thawed),
                    trainable=frozenset(name for group in trained for name in group.parameters),
                    until=None if is_last else self._until(number, len(steps), horizon),
                    plateau=None if is_last else plateau,
                )
            )
        return result

    def _what_would_fit(self) -> str:
        if self.every != "auto":
            return 'every="auto" would fit.'
        return f"Train for more steps than there are stages ({len(self._stages)}), or thaw more groups_per_stage."

    def _order_in(self, groups: LayerGroups) -> list[list[LayerGroup]]:
        return thawing_order(
            groups, order=self.order, groups_per_stage=self.groups_per_stage, keep_frozen=self.keep_frozen
        )

    def _until(self, number: int, count: int, horizon: Horizon) -> int | None:
        if self.every is None:
            return None
        if self.every == "auto":
            return max(number + 1, round(horizon.max_steps * (number + 1) / count))
        if isinstance(self.every, (list, tuple)):
            return step_of(self.every[number], horizon)
        amount, unit = parse_span(cast(float, self.every))
        return steps_in(amount * (number + 1), unit, horizon)


def thawing_order(
    groups: LayerGroups, *, order: str, groups_per_stage: int, keep_frozen: int
) -> list[list[LayerGroup]]:
    """What thaws in each stage: the head (or the first group in the order), then the body's groups.

    Args:
        groups: Layer groups of the model.
        order: ``"top_down"`` or ``"bottom_up"``.
        groups_per_stage: Groups at a time.
        keep_frozen: Groups, the last in the order, that never thaw.

    Raises:
        SettingsError: When nothing is left to thaw.
    """
    body = list(groups.body) if order == "bottom_up" else list(groups.body)[::-1]
    if keep_frozen >= len(body):
        raise SettingsError(
            f"keep_frozen={keep_frozen} leaves nothing to thaw: this model has {len(body)} layer groups before the "
            f"head, so give at most {len(body) - 1}, or use FreezeLayers(all_but_head=True)."
        )
    body = body[: len(body) - keep_frozen]
    steps = [body[i : i + groups_per_stage] for i in range(0, len(body), groups_per_stage)]
    return steps if groups.head is None else [[groups.head], *steps]


def _title(trained: list[LayerGroup], thawed: list[LayerGroup]) -> str:
    if trained == thawed:
        title = ", ".join(group.name for group in thawed)
    else:
        title = "+ " + ", ".join(group.name for group in thawed)
    return title if len(title) <= _TITLE_LENGTH else title[: _TITLE_LENGTH - 1] + "…"
