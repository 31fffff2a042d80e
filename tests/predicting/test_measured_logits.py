"""What is predicted is what the run's own evaluation said of the same rows, for every kind of model that is saved."""

import pytest
import torch
from hub.test_raw_inputs import CASES, kept
from predicting import saved_cases

from hf_transfer_kit import load_transferred, prepare_data
from hf_transfer_kit.data import raw_rows
from hf_transfer_kit.hub import save_inputs, save_results
from hf_transfer_kit.metrics.transcripts import collapsed
from hf_transfer_kit.predicting import ClassAnswer, LabelsAnswer, NumberAnswer, TextAnswer, WordsAnswer


def figures(answers, names):
    """Of classes the figures in the order of the names, (N, C)."""
    return torch.tensor([[dict(answer.top)[name] for name in names] for answer in answers])


def assert_near(found, wanted):
    assert torch.allclose(found.double(), wanted.double(), rtol=0, atol=1e-5), (found - wanted).abs().max()


@pytest.mark.parametrize("kind", ["classifier", "multitask", "zero_shot"])
@pytest.mark.parametrize("case", CASES)
def test_classes_of_every_kind_of_input(kind, case, tmp_path):
    make_data, make_network, sizes = CASES[case]
    data = make_data(tmp_path / "data")
    network, processor = make_network()
    prepared = prepare_data(data, processor, **sizes)
    model, asked = kept(kind, network.eval(), prepared)
    if kind == "classifier" and hasattr(prepared.processor, "data_config"):
        size = {"input_size": list(prepared.processor.data_config["input_size"])}
        model.config.pretrained_cfg = {**prepared.processor.data_config, **size}
    model.save_pretrained(tmp_path / "kept")
    save_inputs(tmp_path / "kept", prepared.raw_inputs)
    logits = saved_cases.measured(model, prepared, asked.get("task"))
    asking = load_transferred(tmp_path / "kept", device="cpu")
    found = asking(list(raw_rows(data, "test")), batch_size=4, top=9, **asked)
    names = asking.classes[asked.get("task")]
    assert [answer.row for answer in found] == list(range(len(data.test)))
    wanted = logits if kind == "zero_shot" else logits.softmax(dim=1)
    scale = float(wanted.abs().max().clamp(min=1))
    assert_near(figures(found, names) / scale, wanted / scale)
    assert [answer.label for answer in found] == [names[i] for i in logits.argmax(dim=1).tolist()]
    assert {answer.measure for answer in found} == {"score" if kind == "zero_shot" else "probability"}


def test_numbers(tmp_path):
    case = saved_cases.plain(tmp_path, "regression")
    found = load_transferred(case.folder)(case.rows, batch_size=4)
    assert all(isinstance(answer, NumberAnswer) for answer in found)
    assert_near(torch.tensor([answer.value for answer in found]), case.logits[None][:, 0])
    assert found[0].record() == {"row": 0, "value": found[0].value}


def test_several_classes(tmp_path):
    case = saved_cases.plain(tmp_path, "multi_label")
    model = load_transferred(case.folder)
    found = model(case.rows)
    assert all(isinstance(answer, LabelsAnswer) for answer in found)
    assert_near(figures(found, model.classes[None]), case.logits[None].sigmoid())
    wanted = [tuple(n for n, on in zip("abc", row, strict=True) if on) for row in (case.logits[None] > 0).tolist()]
    assert [answer.labels for answer in found] == wanted


def test_classes_of_words_and_words_that_were_not_read(tmp_path):
    case = saved_cases.plain(tmp_path, "token_classification")
    model = load_transferred(case.folder)
    found = model([list(words) for words in case.rows], batch_size=3)
    assert all(isinstance(answer, WordsAnswer) for answer in found)
    assert any(len(words) > 4 for words in case.rows)
    for words, answer, logits in zip(case.rows, found, case.logits[None].softmax(dim=-1), strict=True):
        assert [word for word, _, _ in answer.words] == list(words)
        for place, (_, label, probability) in enumerate(answer.words):
            if place >= 4:  # longer than what was measured
                assert (label, probability) == (None, None)
                continue
            assert label == model.classes[None][int(logits[place].argmax())]
            assert probability == pytest.approx(float(logits[place].max()), abs=1e-5)


