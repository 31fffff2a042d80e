"""Class weights and balanced rows equal their formulas, and pieces of a batch add up to the whole."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hf_transfer_kit.data import ClassBalance
from hf_transfer_kit.data.class_balance import balanced_places
from hf_transfer_kit.errors import SettingsError

CLASSES = np.array([0] * 50 + [1] * 8 + [2] * 2)
NAMES = ("many", "some", "few")


def test_balanced_weights_give_each_class_the_same_say():
    loss = ClassBalance("balanced").loss(CLASSES, NAMES)
    assert torch.allclose(loss.weights, torch.tensor([60 / 150, 60 / 24, 60 / 6]))
    assert float(loss.weights[CLASSES].mean()) == pytest.approx(1.0)
    logits, labels = torch.randn(60, 3), torch.from_numpy(CLASSES)
    by_class = [F.cross_entropy(logits[labels == index], labels[labels == index]) for index in range(3)]
    assert float(loss({"logits": logits}, labels)) == pytest.approx(float(sum(by_class) / 3), rel=1e-5)


def test_pieces_of_a_batch_add_up_to_the_whole():
    loss = ClassBalance({"few": 7}).loss(CLASSES, NAMES)
    assert loss.weights.tolist() == [1, 1, 7]
    logits, labels = torch.randn(60, 3, dtype=torch.float64).float(), torch.from_numpy(CLASSES)
    whole = loss({"logits": logits}, labels)
    pieces = sum(loss({"logits": logits[own]}, labels[own], 60) for own in torch.arange(60).split(7))
    assert float(pieces) == pytest.approx(float(whole), rel=1e-5)


def test_balanced_rows_hold_every_class_as_often_and_every_row():
    rows = ClassBalance(sampler="balanced").rows(list(range(60)), CLASSES, seed=0)
    drawn = [rows[row] for row in range(len(rows))]
    assert np.bincount(CLASSES[drawn]).tolist() == [50, 50, 50]
    assert set(drawn) == set(range(60))
    assert max(np.bincount(drawn)[50:58]) - min(np.bincount(drawn)[50:58]) <= 1
    assert drawn == balanced_places(CLASSES, seed=0).tolist()
    assert ClassBalance().rows(drawn, CLASSES, seed=0) is drawn


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weights": "even"}, "class_weights='even' is unknown"),
        ({"weights": {"a": 0}}, "must map classes to finite numbers above 0"),
        ({"weights": {"a": float("nan")}}, "must map classes to finite numbers above 0"),
        ({"sampler": "random"}, "sampler='random' is unknown"),
        ({"metric": "f2"}, "metric='f2' is unknown; choose accuracy, macro_f1, balanced_accuracy"),
        ({"weights": "balanced", "sampler": "balanced"}, "balance twice"),
    ],
)
def test_what_is_unknown_is_refused(settings, words):
    with pytest.raises(SettingsError, match=words):
        ClassBalance(**settings)


def test_a_weight_of_no_class_is_refused():
    with pytest.raises(SettingsError, match="class_weights names odd; the classes are many, some, few"):
        ClassBalance({"odd": 2}).loss(CLASSES, NAMES)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_shares_of_rows_add_up_to_the_metric(metric):
    said = np.random.default_rng(0).integers(0, 3, 60)
    shares = ClassBalance(metric=metric).shares(said == CLASSES, CLASSES)
    true = {
        "accuracy": np.mean(said == CLASSES),
        "balanced_accuracy": np.mean([np.mean(said[index == CLASSES] == index) for index in range(3)]),
    }
    assert shares.mean() == pytest.approx(true[metric])
    assert ClassBalance(metric="macro_f1").shares(said == CLASSES, CLASSES) is None


def test_a_margin_is_the_logit_adjusted_loss():
    draw = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(60, 3, generator=draw), torch.from_numpy(CLASSES)
    counts = torch.from_numpy(np.bincount(CLASSES)).float()
    found = ClassBalance(margin=0.7).loss(CLASSES, NAMES)({"logits": logits}, labels)
    written = -torch.log_softmax(logits + 0.7 * torch.log(counts / len(CLASSES)), dim=1)[range(60), labels].mean()
    assert found.item() == pytest.approx(written.item(), abs=1e-6)
    half = ClassBalance(margin=0.7).loss(CLASSES, NAMES)
    parts = sum(half({"logits": logits[r]}, labels[r], 60).item() for r in (slice(0, 20), slice(20, 60)))
    assert parts == pytest.approx(found.item(), abs=1e-6)
    assert "by a margin (0.7 times the log" in ClassBalance(margin=0.7).sentence
    with torch.no_grad():
        plain = ClassBalance(margin=0.7).loss(CLASSES, NAMES)({"logits": logits}, labels)
        assert plain.item() == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), abs=1e-6)
    # A class without rows takes no part: its logit gets no gradient, and the others' loss is as without it.
    wide = torch.cat([logits, torch.full((60, 1), 9.0)], dim=1).requires_grad_()
    loss = ClassBalance(margin=0.7).loss(CLASSES, (*NAMES, "none"))({"logits": wide}, labels)
    assert loss.item() == pytest.approx(found.item(), abs=1e-6)
    (gradient,) = torch.autograd.grad(loss, wide)
    assert gradient[:, 3].abs().max() == 0
    assert gradient[:, :3].isfinite().all()
    with pytest.raises(SettingsError, match="margin=-1 must be a finite number, at least 0"):
        ClassBalance(margin=-1)
