"""Transcripts through the race: by their error rate, of what is no padding, and left so that a stranger can decode."""

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from bright_rows import race_arguments
from spoken_rows import RATE, SIZES, SYMBOLS, speller, spoken, spoken_data
from transformers import (
    AutoModelForCTC,
    AutoProcessor,
    AutoTokenizer,
    EvalPrediction,
    Wav2Vec2ForSequenceClassification,
    pipeline,
)

from hf_transfer_kit import load_inputs, load_transferred
from hf_transfer_kit.data.memory import Rows
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.hub import save_results
from hf_transfer_kit.hub.symbols import symbol_tokenizer
from hf_transfer_kit.metrics import task_metrics
from hf_transfer_kit.metrics.transcripts import collapsed
from hf_transfer_kit.reports import RunFacts, comparison_report, strategy_table, verdict_lines
from hf_transfer_kit.selection import Budget, PrefixCaches, compare_strategies
from hf_transfer_kit.selection.contest.store import RunStore
from hf_transfer_kit.selection.finetuning.running import of_task
from hf_transfer_kit.selection.finetuning.transcripts import TranscriptLoss

BUDGET = Budget(60, 16, evaluations=2, learning_rate=2e-2)
NAMES = ("error_rate", "word_error_rate", "accuracy")


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spoken")
    store = RunStore(folder / "runs")
    found = compare_strategies(
        speller, spoken_data(), ["full", "from_scratch"], race_arguments(folder / "trainer"), BUDGET, store=store
    )
    loaded = SimpleNamespace(
        name="tones", modality="audio", label_names=SYMBOLS, skipped_rows=0, sizes=lambda: SIZES,
        fingerprints=lambda: dict.fromkeys(SIZES, "f"),
    )  # fmt: skip
    facts = RunFacts("tiny", "python x.py", budget=BUDGET, seconds={"total": 1.0})
    report = comparison_report(found, facts, data=loaded, prepared=spoken_data())
    save_results(folder / "out", report, found.model, spoken_data().raw_inputs, {})
    return SimpleNamespace(found=found, report=report, folder=folder / "out", store=store, trainer=folder / "trainer")


def said(path, labels=SYMBOLS):
    return "".join(labels[symbol] for symbol in collapsed(path))


def test_it_is_chosen_and_judged_by_the_error_rate_of_which_less_is_better(raced):
    found = raced.found
    best = min(found.results, key=lambda result: (result.validation["error_rate"], result.validation["loss"]))
    assert found.winner == best.strategy
    assert found.verdict.metric == "error_rate"
    assert not found.verdict.larger_is_better
    assert "less is better" in found.verdict.sentence
    for result in found.results:
        assert result.validation["error_rate"] < 0.6  # all blank is 1
        assert {*NAMES, "loss"} == set(result.test)
        (run,) = found.tested[result.strategy]
        assert run.observed == pytest.approx(result.test["error_rate"])
        assert result.test_interval[0] <= run.observed <= result.test_interval[1]
    again = compare_strategies(
        speller, spoken_data(), ["full", "from_scratch"], race_arguments(raced.trainer), BUDGET, store=raced.store
    )
    assert [run.figures for run in again.runs] == [run.figures for run in found.runs]
    assert again.model_metrics == found.model_metrics


def test_report_and_card_say_it(raced):
    assert verdict_lines(raced.report) == [raced.found.verdict.sentence]
    assert "character error rate" in strategy_table(raced.report)
    page, card = ((raced.folder / name).read_text() for name in ("report.html", "README.md"))
    assert "<dt>Symbols</dt><dd>4:" in page
    assert "The task is ctc, chosen and judged by character error rate (less is better)." in page
    assert "network that spells what is said, by CTC over 3 symbols and a blank (space, a, b)" in card
    assert "pipeline_tag: automatic-speech-recognition" in card
    assert {"- type: cer", "- type: wer"} <= {line.strip() for line in card.splitlines()}
    assert json.loads((raced.folder / "report.json").read_text())["results"][0]["metric"] == "error_rate"


def test_it_is_asked_about_new_sounds_in_batches_too(raced):
    waves, _ = spoken(SIZES["test"], 2)
    rows = [{"array": wave, "sampling_rate": RATE} for wave in waves]
    measured = [said(path) for path in raced.found.predicted.tolist()]
    assert len({len(wave) for wave in waves}) > 3
    for batch_size in (1, 7, 20):
        assert [a.text for a in load_transferred(raced.folder)(rows, batch_size=batch_size)] == measured


