import socket
from dataclasses import replace

import pytest
import yaml
from hub.sharing_cases import classified
from huggingface_hub import ModelCard
from reports.adaptation_case import ONE_CLASS, adaptation, adapted, report_of, without_labels

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub import TransferCard, check_output_dir
from hf_transfer_kit.reports import TransferReport
from hf_transfer_kit.values import StrategyResult, Verdict


@pytest.fixture
def report() -> TransferReport:
    result = StrategyResult(
        "full", "All.", (0,), {"accuracy": 0.8}, {"accuracy": 0.75, "macro_f1": 0.7}, {}, (), 10, 100, 2.0
    )
    return TransferReport(
        recipe="transfer",
        metrics={"accuracy": 0.75, "macro_f1": 0.7, "loss": 0.5},
        baselines={},
        plan={"strategy": "full"},
        layer_groups=[],
        data={"modality": "text", "classes": ["bad", "good"], "sizes": {"train": 10}},
        seconds={"total": 1.0},
        versions={"torch": "2"},
        seed=0,
        command="python scripts/transfer.py --dataset ../../somewhere/alice/birds --model_name_or_path me/net",
        title="net on birds",
        model_name="net",
        dataset_name="birds",
        results=(result,),
        winner="full",
        verdict=Verdict("full", "from_scratch", 0.2, 0.1, 0.3, 0.95, "helped", "Transfer helped."),
        budget={"steps": 10, "batch_size": 4, "seeds": [0]},
    )


def test_the_metadata_is_the_hubs(report, tmp_path):
    TransferCard.from_report(report, base_model="me/net", license="apache-2.0", datasets=["me/birds"]).save(
        tmp_path / "README.md"
    )
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.base_model, data.base_model_relation, data.license) == ("me/net", "finetune", "apache-2.0")
    assert (data.pipeline_tag, data.library_name, data.datasets) == (
        "text-classification",
        "transformers",
        ["me/birds"],
    )
    assert {result.metric_type: result.metric_value for result in data.eval_results} == {
        "accuracy": 0.75,
        "macro_f1": 0.7,
    }


def test_a_local_base_model_is_not_named_as_a_hub_model(report, tmp_path):
    card = TransferCard.from_report(report, base_model=str(tmp_path))
    assert card.data.base_model is None
    assert str(tmp_path) not in str(card)


def test_one_strategy_was_not_chosen_among_others(report):
    text = str(TransferCard.from_report(report))
    assert "The budget: 10 steps of 4 rows, 1 seed. The test split was looked at once." in text
    race = replace(report, results=(*report.results, replace(report.results[0], strategy="head_only")))
    assert "Every strategy ran under one budget: 10 steps" in (raced := str(TransferCard.from_report(race)))
    assert "was chosen on the validation split; the test split was looked at once." in raced


def test_the_text_says_what_was_found_and_shows_no_local_path(report):
    text = str(TransferCard.from_report(report))
    assert "Transfer helped." in text
    assert "| **full** | 80.0 % | 75.0 % | one seed | 10.0 % |" in text
    assert "alice" not in text
    assert "--dataset birds --model_name_or_path me/net" in text
    assert yaml.safe_load(text.split("---")[1])["tags"] == ["transfer-learning", "hf_transfer_kit", "full"]


def test_training_from_scratch_claims_no_base(report):
    won = replace(report, winner="from_scratch", verdict=None)
    text = str(card := TransferCard.from_report(won, base_model="me/net", license="mit"))
    assert card.data.base_model is None
    assert "base_model_relation" not in card.data.to_dict()
    assert "trained from scratch on birds: of all strategies that was the best, so nothing of `net` is in it" in text
    assert "carried over" not in text
    assert "## Licence" not in text


def test_metadata_is_checked_and_only_the_hubs_data_is_named(report, tmp_path):
    datasets = ["me/birds", "digits", str(tmp_path), "me/birds", "imdb"]
    widget = [{"text": "A bird sang."}]
    card = TransferCard.from_report(report, language=["en", "de"], datasets=datasets, widget=widget)
    assert card.data.datasets == ["me/birds", "imdb"]
    assert card.data.language == ["en", "de"]
    assert card.data.widget == widget
    with pytest.raises(SettingsError, match="English is no code of a language"):
        TransferCard.from_report(report, language="English")
    with pytest.raises(SettingsError, match="no licence that the Hub knows"):
        TransferCard.from_report(report, license="free")


def test_the_text_holds_what_a_reader_wants_to_know(report):
    groups = [
        {"depth": 0, "name": "stem", "parameters": 4000, "trainable": 0.0, "head": False},
        {"depth": 1, "name": "fc", "parameters": 60, "trainable": 1.0, "head": True},
    ]
    data = {**report.data, "fingerprints": {"train": "ab12"}}
    notes = ("3 rows could not be read.",)
    told = replace(report, layer_groups=groups, data=data, notes=notes, seconds={"total": 4000.0})
    text = str(TransferCard.from_report(told, base_model="me/net", pictures={"pictures/curves.svg": "Curves"}))
    for words in (
        "| 0 | stem | 4,000 | frozen |\n",
        "| 1 | fc (head) | 60 | 100 % |",
        "- train: 10 rows, fingerprint `ab12`",
        "![Curves](pictures/curves.svg)",
        "- wall time: 67 minutes",
        "- hardware: ",
        "3 rows could not be read.",
        "The licence of me/net was not known when this card was made",
    ):
        assert words in text, words
    assert socket.gethostname() not in text


