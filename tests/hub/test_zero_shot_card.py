"""The card of a model that names classes never seen."""

from huggingface_hub import ModelCard
from reports.zero_shot_case import report_of, unseen_classes

from hf_transfer_kit.hub import TransferCard


def test_the_card_tells_splits_figures_and_how_to_add_a_class(tmp_path):
    card = TransferCard.from_report(report_of(unseen_classes()), base_model="me/net")
    card.save(tmp_path / "README.md")
    again = ModelCard.load(tmp_path / "README.md", ignore_metadata_errors=False)
    figures = {result.metric_type: result.metric_value for result in again.data.eval_results}
    assert figures == {"unseen_accuracy": 0.8, "harmonic_mean": 0.48}
    assert {result.task_type for result in again.data.eval_results} == {"zero-shot-image-classification"}
    assert "zero-shot" in again.data.tags
    assert again.data.pipeline_tag is None
    for text in (
        "| **eszsl** | 75.0 ± 5.0 % | 60.0 ± 0.0 % | 40.0 ± 0.0 % |",
        "| eszsl on names |",
        "Training showed horse, eagle, wasp, ant; it never showed zebra, owl.",
        "model.set_classes(",
        "gamma 0.21",
        "may show the very classes that are called unseen",
    ):
        assert text in card.text, text
    assert "alice" not in card.text
