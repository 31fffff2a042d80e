"""Rows, streams and evaluations as people have them: right, or a sentence."""

from collections import Counter

import pytest
import tiny
import torch
from datasets import Dataset
from torch.utils.data import DataLoader, IterableDataset, default_collate
from transformers import Trainer, TrainingArguments

from hf_transfer_kit import (
    DomainAdversarialModel,
    DomainCollator,
    DomainPairs,
    SourceRows,
    classification_metrics,
    reestimate_batch_norm,
)
from hf_transfer_kit.adaptation import OBJECTIVES, StreamedDomainPairs, TargetScores
from hf_transfer_kit.adaptation.objectives.mcc import class_confusion
from hf_transfer_kit.adaptation.objectives.prediction_statistics import prediction_statistics
from hf_transfer_kit.errors import DataError


class Plain(IterableDataset):
    """A stream that knows nothing of workers."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


def numbered(count, first=0, key="x"):
    return [{key: first + row, "labels": row % 2} for row in range(count)]


class TestStreamsOfSeveralWorkers:
    @pytest.mark.parametrize("workers", [0, 1, 2, 3])
    @pytest.mark.parametrize("source", ["plain", "one file", "four files"])
    @pytest.mark.parametrize("target", ["plain", "one file", "four files"])
    def test_each_source_row_comes_once_and_the_target_goes_round(self, source, target, workers):
        def stream(kind, rows):
            if kind == "plain":
                return Plain(rows)
            return Dataset.from_list(rows).to_iterable_dataset(num_shards=1 if kind == "one file" else 4)

        pairs = StreamedDomainPairs(stream(source, numbered(24)), stream(target, numbered(8, 100)))
        read = list(DataLoader(pairs, batch_size=None, num_workers=workers, collate_fn=lambda pair: pair))
        assert sorted(pair.source["x"] for pair in read) == list(range(24))
        counts = Counter(pair.target["x"] for pair in read)
        assert set(counts) == set(range(100, 108))
        assert all("labels" not in pair.target for pair in read)
        if target != "plain" or workers == 0:
            assert max(counts.values()) - min(counts.values()) <= 3


def shifted(rows, shift, seed):
    """Pictures whose class is a bright half, in a domain of another brightness and contrast."""
    draw = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.randn(rows, 3, 32, 32, generator=draw)
    for row in range(rows):
        half = slice(0, 16) if row % 2 else slice(16, 32)
        images[row, :, half] += 1.0
    return [
        {"pixel_values": 4 * shift * image + 6 * shift if shift else image, "labels": row % 2}
        for row, image in enumerate(images)
    ]


@pytest.fixture
def trained(tmp_path):
    torch.manual_seed(0)
    network = tiny.TRANSFORMERS["resnet"]()[0]
    model = DomainAdversarialModel.from_classifier(network, method="source_only")
    source, target = shifted(64, 0.0, 0), shifted(64, 1.0, 1)
    args = TrainingArguments(
        tmp_path, max_steps=60, per_device_train_batch_size=16, learning_rate=5e-3, use_cpu=True, report_to=[],
        disable_tqdm=True, save_strategy="no", label_names=["labels"], logging_steps=60,
    )  # fmt: skip
    trainer = Trainer(
        model, args, train_dataset=DomainPairs(source, target), data_collator=DomainCollator(default_collate),
        compute_metrics=classification_metrics(["a", "b", "c", "d", "e"]),
    )  # fmt: skip
    trainer.train()
    return trainer, source, target


def test_the_source_is_evaluated_by_its_own_statistics(trained):
    trainer, _, target = trained
    held = shifted(40, 0.0, 5)
    model = trainer.model
    right = trainer.evaluate(SourceRows(held))["eval_accuracy"]
    with torch.no_grad():
        batch = default_collate([{"pixel_values": row["pixel_values"]} for row in held])
        true = torch.tensor([row["labels"] for row in held])
        own = (model.eval().read(batch, domain="source")[0].argmax(1) == true).float().mean()
        other = (model.read(batch, domain="target")[0].argmax(1) == true).float().mean()
    assert right == pytest.approx(float(own))
    assert right > 0.9
    assert float(other) < right - 0.2  # what the rows as they are would give
    assert trainer.evaluate(held)["eval_accuracy"] == pytest.approx(float(other))
    both = trainer.evaluate({"source": SourceRows(held), "target": target})
    assert both["eval_source_accuracy"] == pytest.approx(right)


@pytest.mark.parametrize("order", [("source", "target"), ("target", "source")])
def test_a_dataset_called_source_keeps_its_figure_beside_the_scores(trained, order, said):
    trainer, source, target = trained
    held = SourceRows(shifted(40, 0.0, 5))
    few = source[:6]
    few[0]["labels"] = 1  # so that the score differs from the figure
    trainer.add_callback(TargetScores(few, target, DomainCollator(default_collate), scores=["source_accuracy", "bnm"]))
    right = trainer.evaluate(held)["eval_accuracy"]
    sets = {"source": held, "target": target}
    found = [trainer.evaluate({name: sets[name] for name in order}) for _ in range(2)]
    assert [values["eval_source_accuracy"] for values in found] == [right, right]
    assert "eval_bnm" in found[0]
    assert "eval_source_accuracy is Trainer's own figure of an evaluation dataset" in said()


class TestOddBatches:
    @pytest.mark.parametrize("method", OBJECTIVES)
    @pytest.mark.parametrize("rows", [(1, 1), (1, 3), (3, 1)])
    def test_a_last_batch_of_one_row_is_trained_on(self, method, rows):
        network = tiny.timm_wrapped("resnet18", 3)[0]
        model = DomainAdversarialModel.from_classifier(network, method=method).train()
        before = {name: value.clone() for name, value in model.named_buffers()}
        batch = {
            "pixel_values": torch.randn(rows[0], 3, 32, 32),
            "target_pixel_values": torch.randn(rows[1], 3, 32, 32),
            "labels": torch.arange(rows[0]) % 3,
        }
        if hasattr(model.objective, "teacher_logits"):
            model.objective.teacher_logits = torch.randn(rows[1], 3)
        if hasattr(model.objective, "pseudo_labels"):
            model.objective.pseudo_labels, batch["row_numbers"] = torch.tensor([0, 2, -1]), torch.arange(rows[1])
        loss = model(**batch).loss
        loss.backward()
        assert loss.isfinite()
        after = dict(model.named_buffers())
        for domain, count in zip(("source_", ""), rows, strict=True):
            names = [n for n in before if n.endswith(f".{domain}running_mean")]
            assert names
            assert all(torch.equal(before[n], after[n]) for n in names) == (count == 1)

    def test_a_target_of_one_row_has_no_statistics(self):
        network = tiny.timm_wrapped("resnet18", 3)[0]
        with pytest.raises(DataError, match="The target has a single row, which has no statistics"):
            reestimate_batch_norm(network, [{"pixel_values": torch.randn(3, 32, 32)}], default_collate)

    def test_grey_beside_colour_is_told(self):
        model = DomainAdversarialModel.from_classifier(tiny.TRANSFORMERS["resnet"]()[0]).train()
        with pytest.raises(DataError, match="of the source has 1 channels, of the target 3"):
            model(
                pixel_values=torch.randn(4, 1, 32, 32),
                target_pixel_values=torch.randn(4, 3, 32, 32),
                labels=torch.arange(4) % 3,
            )

    @pytest.mark.parametrize("family", ["wav2vec2", "wav2vec2_stable"])
    def test_vada_moves_waves(self, family):
        network = tiny.classifiers()[family]()[0]
        network.config.layerdrop = 0.0  # transformers' weighted sum of layers does not bear dropped ones
        model = DomainAdversarialModel.from_classifier(network, method="vada").train()
        asking = [module for module in network.modules() if hasattr(module, "_requires_grad")]
        assert asking
        out = model(input_values=torch.randn(3, 800), target_input_values=torch.randn(3, 800), labels=torch.arange(3))
        out.loss.backward()
        assert out.loss.isfinite()
        assert all(module._requires_grad for module in asking)

    def test_a_class_without_any_probability_confuses_nothing(self):
        logits = torch.tensor([[500.0, 0.0, -500.0], [0.0, 500.0, -500.0]], requires_grad=True)
        value = class_confusion(logits)
        value.backward()
        assert value.isfinite()
        assert logits.grad.isfinite().all()

    def test_diversity_keeps_within_what_is_promised(self):
        features = torch.randn(3, 4)
        found = prediction_statistics(features, features, torch.zeros(3, 10), torch.zeros(3, 10))
        assert 0 <= float(found["target_diversity"]) <= 1