def test_rates_of_layers_and_intervals_of_strategies_are_shown_where_they_are_known(report):
    groups = [
        {"depth": 0, "name": "stem", "parameters": 4000, "trainable": 1.0, "head": False, "learning_rate": 0.0},
        {"depth": 1, "name": "block", "parameters": 900, "trainable": 1.0, "head": False, "learning_rate": 5e-5},
        {"depth": 2, "name": "fc", "parameters": 60, "trainable": 1.0, "head": True, "learning_rate": 0.005},
    ]
    measured = replace(report.results[0], test_interval=(0.699, 0.801))
    text = str(TransferCard.from_report(replace(report, layer_groups=groups, results=(measured,))))
    assert (
        """
| depth | layer group | parameters | trainable | learning rate |
|---|---|---|---|---|
| 0 | stem | 4,000 | frozen | frozen |
| 1 | block | 900 | 100 % | 5e-05 |
| 2 | fc (head) | 60 | 100 % | 0.005 |

The rate is the highest that any weight of the group learned with.
"""
        in text
    )
    assert "| strategy | validation accuracy | test accuracy (95 % interval) | spread | trainable |" in text
    assert "| **full** | 80.0 % | 75.0 % (69.9 to 80.1) | one seed | 10.0 % |" in text
    assert "interval" not in str(TransferCard.from_report(report))


def test_the_card_of_an_adapted_model_says_from_where_to_where_and_what_labels_were_not_used_for():
    text = str(TransferCard.from_report(report_of(adaptation()), base_model="me/net"))
    assert "26.0 points above source_only" in text
    assert "adapted from the labelled source mnist to the target mnist_m with the method `dann:weight=0.5`" in text
    assert "Labels of the target were used neither for training this model nor for choosing it." in text
    table = [line for line in text.splitlines() if line.startswith("|")][:6]
    assert table[0] == "| method | source validation accuracy | information | target test accuracy | spread |"
    assert table[2:] == [
        "| source_only | 97.0 % | 1.580 | 58.0 % | 1.3 % |",
        "| **dann:weight=0.5** | 97.0 % | 1.840 | 84.0 % | 1.3 % |",
        "| entropy | 97.0 % | 1.320 | 32.0 % | 1.3 % |",
        "| target_labels (learns from the target's labels) | 97.0 % | 1.960 | 96.0 % | 1.3 % |",
    ]
    assert "\n".join(table) in text
    assert "- train: 5,432 rows" in text
    assert "- train: 1,200 rows" in text
    assert "alice" not in text
    data = yaml.safe_load(text.split("---")[1])
    assert data["tags"] == ["transfer-learning", "domain-adaptation", "hf_transfer_kit", "dann"]
    assert [metric["value"] for metric in data["model-index"][0]["results"][0]["metrics"]] == [0.83, 0.82]


def test_the_card_of_a_target_without_labels_claims_no_accuracy(tmp_path):
    card = TransferCard.from_report(report_of(without_labels(adaptation())))
    card.save(tmp_path / "README.md")
    assert "| **dann:weight=0.5** | 97.0 % | 1.840 |\n" in str(card)
    assert "target test" not in str(card)
    assert "mnist_m has no labels" in str(card)
    assert ModelCard.load(tmp_path / "README.md").data.eval_results is None


def test_the_card_owns_up_to_a_failed_run():
    ill = adapted("dann:weight=0.5", (0.3,), diagnoses=(ONE_CLASS,))
    text = str(TransferCard.from_report(report_of(replace(adaptation(), results=(ill,)))))
    advice = ONE_CLASS.advice.replace("<", "&lt;")  # a tag would not be seen
    assert f"Its run showed a failure, {ONE_CLASS.name}: {ONE_CLASS.finding} {advice}" in text
    assert "failure" not in str(TransferCard.from_report(report_of(adaptation())))


def test_a_folder_with_a_report_is_refused(tmp_path):
    check_output_dir(tmp_path)
    check_output_dir(tmp_path / "new")
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(SettingsError, match=r"holds a report already.*--overwrite_output_dir"):
        check_output_dir(tmp_path)
    check_output_dir(tmp_path, overwrite=True)
    with pytest.raises(SettingsError, match="is a file"):
        check_output_dir(tmp_path / "report.json")


def test_the_snippet_names_the_way_to_read_many_files_where_inputs_are_kept():
    from hub.sharing_cases import classified

    from hf_transfer_kit.hub.usage import usage_snippet

    report = classified("image", 3)
    kept, plain = (usage_snippet(report, raw_inputs=told) for told in (True, False))
    line = '# files, folders and tables at once: hf_transfer_kit.load_transferred(name)("photo.jpg")'
    assert kept == f"{plain}\n{line}"


def test_a_run_whose_time_was_not_taken_has_a_card_and_a_page():
    from hf_transfer_kit.reports import html_report

    report = classified("image", 2, seconds={})
    assert "wall time" not in str(TransferCard.from_report(report))
    assert "Wall time" not in html_report(report)
    assert "wall time: 12 seconds" in str(TransferCard.from_report(classified("image", 2)))
