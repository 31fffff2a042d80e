"""One row given by hand: what every kind of model answers, as a page shows it."""

import pytest
import torch
from hub.sharing_cases import image_processor, zero_shot
from predicting import saved_cases

from hf_transfer_kit import load_transferred
from hf_transfer_kit.adaptation import Rejection
from hf_transfer_kit.data import InputSizes, RawInputs
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.hub import save_inputs
from hf_transfer_kit.predicting.by_hand import asked_by_hand, output_kind, questions


def asked(folder, given, second=None, top=5):
    """Task -> what is shown."""
    model = load_transferred(folder, device="cpu")
    (question,) = questions(model)
    found = asked_by_hand(model, question, given, second, top=top)
    return {meaning.task: shown for meaning, shown in zip(question.meanings, found, strict=True)}


def test_a_picture_has_probabilities(tmp_path):
    case = saved_cases.classifier(tmp_path)
    for row, logits in zip(case.rows[:2], case.logits[None], strict=False):
        (shown,) = asked(case.folder, row).values()
        likely = dict(zip(("cat", "dog", "owl"), logits.softmax(0).tolist(), strict=True))
        assert shown == pytest.approx(likely, abs=1e-5)
        assert list(shown) == sorted(likely, key=likely.get, reverse=True)
    assert len(asked(case.folder, case.rows[0], top=2)[None]) == 2


def test_several_tasks_have_an_answer_each(tmp_path):
    case = saved_cases.several_texts(tmp_path)
    shown = asked(case.folder, case.rows[0])
    assert list(shown) == list(case.model.config.tasks)
    likely = case.logits["topic"][0].softmax(0)
    assert shown["topic"] == pytest.approx({str(index): value for index, value in enumerate(likely.tolist())}, abs=1e-5)
    held = case.logits["tags"][0].sigmoid().tolist()
    assert shown["tags"] == pytest.approx({str(index): value for index, value in enumerate(held)}, abs=1e-5)
    assert shown["score"] == f"{float(case.logits['score'][0, 0]):.4g}"
    assert [word.partition("/")[0] for word in shown["entities"].split()] == case.rows[0].split()


def test_a_sound_is_spelled_and_classified(tmp_path):
    case = saved_cases.transcripts(tmp_path)
    sound = str(next((tmp_path / "sounds").rglob("*.wav")))
    shown = asked(case.folder, sound)
    expected = load_transferred(case.folder)(sound)
    assert shown["spelled"] == expected[0].text
    assert shown["class"] == pytest.approx(dict(expected[1].top))


def test_pairs_take_two_texts(tmp_path):
    case = saved_cases.pairs(tmp_path)
    first, second = case.rows[0]
    (shown,) = asked(case.folder, first, second).values()
    assert list(shown.values()) == pytest.approx(
        case.logits[None][0].softmax(0).sort(descending=True).values.tolist(), abs=1e-5
    )
    with pytest.raises(DataError, match="give the second one as well"):
        asked(case.folder, first)
    (question,) = questions(load_transferred(case.folder))
    assert question.pairs


def test_classes_never_seen_have_scores(tmp_path):
    case = zero_shot()
    case.model.save_pretrained(tmp_path / "kept")
    inputs = RawInputs("image", image_processor(), InputSizes())
    save_inputs(tmp_path / "kept", inputs)
    (picture,) = saved_cases.pictures(tmp_path / "pictures", 1)
    model = load_transferred(tmp_path / "kept", classes={"okapi": {"stripes": 0.5, "hooves": 1, "flies": 0}})
    (question,) = questions(model)
    assert output_kind(question.meanings[0]) == "scores"
    (shown,) = asked_by_hand(model, question, picture)
    with torch.no_grad():
        logits = model.network(**inputs([picture])).logits[0].tolist()
    assert dict(shown) == pytest.approx(dict(zip(("zebra", "horse", "eagle", "okapi"), logits, strict=True)), rel=1e-3)


def test_a_row_of_no_known_class_is_told(tmp_path):
    case = saved_cases.classifier(tmp_path)
    Rejection("confidence", threshold=-1.0).save(case.folder)
    best = ("cat", "dog", "owl")[int(case.logits[None][0].argmax())]
    assert asked(case.folder, case.rows[0]) == {None: f"unknown; the nearest known class is {best}"}


def test_two_pictures_of_different_channels_are_one_question(tmp_path):
    case = saved_cases.two_inputs(tmp_path)
    shown = asked(case.folder, case.rows[0])
    assert list(shown) == ["real", "drawn", "size"]
    assert max(shown["drawn"].values()) == pytest.approx(float(case.logits["drawn"][0].softmax(0).max()), abs=1e-5)


@pytest.mark.parametrize("given", [None, "", "  "])
def test_nothing_is_told(given, tmp_path):
    with pytest.raises(DataError, match="Nothing was given: the model reads a picture"):
        asked(saved_cases.classifier(tmp_path).folder, given)


def test_what_cannot_be_read_is_told_with_the_reason(tmp_path):
    case = saved_cases.classifier(tmp_path)
    (tmp_path / "no.png").write_text("no picture")
    with pytest.raises(DataError, match="It cannot be read: UnidentifiedImageError"):
        asked(case.folder, str(tmp_path / "no.png"))


def test_a_text_that_names_a_file_is_a_text(tmp_path, monkeypatch):
    case = saved_cases.plain(tmp_path, "regression")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("a sentence of few words")
    (shown,) = asked(case.folder, "words.txt").values()
    (reading,) = load_transferred(case.folder).readings
    with torch.no_grad():
        expected = case.model(**reading.inputs(["words.txt"])).logits.item()
    assert shown == f"{expected:.4g}"
    assert shown != asked(case.folder, "a sentence of few words")[None]
