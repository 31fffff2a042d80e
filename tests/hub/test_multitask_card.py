"""The card of a network of several tasks."""

from huggingface_hub import ModelCard
from reports.multitask_case import multitasking, report_of

from hf_transfer_kit.hub import TransferCard


def test_the_card_tells_tasks_figures_and_how_to_use_one(tmp_path):
    card = TransferCard.from_report(report_of(multitasking()), base_model="me/net")
    card.save(tmp_path / "README.md")
    again = ModelCard.load(tmp_path / "README.md", ignore_metadata_errors=False)
    figures = {(result.metric_type, result.dataset_name): result.metric_value for result in again.data.eval_results}
    assert figures == {("accuracy", "news"): 0.74, ("cer", "speech"): 0.3, ("spearman", "news"): 0.51}
    assert "multi-task" in again.data.tags
    assert again.data.base_model == "me/net"
    for text in (
        "Sharing helps topic (by 3.5 points) and hurts spelling",
        "The source task topic had 71.0 ± 1.4 % before",
        "| **multitask:shared_from=0** | 74.5 % ± 0.7 % | 29.5 % ± 0.7 % | 0.545 ± 0.049 | -12.0 % | -3.5 points |",
        'model.export("topic")',
        "| spelling | 1,200 | 30 | 40 |",
    ):
        assert text in card.text
    assert "alice" not in card.text


def test_nothing_is_said_of_forgetting_without_a_source_task():
    card = TransferCard.from_report(report_of(multitasking(source_task=None, before=None)))
    assert "forgetting" not in card.text
    assert "source task" not in card.text
