"""Distances of photographs, paintings and cartoons in the features of a network that was trained on photographs."""

import numpy as np
import pytest

from hf_transfer_kit import cache_features, domain_distance, load_data, load_model, load_processor, prepare_data
from hf_transfer_kit.selection.measures.distances import DISTANCES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def domains(tmp_path_factory):
    from conftest import SHARED

    if not (SHARED / "data").is_dir():
        pytest.skip("the real data folder (../shared) is not beside this checkout")
    network = str(SHARED / "pretrained" / "mobilenetv2_100_imagenet")
    model, processor = load_model(network, num_labels=7), load_processor(network, "image")
    found = {}
    for name in ("photo", "art_painting", "cartoon"):
        data = prepare_data(load_data(SHARED / "data" / "pacs" / name), processor, image_size=96)
        cached = cache_features(
            model, data.train, collator=data.collator, cache_dir=tmp_path_factory.mktemp(name), progress=False
        )
        found[name] = cached.features, cached.labels
    return found


@pytest.mark.parametrize("kind", DISTANCES)
def test_photos_are_nearest_to_photos_then_to_paintings_then_to_cartoons(domains, kind):
    photos, labels = domains["photo"]
    rows = np.random.default_rng(0).permutation(len(photos))
    halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    own = domain_distance(
        photos[halves[0]],
        photos[halves[1]],
        kind=kind,
        source_labels=labels[halves[0]],
        target_labels=labels[halves[1]],
    )
    art, cartoon = (
        domain_distance(photos, domains[name][0], kind=kind, source_labels=labels, target_labels=domains[name][1])
        for name in ("art_painting", "cartoon")
    )
    assert art.p_value == cartoon.p_value == pytest.approx(1 / 101)
    # Halves of one domain: p is uniform, so that a bound on it would fail for one in so many ways of halving.
    assert max(own.effect, own.by_class.effect) < 3 < min(art.effect, art.by_class.effect)
    assert own.excess < art.excess < cartoon.excess
    assert own.by_class.ratio < art.by_class.ratio < cartoon.by_class.ratio