def test_a_stranger_decodes_what_was_measured(raced, tmp_path, capsys):
    model, tokenizer = AutoModelForCTC.from_pretrained(raced.folder).eval(), AutoTokenizer.from_pretrained(raced.folder)
    processor, inputs = AutoProcessor.from_pretrained(raced.folder), load_inputs(raced.folder)
    assert (model.config.pad_token_id, model.config.vocab_size, len(tokenizer)) == (0, 4, 4)
    waves, labels = spoken(SIZES["test"], 2)
    measured = [said(path) for path in raced.found.predicted.tolist()]
    assert sum(" " in text for text in measured) > 5
    for place, wave in enumerate(waves):
        for batch in (
            inputs([{"array": wave, "sampling_rate": RATE}]),
            processor(wave, sampling_rate=RATE, return_tensors="pt"),
        ):
            with torch.no_grad():
                path = model(**batch).logits[0].argmax(-1)
            assert tokenizer.decode(path) == measured[place].strip()
    recogniser = pipeline("automatic-speech-recognition", model=str(raced.folder), device="cpu")
    assert recogniser({"raw": waves[0], "sampling_rate": RATE})["text"] == measured[0].strip()
    metrics = task_metrics("ctc", SYMBOLS)
    judged = {name: metrics.by_row(name, raced.found.predicted, raced.found.true).observed for name in NAMES}
    assert judged == pytest.approx({name: raced.found.model_metrics[name] for name in NAMES})
    assert [[symbol for symbol in row if symbol >= 0] for row in raced.found.true.tolist()] == labels

    snippet = (raced.folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    soundfile.write(tmp_path / "speech.wav", waves[0], RATE, subtype="FLOAT")
    exec(snippet.replace('"."', repr(str(raced.folder))).replace("speech.wav", str(tmp_path / "speech.wav")), {})
    assert capsys.readouterr().out.strip() == measured[0].strip()


@pytest.mark.parametrize("masked", [True, False])
def test_the_loss_is_the_networks_own_by_symbol_and_adds_up(masked):
    data, model = spoken_data(masked=masked), speller(0, masked=masked).eval()
    batch = data.collator([data.train[row] for row in range(8)])
    assert ("attention_mask" in batch) == masked
    model.config.ctc_loss_reduction = "sum"
    symbols = (batch["labels"] >= 0).sum()
    expected = model(**batch).loss / symbols
    labels = batch.pop("labels")
    loss, logits = TranscriptLoss(), of_task(model, data)(**batch).logits
    assert loss({"logits": logits}, labels).item() == pytest.approx(expected.item(), rel=1e-5)
    parts = [loss({"logits": logits[part]}, labels[part], symbols) for part in (slice(0, 3), slice(3, 8))]
    assert sum(parts).item() == pytest.approx(expected.item(), rel=1e-5)
    assert (logits == -100).all(dim=-1).any().item() == masked


def test_a_row_says_the_same_alone_and_beside_a_longer_one():
    data = spoken_data()
    model = of_task(of_task(speller(3), data), data).eval()
    assert len(model._forward_hooks) == 1
    lengths = [len(data.test[row]["wave"]) for row in range(SIZES["test"])]
    short = int(np.argmin(lengths))
    rows = [data.test[short], data.test[int(np.argmax(lengths))]]
    with torch.no_grad():
        together, alone = (
            model(**{name: value for name, value in data.collator(some).items() if name != "labels"}).logits
            for some in (rows, rows[:1])
        )
    said = task_metrics("ctc", SYMBOLS).said
    assert collapsed(said(together.numpy())[0].tolist()) == collapsed(said(alone.numpy())[0].tolist())
    assert together.shape[1] > alone.shape[1]
    assert (together[0, alone.shape[1] :] == -100).all()
    torch.testing.assert_close(together[0, : alone.shape[1]], alone[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("masked", [True, False])
def test_what_frozen_layers_gave_once_is_learned_from_as_if_they_ran(masked, tmp_path):
    data = spoken_data(masked=masked)
    caches = PrefixCaches(data, cache_dir=tmp_path / "cache")

    def found(**options):
        args = race_arguments(tmp_path / "trainer")
        return compare_strategies(
            lambda seed: speller(seed, masked=masked), data, ["head_only"], args, Budget(4, 8, learning_rate=0.01), **options
        ).results[0]  # fmt: skip

    plain, cached = found(), found(caches=caches)
    assert masked or "ran once for each of the 84 rows" in caches.notes[0]
    assert cached.test == pytest.approx(plain.test, rel=1e-3)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("co_tuning", "co_tuning is for classification, because it relates the classes"),
        ("wise_ft", "wise_ft is for classification"),
        ("l2sp_fisher", "l2sp_fisher is for classification"),
        ("text_head", "text_head is for classification"),
        ("delta:attention=loss", "attention=loss weighs channels by a classifier's loss; this is a task of ctc"),
        ("freeze_first:auto", "a depth is searched for by shares of rows that are right, which ctc does not have"),
    ],
)
def test_what_needs_classes_is_refused_by_name_before_training(strategy, message, tmp_path):
    with pytest.raises(SettingsError, match=message):
        compare_strategies(speller, spoken_data(), ["full", strategy], race_arguments(tmp_path), Budget(2, 4))


@pytest.mark.parametrize(
    "strategy",
    [
        "freeze_first:k=2",
        "freeze_last:k=2",
        "gradual",
        "lp_ft",
        "layerwise",
        "l2sp",
        "delta",
        "bss",
        "lora",
        "small_lr",
    ],
)
def test_every_other_strategy_spells(strategy, tmp_path):
    found = compare_strategies(
        speller, spoken_data(), [strategy], race_arguments(tmp_path), Budget(2, 4, evaluations=1)
    )
    assert np.isfinite(found.results[0].validation["loss"])


def test_what_does_not_fit_is_refused_before_training(tmp_path):
    args, budget = race_arguments(tmp_path), Budget(2, 4)
    with pytest.raises(SettingsError, match="metric='word_error_rate' does not judge ctc; choose error_rate, accuracy"):
        compare_strategies(
            speller, replace(spoken_data(metric="word_error_rate"), label_names=("<blank>", "_", "a", "b")), ["full"],
            args, budget,
        )  # fmt: skip
    classifier = Wav2Vec2ForSequenceClassification(speller(0).config)
    with pytest.raises(
        SettingsError, match=r"ctc needs logits of shape \(rows, positions, 4\), but Wav2Vec2For\w+ gives"
    ):
        compare_strategies(lambda seed: classifier, spoken_data(), ["full"], args, budget)
    waves, labels = spoken(SIZES["train"], 0)
    labels[5] = [2, 2, 3]  # a position more between the equal ones
    waves[5] = waves[5][:160]  # three positions
    message = "1 of 48 training rows are too short for their transcripts, first row 5: 'aab' takes 4 positions"
    with pytest.raises(DataError, match=f"{message}, but the network makes 3 of its 0.08 seconds"):
        compare_strategies(
            speller, replace(spoken_data(), train=Rows(waves, labels, "wave")), ["full"], args, budget
        )  # fmt: skip
    labels[5] = [2, 3, 2]
    compare_strategies(speller, replace(spoken_data(), train=Rows(waves, labels, "wave")), ["full"], args, budget)


def test_words_that_stand_alone_are_decoded_whatever_their_symbols():
    odd = ("<blank>", " ", "'", "<", "A", "|", "é", "a")
    tokenizer = symbol_tokenizer(odd)
    assert len(tokenizer) == len(odd)
    path = [4, 4, 0, 4, 2, 1, 1, 5, 0, 5, 3, 6, 0, 7, 7]
    assert tokenizer.decode(path) == said(path, odd) == "AA' ||<éa"
    assert len(symbol_tokenizer(["<blank>", "a"])) == 2


def test_a_wave_of_bytes_is_read_too(raced):
    """As parquet holds sounds."""
    wave = spoken(1, 2)[0][0]
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, format="WAV", subtype="FLOAT")
    batch = load_inputs(raced.folder)([{"bytes": file.getvalue(), "path": None}])
    assert batch["input_values"].shape[1] == len(wave)


def test_the_prediction_of_a_run_is_that_of_its_metrics(raced):
    metrics = task_metrics("ctc", SYMBOLS)
    logits = np.full((*raced.found.predicted.shape, 4), -50.0)
    np.put_along_axis(logits, np.clip(raced.found.predicted, 0, None)[..., None], 50.0, axis=-1)
    logits[raced.found.predicted < 0] = -100
    computed = metrics.compute(EvalPrediction(predictions=logits, label_ids=raced.found.true))
    assert computed == pytest.approx({name: raced.found.model_metrics[name] for name in NAMES})
