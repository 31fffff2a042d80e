"""Labels on which centres and neighbours of target rows agree: against a slow one, where they help, who must give them."""

import numpy as np
import pytest
import torch
from domain_batches import CLASSES, WIDTH, domain_batch
from torch import nn

from hf_transfer_kit.adaptation import OBJECTIVES
from hf_transfer_kit.adaptation.objectives.clusters import cluster_labels, spread
from hf_transfer_kit.adaptation.objectives.labelled_rows import NO_LABEL, labelled_loss
from hf_transfer_kit.adaptation.objectives.mcc import class_confusion
from hf_transfer_kit.adaptation.objectives.shot import centroid_labels
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features import memory_limit


@pytest.mark.parametrize(("rows", "neighbours"), [(30, 4), (6, 10), (1, 3)])
def test_what_neighbours_share_is_the_limit_of_passing_it_on(rows, neighbours):
    torch.manual_seed(0)
    features, probabilities = torch.randn(rows, 5).double(), torch.randn(rows, 3).double().softmax(1)
    unit = features.numpy() / np.linalg.norm(features.numpy(), axis=1, keepdims=True)
    graph = np.zeros((rows, rows))
    for i in range(rows):
        near = [j for j in np.argsort(-(unit @ unit[i]), kind="stable") if j != i][:neighbours]
        for j in near:
            graph[i, j] = max(unit[i] @ unit[j], 0) ** 3
    graph = graph + graph.T
    sums = np.maximum(graph.sum(1), 1e-12)
    passed = graph / np.sqrt(sums[:, None] * sums[None])
    shared = probabilities.numpy()
    for _ in range(400):
        shared = 0.9 * passed @ shared + probabilities.numpy()
    assert np.allclose(spread(features, probabilities, neighbours=neighbours).numpy(), shared, atol=1e-9)


def confused_rows(seed, rows=120, wrong=0.35):
    """Three clusters whose head is wrong on a side of each: rows, classes, predictions."""
    torch.manual_seed(seed)
    true = torch.arange(rows) % 3
    features = 4 * torch.eye(6)[true] + 0.7 * torch.randn(rows, 6)
    said = torch.where(torch.rand(rows) < wrong, (true + 1) % 3, true)
    return features, true, (3 * nn.functional.one_hot(said, 3).float()).softmax(1)


@pytest.mark.parametrize("seed", range(5))
def test_where_they_agree_they_are_right_more_often_than_predictions_and_than_centres(seed):
    features, true, probabilities = confused_rows(seed)
    features = features + 1.6 * torch.randn_like(features)
    labels = cluster_labels(features, probabilities)
    kept = labels != NO_LABEL
    assert 0.4 < kept.float().mean() < 1
    right = (labels == true)[kept].float().mean()
    assert right > (probabilities.argmax(1) == true).float().mean() + 0.1
    assert right > (centroid_labels(features, probabilities) == true).float().mean()


def test_the_order_of_rows_does_not_count_and_half_precision_names_the_same():
    features, _, probabilities = confused_rows(0)
    labels, order = cluster_labels(features, probabilities), torch.randperm(120)
    assert torch.equal(cluster_labels(features[order], probabilities[order]), labels[order])
    assert (cluster_labels(features.half(), probabilities) == labels).float().mean() > 0.99


def test_no_row_gets_a_class_that_no_row_is_predicted_to_be():
    features, _, probabilities = confused_rows(1)
    nobody = torch.cat([probabilities, torch.full((120, 1), 1e-4)], dim=1)
    assert 3 not in cluster_labels(features, nobody).tolist()


def test_a_class_of_few_rows_keeps_them():
    """Shares are those of the target's own centres: a class that is rare there is not filled with rows of others."""
    features, true, probabilities = confused_rows(2, rows=300, wrong=0.05)
    kept = (true != 2) | (torch.arange(300) < 30)
    labels = cluster_labels(features[kept], probabilities[kept])
    named = labels != NO_LABEL
    assert (labels == true[kept])[named].float().mean() > 0.97
    assert (labels == 2).sum() <= 10


def test_rows_without_a_label_count_nothing_in_the_mean():
    logits = torch.randn(4, 3, requires_grad=True)
    loss = labelled_loss(logits, torch.tensor([2, NO_LABEL, 0, NO_LABEL]))
    expected = -(logits.log_softmax(1)[0, 2] + logits.log_softmax(1)[2, 0]) / 4
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    assert not logits.grad[[1, 3]].any()
    assert labelled_loss(logits, torch.full((4,), NO_LABEL)) == 0


@pytest.mark.parametrize(("progress", "grown"), [(0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (1.0, 1.0)])
def test_terms_are_those_of_the_rows_numbers_and_grow(progress, grown):
    batch, *_ = domain_batch(4, 3, progress=progress)
    object.__setattr__(batch, "row_numbers", torch.tensor([5, 0, 2]))
    objective = OBJECTIVES["clusters"](width=WIDTH, num_labels=CLASSES, weight=2.0, confusion=0.5, temperature=1.5)
    objective.pseudo_labels = torch.tensor([1, 2, NO_LABEL, 0, 0, 2])
    terms = objective.terms(batch)
    loss = labelled_loss(batch.target_logits, torch.tensor([2, 1, NO_LABEL]))
    assert terms["pseudo_label_loss"].item() == pytest.approx(2 * grown * loss.item())
    assert terms["confusion_loss"].item() == pytest.approx(0.5 * class_confusion(batch.target_logits, 1.5).item())
    assert objective.diagnostics(batch)["pseudo_labelled"].item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("missing", ["pseudo_labels", "row_numbers"])
def test_without_labels_or_numbers_it_says_what_is_missing(missing):
    batch, *_ = domain_batch(4, 3)
    objective = OBJECTIVES["clusters"](width=WIDTH, num_labels=CLASSES)
    if missing == "row_numbers":
        objective.pseudo_labels = torch.zeros(6, dtype=torch.long)
    else:
        object.__setattr__(batch, "row_numbers", torch.arange(3))
    with pytest.raises(SettingsError, match=r"add PseudoLabels\(target, collator\) .* numbered=True"):
        objective.terms(batch)


def test_a_table_that_is_too_large_is_told():
    with memory_limit("10kB"), pytest.raises(SettingsError, match="a table of 120 x 120 rows holds"):
        cluster_labels(*confused_rows(0)[::2])
