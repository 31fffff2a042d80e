"""The split whose network is kept: its model, and what can be shown of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hf_transfer_kit.metrics import ConfusionMatrix, seen_unseen_accuracies, seen_unseen_curve
from hf_transfer_kit.selection.unseen_classes.data import SplitFeatures
from hf_transfer_kit.selection.unseen_classes.fitting import Fitted, learned_method
from hf_transfer_kit.values import AttributeFigure, ConfusionTable, SeenUnseenLine
from hf_transfer_kit.zero_shot import AttributeTable, HoldOut, ZeroShotModel, fitted_method

_POINTS = 60
_EXPLAINED = 6


@dataclass(frozen=True, eq=False)
class FirstSplit:
    """The first split.

    Args:
        features: Of its network.
        split: Which classes are seen.
        table: What describes the classes for the chosen method.
        fits: Name of a result -> what was found.
        balanced: As in ``fitted``.
    """

    features: SplitFeatures
    split: HoldOut
    table: AttributeTable
    fits: Mapping[str, Fitted]
    balanced: bool = False

    def model(self, name: str) -> ZeroShotModel:
        """The network with this method, all classes of the table in their order."""
        fit = self.fits[name]
        model = ZeroShotModel.from_backbone(
            self.features.model,
            self.table,
            seen=self.split.seen,
            method=fit.method,
            method_options=fit.choice.options,
            gamma=fit.gamma,
        )
        learned = learned_method(
            fit.method, fit.choice.options, self.features, self.table, self.split, balanced=self.balanced
        )
        model.head.load_state_dict(learned.state_dict())
        return model.eval()

    def metrics(self, name: str) -> dict[str, float]:
        """Of that model on test rows."""
        fit = self.fits[name]
        return seen_unseen_accuracies(self.fits[name].scores, self._places(), self._seen(), fit.gamma)

    def lines(self) -> tuple[SeenUnseenLine, ...]:
        """Seen-unseen curves of all methods, thinned for drawing."""
        found = []
        for name, fit in self.fits.items():
            curve = seen_unseen_curve(self.fits[name].scores, self._places(), self._seen())
            kept = np.unique(np.linspace(0, len(curve.seen) - 1, _POINTS).round().astype(int))
            figures = fit.found
            found.append(
                SeenUnseenLine(
                    name,
                    tuple(curve.seen[place] for place in kept),
                    tuple(curve.unseen[place] for place in kept),
                    (figures.generalised_seen_accuracy, figures.generalised_unseen_accuracy),
                )
            )
        return tuple(found)

    def confusion(self, name: str) -> ConfusionTable:
        """Test rows of unseen classes, named among these."""
        seen = np.array(self._seen())
        places = self._places()
        among = np.flatnonzero(~seen)
        said = among[self.fits[name].scores[:, among].argmax(axis=1)]
        of_unseen = ~seen[places]
        first = len(self.split.seen)
        counts = ConfusionMatrix().compute(
            predictions=said[of_unseen] - first, references=places[of_unseen] - first, num_labels=len(among)
        )["confusion_matrix"]
        return ConfusionTable(tuple(self.split.unseen), tuple(map(tuple, counts)))

    def attribute_figures(self, table: AttributeTable) -> tuple[AttributeFigure, ...]:
        """How well logistic regressions on the seen classes read each attribute off rows of unseen ones."""
        learned, asked = self.features.train.of(self.split.seen), self.features.test.of(self.split.unseen)
        signatures = torch.from_numpy(table.rows(self.split.seen))
        reader: Any = fitted_method("dap", {}, learned.features, learned.places(self.split.seen), signatures)
        has = reader.binary(torch.from_numpy(table.rows(self.split.unseen))) > 0  # (U, A)
        places = asked.places(self.split.unseen)
        right = ((reader.attributes(asked.features) > 0.5) == has[places]).double()  # (N, A)
        by_class = torch.stack([right[places == place].mean(dim=0) for place in range(len(has))])
        shares = reader.binary(signatures).mean(dim=0)
        found = [
            AttributeFigure(name, accuracy, share)
            for name, accuracy, share in zip(
                table.attributes, by_class.mean(dim=0).tolist(), shares.tolist(), strict=True
            )
            if 0 < share < 1  # what all seen classes have, or none, was not learned
        ]
        return tuple(sorted(found, key=lambda figure: -figure.accuracy))

    def explanations(self, model: ZeroShotModel) -> tuple[str, ...]:
        """What spoke for and against with this model, on some test rows of unseen classes in turn."""
        rows = self.features.test.of(self.split.unseen)
        order = [[index for index, of_row in enumerate(rows.names) if of_row == unseen] for unseen in self.split.unseen]
        picked = [members[turn] for turn in range(_EXPLAINED) for members in order if turn < len(members)][:_EXPLAINED]
        features = rows.features[picked].to(model.head.mean)
        found = model.explain(features=features)
        return tuple(
            f"A row of {rows.names[index]}: {explanation}" for index, explanation in zip(picked, found, strict=True)
        )

    def _places(self) -> np.ndarray:
        return self.features.test.places(self.split.classes).numpy()

    def _seen(self) -> list[bool]:
        return [name in self.split.seen for name in self.split.classes]
