"""Whether classes are as frequent in the target as in the source, told only where predictions can tell it."""

import numpy as np
import pytest

from hf_transfer_kit.adaptation.label_shift import inverse_temperature, label_shift, shift_diagnosis
from hf_transfer_kit.adaptation.scores.domain_outputs import DomainOutputs

NAMES = ("cat", "dog", "cow")


def outputs(source, target, *, sure=8.0, rows=300, noise=0.0, seed=0):
    """Outputs of a network that is right in all rows but ``noise`` of them, in which it draws a class."""
    generator = np.random.default_rng(seed)
    labels = {name: generator.choice(3, rows, p=shares) for name, shares in (("s", source), ("t", target))}

    def logits(classes):
        drawn = np.where(generator.random(rows) < noise, generator.choice(3, rows), classes)
        return sure * np.eye(3)[drawn]

    return DomainOutputs(np.ones((rows, 2)), logits(labels["s"]), labels["s"], np.ones((rows, 2)), logits(labels["t"]))


def test_a_missing_class_is_told_by_a_network_that_is_right():
    shift = label_shift(outputs([1 / 3] * 3, [0.5, 0.5, 0]), NAMES, predicted_by="source_only")
    assert shift.distance == pytest.approx(1 / 3, abs=0.08)
    assert 0.2 < shift.sure < shift.distance
    found = shift_diagnosis(shift)
    assert found.name == "label shift"
    assert "(rarer: cow 0% after 40%)" in found.finding
    assert "shares=true" in found.advice


@pytest.mark.parametrize("rows", [12, 40, 300, 1000])
def test_equal_shares_are_no_shift_however_few_rows(rows):
    told = [
        shift_diagnosis(label_shift(outputs([0.5, 0.3, 0.2], [0.5, 0.3, 0.2], rows=rows, seed=seed), NAMES,
                                    predicted_by="dann"))
        for seed in range(20)
    ]  # fmt: skip
    assert not any(told)


def test_a_network_that_guesses_tells_nothing():
    """Half of its predictions are unsure: so large a difference may be its own."""
    unsure = label_shift(outputs([1 / 3] * 3, [0.5, 0.5, 0], sure=0.5, noise=0.7), NAMES, predicted_by="source_only")
    assert unsure.sure == 0
    assert shift_diagnosis(unsure) is None


def test_a_network_that_is_too_sure_on_the_source_is_believed_less():
    given = outputs([1 / 3] * 3, [1 / 3] * 3, noise=0.6)
    right = (given.source_logits.argmax(1) == given.source_labels).mean()
    shift = label_shift(given, NAMES, predicted_by="dann")
    assert shift.confidence == pytest.approx(right, abs=0.02)
    assert inverse_temperature(3 * np.eye(3), np.arange(3)) == pytest.approx(3.0, abs=1e-3)  # no largest likelihood


def test_shares_of_the_rows_that_were_learned_from():
    shift = label_shift(outputs([1 / 3] * 3, [1 / 3] * 3), NAMES, predicted_by="x", source_shares=np.array([1, 0, 0]))
    assert shift.source == (1, 0, 0)
    assert shift.distance == pytest.approx(2 / 3, abs=0.08)
