"""What the loss of several sources is made of, against slow versions; and the same in half precision."""

import math

import pytest
import torch

from hf_transfer_kit.adaptation import SOURCES_OBJECTIVES
from hf_transfer_kit.adaptation.generalisation.objectives import SourcesBatch, moment_distance, raised_weights
from hf_transfer_kit.errors import SettingsError

SIZES = (6, 6, 6)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def batch(sizes=SIZES, *, spread=1.0, seed=0, dtype=torch.float32, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    domains = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    features = spread * torch.randn(len(domains), 4, generator=generator) + domains.unsqueeze(1)
    features = features.bfloat16().half().to(device, dtype).requires_grad_()
    losses = torch.rand(len(domains), generator=generator).add(0.3 * domains).to(device).requires_grad_()
    return SourcesBatch(features=features, losses=losses, domains=domains.to(device), count=len(sizes))


def means(found):
    return [found.losses.detach()[found.domains == k].mean().item() for k in range(found.count)]


def naive_moments(one, other):
    total = 0.0
    for i in range(one.shape[1]):
        total += float((one[:, i].mean() - other[:, i].mean()) ** 2) / one.shape[1]
        for j in range(one.shape[1]):
            values = [
                float(((r[:, i] - r[:, i].mean()) * (r[:, j] - r[:, j].mean())).sum() / (len(r) - 1))
                for r in (one, other)
            ]
            total += (values[0] - values[1]) ** 2 / one.shape[1] ** 2
    return total


def test_joint_is_the_mean_over_sources_whatever_their_rows():
    found = batch((2, 10, 6))
    loss, scalars = SOURCES_OBJECTIVES["joint"](count=3).loss(found)
    assert loss.item() == pytest.approx(sum(means(found)) / 3, rel=1e-6)
    assert set(scalars) == {"class_loss"}
    even = batch()
    assert float(SOURCES_OBJECTIVES["joint"](count=3).loss(even)[0]) == pytest.approx(
        float(even.losses.mean()), rel=1e-6
    )


def test_a_source_that_the_batch_lacks_does_not_count():
    found = batch((4, 0, 6))
    for name, method in SOURCES_OBJECTIVES.items():
        loss, _ = method(count=3).loss(found)
        assert loss.isfinite(), name
    loss, _ = SOURCES_OBJECTIVES["joint"](count=3).loss(found)
    first, _, last = (found.losses.detach()[found.domains == k].mean().item() for k in range(3))
    assert float(loss) == pytest.approx((first + last) / 2, rel=1e-6)


class TestGroupDRO:
    def test_its_weights_follow_the_formula_step_by_step(self):
        method = SOURCES_OBJECTIVES["group_dro"](count=3, eta=0.5).train()
        wanted = [1 / 3] * 3
        for seed in range(4):
            found = batch(seed=seed)
            wanted = [q * math.exp(0.5 * loss) for q, loss in zip(wanted, means(found), strict=True)]
            wanted = [q / sum(wanted) for q in wanted]
            loss, scalars = method.loss(found)
            assert method.shares.tolist() == pytest.approx(wanted, rel=1e-5)
            assert float(loss) == pytest.approx(sum(q * m for q, m in zip(wanted, means(found), strict=True)), rel=1e-5)
            assert float(scalars["largest_share"]) == pytest.approx(max(wanted), rel=1e-5)
        assert method.shares.argmax() == 2  # whose losses are largest

    def test_without_a_step_size_it_is_joint(self):
        found = batch()
        dro, joint = (
            SOURCES_OBJECTIVES[name](count=3, **options) for name, options in (("group_dro", {"eta": 0}), ("joint", {}))
        )
        assert float(dro.train().loss(found)[0]) == pytest.approx(float(joint.loss(found)[0]), rel=1e-6)

    def test_evaluation_moves_nothing_and_weights_are_saved_and_stay_exact(self):
        method = SOURCES_OBJECTIVES["group_dro"](count=3).eval()
        method.loss(batch())
        assert method.shares.tolist() == pytest.approx([1 / 3] * 3)
        assert "shares" in method.state_dict()
        assert method.half().shares.dtype == torch.float32

    def test_losses_that_never_fall_do_not_break_it(self):
        weights = torch.full((2,), 0.5)
        for _ in range(300):
            weights = raised_weights(weights, torch.tensor([1.0, 4.0]), 0.5)
        assert weights.tolist() == [0.0, 1.0]
        assert raised_weights(weights, torch.tensor([4.0, 1.0]), 0.5).isfinite().all()


class TestCORAL:
    def test_its_term_is_the_mean_over_pairs_of_a_slow_version(self):
        found = batch()
        _, scalars = SOURCES_OBJECTIVES["coral"](count=3, weight=2.0).loss(found)
        parts = [found.features.detach()[found.domains == k] for k in range(3)]
        pairs = [(0, 1), (0, 2), (1, 2)]
        wanted = 2.0 * sum(naive_moments(parts[i], parts[j]) for i, j in pairs) / 3
        assert float(scalars["coral_loss"]) == pytest.approx(wanted, rel=1e-5)
        assert float(moment_distance(parts[0], parts[0])) == 0.0

    def test_one_source_has_no_pair(self):
        found = batch((8,))
        loss, scalars = SOURCES_OBJECTIVES["coral"](count=1).loss(found)
        assert "coral_loss" not in scalars
        assert float(loss) == pytest.approx(float(found.losses.mean()), rel=1e-6)


@pytest.mark.parametrize("name", SOURCES_OBJECTIVES)
def test_the_order_of_rows_changes_nothing(name):
    found = batch((4, 8, 6))
    order = torch.randperm(18, generator=torch.Generator().manual_seed(3))
    mixed = SourcesBatch(found.features[order], found.losses[order], found.domains[order], 3)
    losses = [float(SOURCES_OBJECTIVES[name](count=3).train().loss(b)[0]) for b in (found, mixed)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("how", ["autocast", "features"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("spread", [1.0, 30.0])
@pytest.mark.parametrize("name", SOURCES_OBJECTIVES)
def test_loss_and_gradients_are_those_of_float32(name, spread, dtype, how, device):
    gradients, losses = [], []
    for given in (torch.float32, dtype):
        found = batch(spread=spread, dtype=given if how == "features" else torch.float32, device=device)
        with torch.autocast(device, dtype=dtype, enabled=how == "autocast" and given is dtype):
            loss, _ = SOURCES_OBJECTIVES[name](count=3).train().to(device).loss(found)
        assert loss.dtype == torch.float32
        loss.backward()
        parts = [t.grad if t.grad is not None else torch.zeros_like(t) for t in (found.features, found.losses)]
        gradients.append(torch.cat([part.double().flatten().cpu() for part in parts]))
        losses.append(float(loss))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert float(torch.cosine_similarity(*gradients, dim=0)) >= 0.999


@pytest.mark.parametrize(("name", "options", "words"), [
    ("group_dro", {"eta": -1}, "group_dro: eta=-1 is out of range"),
    ("coral", {"weight": "much"}, "coral: weight='much' is out of range"),
])  # fmt: skip
def test_options_out_of_range_are_told(name, options, words):
    with pytest.raises(SettingsError, match=words):
        SOURCES_OBJECTIVES[name](count=2, **options)
