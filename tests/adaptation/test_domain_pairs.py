"""Pairs of rows: which they are, that labels of the target stay outside, and that streams do the same."""

from collections import Counter

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from torch.utils.data import DataLoader, default_collate
from transformers import BertTokenizer

from hf_transfer_kit.adaptation import DomainCollator, DomainPairs, StreamedDomainPairs
from hf_transfer_kit.adaptation.domain_pairs import Pair
from hf_transfer_kit.adaptation.objectives.strong_view import strong_view
from hf_transfer_kit.data import load_data, prepare_data
from hf_transfer_kit.errors import DataError, SettingsError


def _rows(count, start=0, label=0):
    return [{"x": float(start + i), "labels": label} for i in range(count)]


def _read(pairs):
    return [(int(pair.source["x"]), int(pair.target["x"])) for pair in (pairs[i] for i in range(len(pairs)))]


@pytest.mark.parametrize(("sources", "targets"), [(12, 5), (5, 12), (7, 7)])
def test_the_longer_domain_comes_once_the_shorter_evenly_and_in_another_order_each_epoch(sources, targets):
    pairs = DomainPairs(_rows(sources), _rows(targets))
    assert len(pairs) == max(sources, targets)
    read = []
    for epoch in (0, 1, 0):
        pairs.reshuffle(epoch)
        read.append(_read(pairs))
    assert read[0] == read[2]
    assert read[0] != read[1]
    for epoch in read:
        long, short = (0, 1) if sources >= targets else (1, 0)
        assert [pair[long] for pair in epoch] == list(range(len(pairs)))
        counts = Counter(pair[short] for pair in epoch)
        assert set(counts) == set(range(min(sources, targets)))
        assert max(counts.values()) - min(counts.values()) <= 1


def test_an_index_means_the_same_pair_everywhere():
    one, other = (DomainPairs(_rows(20), _rows(6), seed=3) for _ in range(2))
    assert [tuple(pair) for pair in one.__getitems__([7, 0, 19])] == [tuple(other[i]) for i in (7, 0, 19)]
    assert _read(one) == list(reversed([_read(other)[i] for i in reversed(range(20))]))
    assert _read(one) != _read(DomainPairs(_rows(20), _rows(6), seed=4))


def test_workers_that_stay_alive_see_the_epoch():
    pairs = DomainPairs(_rows(8), _rows(3))
    loader = DataLoader(pairs, batch_size=4, num_workers=1, persistent_workers=True, collate_fn=list)
    for epoch in (0, 1):
        pairs.reshuffle(epoch)
        loaded = [(int(pair.source["x"]), int(pair.target["x"])) for batch in loader for pair in batch]
        assert loaded == _read(pairs)


def test_a_batch_holds_the_target_under_its_prefix_and_nothing_of_its_labels():
    batches = []
    for label in (0, 9):
        pairs = DomainPairs(_rows(4, label=2), _rows(4, start=100, label=label))
        assert set(pairs[0].target) == {"x"}
        batches.append(DomainCollator(default_collate)([pairs[i] for i in range(4)]))
    assert set(batches[0]) == {"x", "labels", "target_x"}
    assert batches[0]["labels"].tolist() == [2] * 4
    assert sorted(batches[0]["target_x"].tolist()) == [100, 101, 102, 103]
    assert all(torch.equal(batches[0][name], batches[1][name]) for name in batches[0])


def test_collators_that_insist_on_labels_see_a_constant_and_rows_of_evaluation_pass():
    seen = []

    def collator(rows):
        seen.append([row["labels"] for row in rows])
        return default_collate(rows)

    collate = DomainCollator(collator)
    pair = Pair({"x": 1.0, "labels": 2}, {"x": 3.0, "labels": 7})
    assert "target_labels" not in collate([pair, pair])
    assert sorted(seen) == [[0, 0], [2, 2]]
    assert collate([{"x": 1.0, "labels": 5}])["labels"].tolist() == [5]