def test_a_text_is_split_into_words_where_words_are_read(tmp_path):
    case = saved_cases.plain(tmp_path, "token_classification")
    model = load_transferred(case.folder)
    words, text = model([list(case.rows[0])])[0], model([" ".join(case.rows[0])])[0]
    assert [each[:2] for each in words.words] == [each[:2] for each in text.words]


def test_all_tasks_of_a_text_in_their_order(tmp_path):
    case = saved_cases.several_texts(tmp_path)
    model = load_transferred(case.folder)
    found = model(case.rows, top=9, batch_size=3)
    assert model.tasks == ("topic", "tags", "score", "entities")
    assert [(answer.row, answer.task) for answer in found] == [(r, t) for r in range(4) for t in model.tasks]
    of_task = {task: [answer for answer in found if answer.task == task] for task in model.tasks}
    assert_near(figures(of_task["topic"], "012"), case.logits["topic"].softmax(dim=1))
    assert_near(figures(of_task["tags"], "0123"), case.logits["tags"].sigmoid())
    assert_near(torch.tensor([answer.value for answer in of_task["score"]]), case.logits["score"][:, 0])
    best = case.logits["entities"].argmax(dim=-1)
    for row, answer in enumerate(of_task["entities"]):
        assert [label for _, label, _ in answer.words] == [str(int(i)) for i in best[row][: len(answer.words)]]


@pytest.mark.parametrize("task", ["real", "drawn", "size"])
def test_each_task_reads_through_its_own_input(task, tmp_path):
    case = saved_cases.two_inputs(tmp_path)
    model = load_transferred(case.folder)
    for found in (
        model(case.rows, task=task),
        [a for a in model(case.rows) if a.task == task],
        model({task: case.rows}),
    ):
        assert [answer.row for answer in found] == case.rows
        if task == "size":
            assert_near(torch.tensor([answer.value for answer in found]), case.logits[task][:, 0])
        else:
            assert_near(figures(found, "012"), case.logits[task].softmax(dim=1))


def test_transcripts_beside_classes(tmp_path):
    case = saved_cases.transcripts(tmp_path)
    found = load_transferred(case.folder)(list(case.rows), batch_size=5, top=3)
    spelled = [answer for answer in found if isinstance(answer, TextAnswer)]
    padded = (case.logits["spelled"] == -100).all(dim=-1)
    paths = case.logits["spelled"].argmax(dim=-1).masked_fill(padded, -1).tolist()
    assert [answer.text for answer in spelled] == ["".join(" ab"[i] for i in collapsed(path)) for path in paths]
    assert len({answer.text for answer in spelled}) > 2
    assert_near(figures([a for a in found if isinstance(a, ClassAnswer)], "xyz"), case.logits["class"].softmax(dim=1))


def test_pairs_of_texts(tmp_path):
    case = saved_cases.pairs(tmp_path)
    model = load_transferred(case.folder)
    assert_near(figures(model(case.rows), model.classes[None]), case.logits[None].softmax(dim=1))
    one = model([*case.rows, "a text alone"])
    assert len(one) == 3
    assert "reads pairs of texts" in one.skipped[0].reason


def test_an_adapter_is_asked_with_the_network_that_it_changes(tmp_path):
    import tiny
    from hub.sharing_cases import lora, tokenizer

    from hf_transfer_kit.data import InputSizes, RawInputs

    tiny.TRANSFORMERS["bert"]()[0].save_pretrained(tmp_path / "base")
    case = lora(str(tmp_path / "base"))
    inputs = RawInputs("text", tokenizer(), InputSizes())
    save_results(tmp_path / "run", case.report, case.model, inputs, {}, license="mit")
    rows = ["a sentence of few words", "known w3"]
    with torch.no_grad():
        logits = case.model(**inputs(rows)).logits
    model = load_transferred(tmp_path / "run")
    assert_near(figures(model(rows), model.classes[None]), logits.softmax(dim=1))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near(dtype, tmp_path):
    case = saved_cases.classifier(tmp_path)
    found = load_transferred(case.folder, dtype=dtype, device="cpu")(case.rows)
    wanted = case.logits[None].softmax(dim=1)
    assert 0 < (figures(found, ("cat", "dog", "owl")) - wanted).abs().max() < 0.02
