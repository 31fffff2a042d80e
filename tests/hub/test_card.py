import pytest
import yaml
from huggingface_hub import ModelCard

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub import TransferCard, check_output_dir
from hf_transfer_kit.hub.card import without_local_paths
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


def test_the_text_says_what_was_found_and_shows_no_local_path(report):
    text = str(TransferCard.from_report(report))
    assert "Transfer helped." in text
    assert "| **full** | 80.0 % | 75.0 % | one seed | 10.0 % |" in text
    assert "alice" not in text
    assert "--dataset birds --model_name_or_path me/net" in text
    assert yaml.safe_load(text.split("---")[1])["tags"] == ["transfer-learning", "hf_transfer_kit", "full"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python scripts/transfer.py --dataset /data/alice/birds", "python scripts/transfer.py --dataset birds"),
        ("python ../x/transfer.py --a ../../y/z --b ~/k/m", "python transfer.py --a z --b m"),
        (
            "python scripts/transfer.py --model_name_or_path org/name",
            "python scripts/transfer.py --model_name_or_path org/name",
        ),
    ],
)
def test_local_paths_are_cut(command, expected):
    assert without_local_paths(command) == expected


def test_a_folder_with_a_report_is_refused(tmp_path):
    check_output_dir(tmp_path)
    check_output_dir(tmp_path / "new")
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(SettingsError, match=r"holds a report already.*--overwrite_output_dir"):
        check_output_dir(tmp_path)
    check_output_dir(tmp_path, overwrite=True)
    with pytest.raises(SettingsError, match="is a file"):
        check_output_dir(tmp_path / "report.json")
