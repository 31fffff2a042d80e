from dataclasses import replace

import pytest
from reports.adaptation_case import adaptation, adapted, without_labels
from reports.verdict_case import verdict

from hf_transfer_kit.reports import adaptation_words
from hf_transfer_kit.reports.adaptation.words import better_but_not_kept
from hf_transfer_kit.values import Adaptation


def of(*results, chosen: str = "dann", selected_by: str = "information") -> Adaptation:
    return Adaptation("mnist", "mnist_m", results, chosen, selected_by)


def test_the_sentence_sets_the_choice_between_source_only_and_the_upper_bound():
    assert adaptation_words(adaptation())["sentence"] == (
        "dann:weight=0.5 reaches 84.0 ± 1.3 % on mnist_m's test rows, 26.0 points above source_only (58.0 ± 1.3 %); "
        "target_labels, which learns from the target's labels, reaches 96.0 ± 1.3 % (mean ± standard deviation of 2 "
        "seeds)."
    )


@pytest.mark.parametrize(
    ("accuracy", "words"),
    [
        (0.5, "reaches 50.0 % on mnist_m's test rows, 8.0 points below source_only (58.0 %) (one seed)."),
        (0.58, "reaches 58.0 % on mnist_m's test rows, the same as source_only (58.0 %) (one seed)."),
    ],
)
def test_the_sentence_owns_up_when_adaptation_did_not_help(accuracy, words):
    sentence = adaptation_words(of(adapted("source_only", (0.58,)), adapted("dann", (accuracy,))))["sentence"]
    assert sentence == f"dann {words}"


def test_without_source_only_nothing_is_compared():
    assert (
        adaptation_words(of(adapted("dann", (0.5,))))["sentence"]
        == "dann reaches 50.0 % on mnist_m's test rows (one seed)."
    )


def test_choosing_source_only_is_said():
    words = adaptation_words(of(adapted("source_only", (0.58,)), adapted("dann", (0.5,)), chosen="source_only"))
    assert "no adaptation was chosen" in words["sentence"]
    assert words["outcome"] == "undecided"


def test_without_labels_no_accuracy_is_claimed():
    unlabelled = without_labels(adaptation())
    words = adaptation_words(unlabelled)
    assert words["sentence"] == (
        "mnist_m has no labels, so the accuracy of dann:weight=0.5 there is not known, and only scores that need no "
        "labels are shown. It was chosen by information."
    )
    assert (words["labelled"], words["outcome"], words["bound"]) == (False, "undecided", None)
    last = adaptation_words(replace(unlabelled, selected_by="last"))["sentence"]
    assert last.endswith("Its last weights were kept.")


@pytest.mark.parametrize("outcome", ["helped", "hurt", "undecided"])
def test_the_outcome_is_the_verdicts(outcome):
    judged = adapted("dann", (0.7, 0.8), verdict=verdict("dann", "source_only", outcome, 0.1))
    assert adaptation_words(of(adapted("source_only", (0.56, 0.6)), judged))["outcome"] == outcome


def test_scores_know_which_way_is_up_and_others_are_kept():
    result = adapted("dann", (0.5,), scores={"mean_entropy": 0.1, "information": 1.0, "mine": 2.0})
    scores = adaptation_words(of(result))["scores"]
    assert list(scores) == ["mean_entropy", "information", "mine"]
    assert (scores["mean_entropy"].larger_is_better, scores["information"].larger_is_better) == (False, True)
    assert scores["mine"] is None


def test_what_the_features_say_of_the_domains_is_a_figure():
    before = replace(adapted("source_only", (0.58,)), scores={"proxy_a": 1.91})
    after = replace(adapted("dann", (0.8,)), scores={"proxy_a": 0.42})
    assert adaptation_words(of(before, after))["mixing"] == (
        "How well the domains can be told apart (0: not at all, 2: always): 1.91 trained on the source alone, "
        "0.42 with dann."
    )
    assert adaptation_words(of(replace(after, scores={})))["mixing"] == ""


def test_frozen_features_that_did_better_are_named():
    chosen = replace(adapted("dann", (0.8,)), scores={"bnm": 0.5}, kept_steps=(4,))
    shallow = replace(adapted("shallow:alignment=coral", (0.9,)), scores={"bnm": 0.6}, kept_steps=())
    (said,) = better_but_not_kept(of(chosen, shallow, selected_by="bnm"))
    assert said.startswith(
        "shallow:alignment=coral is better than dann (bnm 0.600 against 0.500; 90.0 % of the target's test rows against "
        "80.0 %) and was not chosen, because it leaves no network"
    )
    worse = replace(adapted("shallow", (0.7,)), scores={"bnm": 0.4}, kept_steps=())
    assert better_but_not_kept(of(chosen, worse, selected_by="bnm")) == ()
