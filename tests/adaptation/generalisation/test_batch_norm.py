"""Statistics of each source apart, and pooled for a domain of which nothing is known."""

import copy

import pytest
import tiny
import torch
from torch.utils.data import default_collate

from hf_transfer_kit.adaptation import SeveralSources, SeveralSourcesModel, reestimate_on_sources
from hf_transfer_kit.adaptation.generalisation.batch_norm import pooled_statistics
from hf_transfer_kit.backbones.batch_norms import batch_norms
from hf_transfer_kit.errors import ModelError

NAMES = ["one", "two", "three"]


def model(batch_norm="per_domain", family="resnet", **options):
    torch.manual_seed(0)
    network = tiny.TRANSFORMERS[family]()[0]
    return SeveralSourcesModel.from_classifier(network, sources=NAMES, batch_norm=batch_norm, **options)


def rows(count, shift, seed):
    images = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) + shift
    return [{"pixel_values": image, "labels": i % 3} for i, image in enumerate(images)]


def batch(counts=(4, 4, 4), order=None):
    parts = [rows(count, k, k) for k, count in enumerate(counts)]
    found = default_collate([row for part in parts for row in part])
    found["domains"] = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    return found if order is None else {name: value[order] for name, value in found.items()}


def test_pooled_statistics_are_those_of_the_union():
    parts = [torch.randn(50, 4) * (k + 1) + k for k in range(3)]
    mean, variance = pooled_statistics(
        torch.stack([p.mean(0) for p in parts]), torch.stack([p.var(0, correction=0) for p in parts])
    )
    union = torch.cat(parts)
    torch.testing.assert_close(mean, union.mean(0))
    torch.testing.assert_close(variance, union.var(0, correction=0))


def test_each_source_is_normalised_as_if_it_were_alone():
    """In the same state, a source's logits and statistics do not depend on what the others hold."""
    found = model().train()
    plain = copy.deepcopy(found.export_classifier()).train()
    given = batch()
    logits = found(**given).logits
    first = {name: value[4:8] for name, value in given.items() if name == "pixel_values"}
    torch.testing.assert_close(logits[4:8], plain(**first).logits)
    for norm, alone in zip(batch_norms(found.network), batch_norms(plain), strict=True):
        torch.testing.assert_close(norm.sources_running_mean[1], alone.running_mean)
        torch.testing.assert_close(norm.sources_running_var[1], alone.running_var)
        mean, variance = pooled_statistics(norm.sources_running_mean, norm.sources_running_var)
        torch.testing.assert_close(norm.running_mean, mean)
        torch.testing.assert_close(norm.running_var, variance)


def test_the_order_of_rows_is_the_batchs_own():
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    straight, mixed = model().train(), model().train()
    one, two = straight(**batch()), mixed(**batch(order=order))
    torch.testing.assert_close(one.logits[order], two.logits)
    torch.testing.assert_close(one.loss, two.loss)


def test_joint_statistics_are_of_all_rows_together():
    found = model("joint").train()
    plain = found.export_classifier().train()
    given = batch()
    torch.testing.assert_close(found(**given).logits, plain(pixel_values=given["pixel_values"]).logits)


def test_a_last_batch_with_one_row_of_a_source_uses_the_statistics_there_are():
    found = model().train()
    before = {name: value.clone() for name, value in found.state_dict().items() if "running" in name}
    assert found(**batch((1, 1, 1))).loss.isfinite()
    assert all(torch.equal(found.state_dict()[name], value) for name, value in before.items())


def test_evaluation_and_export_use_the_pooled_ones_and_nothing_else_is_left():
    found = model().train()
    found(**batch())
    found.eval()
    images = batch()["pixel_values"]
    plain = found.export_classifier()
    with torch.no_grad():
        torch.testing.assert_close(plain(pixel_values=images).logits, found(pixel_values=images).logits)
    assert not [name for name in plain.state_dict() if "sources_" in name]
    assert {type(norm).__mro__[1].__module__ for norm in batch_norms(plain)} == {
        type(norm).__mro__[1].__module__ for norm in batch_norms(tiny.TRANSFORMERS["resnet"]()[0])
    }


@pytest.mark.parametrize("batch_norm", ["joint", "per_domain"])
def test_statistics_gathered_anew_are_those_of_all_sources_alike(batch_norm):
    found = model(batch_norm).eval()
    sources = SeveralSources({name: rows(8 + 4 * k, k, k) for k, name in enumerate(NAMES)})
    reestimate_on_sources(found, sources, default_collate, batch_size=256)
    first = batch_norms(found.network)[0]
    seen = {}
    handle = first.register_forward_pre_hook(lambda module, inputs: seen.update(x=inputs[0]))
    means, variances = [], []
    for name in NAMES:
        with torch.no_grad():
            found(pixel_values=default_collate(sources.sources[name])["pixel_values"])
        means.append(seen["x"].mean((0, 2, 3)))
        variances.append(seen["x"].var((0, 2, 3), correction=0))
    handle.remove()
    mean, variance = pooled_statistics(torch.stack(means), torch.stack(variances))
    torch.testing.assert_close(first.running_mean, mean, rtol=0.05, atol=0.02)
    torch.testing.assert_close(first.running_var, variance, rtol=0.1, atol=0.02)
    if batch_norm == "per_domain":
        torch.testing.assert_close(first.sources_running_mean, torch.stack(means), rtol=1e-4, atol=1e-5)


def test_a_network_without_batch_norm_is_refused():
    with pytest.raises(ModelError, match="has no BatchNorm, so there are no statistics of each source"):
        model(family="bert")
