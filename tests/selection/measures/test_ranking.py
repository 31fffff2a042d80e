"""rank_sources: the order, what is left out with its reason, and bad input."""

import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

from hf_transfer_kit import load_data, rank_sources
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.selection.measures.ranking import _ranked
from hf_transfer_kit.selection.measures.scores import FEATURE_SCORES
from hf_transfer_kit.values import RankedSource, Score


def checkpoint(folder, *, constant: bool = False, seed: int = 0) -> str:
    """A tiny network on disk; a constant one gives the same features for every row."""
    torch.manual_seed(seed)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=4)
    model = ResNetForImageClassification(config)
    if constant:
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.zeros_(module.weight)
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    broken = root / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    return {
        "useful": checkpoint(root / "useful"),
        "blind": checkpoint(root / "blind", constant=True),
        "broken": str(broken),
        "absent": str(root / "absent"),
    }


@pytest.fixture(scope="module")
def ranking(folders, tmp_path_factory):
    options = {"max_rows": 100, "draws": 4, "cache_dir": tmp_path_factory.mktemp("caches")}
    return rank_sources(list(folders.values()), "digits", **options)


def test_the_useful_network_comes_first_and_the_others_keep_their_place(ranking, folders):
    assert [source.name for source in ranking.sources] == [folders["useful"], folders["blind"]]
    useful, blind = ranking.sources
    assert useful.score.value > 0.5 > 0.2 > blind.score.value
    assert useful.first_share == 1.0
    assert blind.first_share == 0.0
    assert 90 <= ranking.rows <= 110
    assert "leep" in useful.scores


def test_candidates_that_fail_are_left_out_with_their_reason(ranking, folders):
    assert set(ranking.skipped) == {folders["broken"], folders["absent"]}
    assert "does not exist" in ranking.skipped[folders["absent"]]
    assert "comes first" in str(ranking)
    assert f"{folders['absent']} was left out" in str(ranking)


def test_a_network_with_random_weights_has_no_source_classes(tmp_path):
    ranking = rank_sources(["dann_mnist"], "digits", max_rows=60, draws=0, cache_dir=tmp_path)
    assert set(ranking.sources[0].scores) == set(FEATURE_SCORES)
    with pytest.raises(DataError, match=r"None of the candidates.*no classes of its own"):
        rank_sources(["dann_mnist"], "digits", by="leep", max_rows=60, draws=0, cache_dir=tmp_path)


def test_first_share_follows_the_errors():
    """Two scores one standard error of their difference apart: the better one is first in 84 % of draws."""
    sources = [
        RankedSource(name, Score(value, 2**-0.5), {}, 1, 1, 0.0, 0.0) for name, value in (("a", 0.0), ("b", 1.0))
    ]
    first, second = _ranked(sources, seed=0)
    assert (first.name, second.name) == ("b", "a")
    assert first.first_share == pytest.approx(0.841, abs=0.03)
    assert first.first_share + second.first_share == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"checkpoints": []}, SettingsError, "one candidate or more"),
        ({"checkpoints": ["dann_mnist", "dann_mnist"]}, SettingsError, "none twice"),
        ({"by": "luck"}, SettingsError, "'luck' is unknown; choose among log_me"),
        ({"max_rows": 1}, SettingsError, "max_rows=1"),
    ],
)
def test_bad_input_is_a_sentence(change, error, words):
    with pytest.raises(error, match=words):
        rank_sources(**{"checkpoints": ["dann_mnist"], "dataset": "digits", **change})


def test_rows_of_one_class_are_refused():
    data = load_data("digits")
    labels = data.train[data.label_column]
    from dataclasses import replace

    one = replace(data, train=data.train.select([row for row, label in enumerate(labels) if label == 3]))
    with pytest.raises(DataError, match="of one class"):
        rank_sources(["dann_mnist"], one)