def test_columns_of_the_target_may_be_chosen():
    target = [{"x": 1.0, "fine": 3, "labels": 1}]
    assert set(DomainPairs(_rows(1), target)[0].target) == {"x", "fine"}
    assert set(DomainPairs(_rows(1), target, target_columns=["x"])[0].target) == {"x"}
    with pytest.raises(DataError, match="labels holds labels"):
        DomainPairs(_rows(1), target, target_columns=["x", "labels"])
    with pytest.raises(DataError, match=r"y is missing\. The target's columns are x, fine, labels"):
        DomainPairs(_rows(1), target, target_columns=["y"])


def test_prepared_rows_pair_with_a_target_that_was_never_labelled(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one", "two"]))
    tokenizer = BertTokenizer(str(tmp_path / "vocab.txt"))
    Dataset.from_dict({"text": ["one"] * 20, "label": [0, 1] * 10}).to_csv(tmp_path / "source.csv")
    Dataset.from_dict({"text": ["two two"] * 30}).to_csv(tmp_path / "target.csv")
    source = prepare_data(load_data(tmp_path / "source.csv"), tokenizer)
    target = prepare_data(load_data(tmp_path / "target.csv", labelled=False), tokenizer, like=source)
    pairs = DomainPairs(source.train, target.train)
    batch = DomainCollator(source.collator)([pairs[0], pairs[1]])
    assert batch["input_ids"].tolist() == [[2, 5, 3]] * 2
    assert batch["target_input_ids"].tolist() == [[2, 6, 6, 3]] * 2
    assert batch["labels"].tolist() == [pair.source["labels"] for pair in (pairs[0], pairs[1])]
    assert "target_labels" not in batch


def _named(names, count=3):
    features = Features({"x": Value("float64"), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"x": [float(i) for i in range(count)], "label": [0] * count}, features=features)


def test_different_classes_are_listed():
    DomainPairs(_named(["cat", "dog"]), _named(["cat", "dog"]))
    with pytest.raises(DataError, match="only in the source: 'dog'; only in the target: 'owl', 'pig'"):
        DomainPairs(_named(["cat", "dog"]), _named(["cat", "owl", "pig"]))
    with pytest.raises(DataError, match="order of classes differ: in the source cat, dog, in the target dog, cat"):
        DomainPairs(_named(["cat", "dog"]), _named(["dog", "cat"]))


def test_empty_domains_and_streams_are_sentences():
    with pytest.raises(DataError, match="The target is empty"):
        DomainPairs(_rows(2), [])
    with pytest.raises(DataError, match="The source is empty"):
        DomainPairs([], _rows(2))
    with pytest.raises(DataError, match="Use StreamedDomainPairs"):
        DomainPairs(iter(_rows(2)), _rows(2))
    with pytest.raises(DataError, match="The stream target has no rows for the loader"):
        list(StreamedDomainPairs(_rows(2), []))
    with pytest.raises(IndexError, match="There are 2 pairs"):
        DomainPairs(_rows(2), _rows(1))[2]


def test_streams_pair_the_source_with_a_target_that_begins_anew():
    read = [(pair.source, pair.target) for pair in StreamedDomainPairs(_rows(5), _rows(2, start=100, label=8))]
    assert [(row["x"], other) for row, other in read] == [
        (0.0, {"x": 100.0}),
        (1.0, {"x": 101.0}),
        (2.0, {"x": 100.0}),
        (3.0, {"x": 101.0}),
        (4.0, {"x": 100.0}),
    ]


def test_streams_of_datasets_shuffle_anew_each_round_and_epoch():
    source = _named(["a"], 12).to_iterable_dataset().shuffle(seed=1, buffer_size=12)
    target = _named(["a"], 6).to_iterable_dataset().shuffle(seed=2, buffer_size=6)
    pairs = StreamedDomainPairs(source, target)
    epochs = []
    for epoch in (0, 1, 0):
        pairs.set_epoch(epoch)
        epochs.append([(pair.source["x"], pair.target["x"]) for pair in pairs])
    assert epochs[0] == epochs[2]
    assert epochs[0] != epochs[1]
    targets = [target for _, target in epochs[0]]
    assert sorted(targets[:6]) == sorted(targets[6:]) == [float(i) for i in range(6)]
    assert targets[:6] != targets[6:]


def _pairs(rows=3):
    """Pairs with an image, a whole number and a label that is a real number."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, rows, 1, 4, 4, generator=generator)
    return [
        Pair({"x": source, "ids": row, "labels": 0.5 + row}, {"x": target, "ids": 10 + row})
        for row, (source, target) in enumerate(zip(*images, strict=True))
    ]


def test_a_change_meets_real_inputs_of_both_domains_and_nothing_else():
    plain = DomainCollator(default_collate)(_pairs())
    changed = DomainCollator(default_collate, change=lambda inputs: 2 * inputs + 1)(_pairs())
    assert list(changed) == list(plain)
    for name in ("x", "target_x"):
        torch.testing.assert_close(changed[name], 2 * plain[name] + 1)
    for name in ("ids", "target_ids", "labels"):
        assert torch.equal(changed[name], plain[name])
    assert changed["labels"].is_floating_point()


def test_the_source_may_have_a_change_of_its_own():
    plain = DomainCollator(default_collate)(_pairs())
    own = DomainCollator(default_collate, change=lambda inputs: 2 * inputs, source_change=lambda inputs: 3 * inputs)
    alone = DomainCollator(default_collate, source_change=lambda inputs: 3 * inputs)
    for collate, target in ((own, 2), (alone, 1)):
        changed = collate(_pairs())
        torch.testing.assert_close(changed["x"], 3 * plain["x"])
        torch.testing.assert_close(changed["target_x"], target * plain["target_x"])
        assert torch.equal(changed["labels"], plain["labels"])


def test_rows_of_an_evaluation_are_never_changed():
    collate = DomainCollator(default_collate, change=torch.zeros_like)
    assert collate([pair.source for pair in _pairs()])["x"].abs().sum() > 0
    assert collate(_pairs())["x"].abs().sum() == 0


def test_a_random_change_draws_from_torchs_state_anew_for_each_domain():
    same = [Pair({"x": torch.ones(1, 4, 4).tril(), "labels": 0}, {"x": torch.ones(1, 4, 4).tril()})]
    collate = DomainCollator(default_collate, change=strong_view)
    batches = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        batches.append(collate(same))
    assert torch.equal(batches[0]["x"], batches[1]["x"])
    assert torch.equal(batches[0]["target_x"], batches[1]["target_x"])
    assert not torch.equal(batches[0]["x"], batches[2]["x"])
    assert not torch.equal(batches[0]["x"], batches[0]["target_x"])


def test_a_change_that_cannot_be_called_is_a_sentence():
    with pytest.raises(SettingsError, match=r"change='strong' cannot be called\. Give a function of a tensor"):
        DomainCollator(default_collate, change="strong")
    with pytest.raises(SettingsError, match="source_change='strong' cannot be called"):
        DomainCollator(default_collate, source_change="strong")


@pytest.mark.parametrize(("sources", "targets"), [(7, 3), (3, 7)])
def test_numbered_pairs_tell_which_target_row_they_hold(sources, targets):
    source = [{"pixel_values": torch.zeros(2), "labels": 0} for _ in range(sources)]
    target = [{"pixel_values": torch.full((2,), float(row))} for row in range(targets)]
    pairs = DomainPairs(source, target, numbered=True)
    pairs.reshuffle(1)
    batch = DomainCollator(default_collate)(pairs.__getitems__(range(7)))
    assert torch.equal(batch["row_numbers"], batch["target_pixel_values"][:, 0].long())
    assert batch["row_numbers"].unique().tolist() == list(range(targets))
    assert "row_numbers" not in DomainCollator(default_collate)([DomainPairs(source, target)[0]])
