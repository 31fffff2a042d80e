"""The page: what goes in and comes out of it, where it is served, and that it asks for its library."""

import json
import urllib.request

import pytest
from predicting import saved_cases

from hf_transfer_kit.commands.demo import main
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.predicting import demo
from hf_transfer_kit.predicting.demo import demo_page, open_page


def test_without_gradio_the_command_that_installs_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    for call in (lambda: demo_page(tmp_path), lambda: main([str(tmp_path)])):
        with pytest.raises(SettingsError, match=r'needs gradio, .*: pip install "hf_transfer_kit\[demo\]"'):
            call()


def test_what_is_mistyped_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda name: True)
    monkeypatch.chdir(tmp_path)
    saved_cases.classifier(tmp_path)
    for typed, sentence in (
        (["kept", "--port", "99999"], "port=99999 is out of range"),
        (["kept", "--top", "0"], "top=0 is out of range"),
        (["kept", "--share"], "--share is no flag here"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            main(typed)
    with pytest.raises(ModelError, match="Did you mean 'kept'"):
        main(["kep"])


def components(page):
    return [block["type"] for block in page.get_config_file()["components"]]


@pytest.mark.parametrize(
    ("make", "there"),
    [
        (saved_cases.classifier, {"image": 1, "label": 1}),
        (saved_cases.several_texts, {"textbox": 3, "label": 2}),
        (saved_cases.pairs, {"textbox": 2, "label": 1}),
        (saved_cases.transcripts, {"audio": 1, "textbox": 1, "label": 1}),
    ],
)
def test_an_input_a_kind_and_an_output_a_task(make, there, tmp_path):
    pytest.importorskip("gradio")
    found = components(demo_page(make(tmp_path).folder))
    assert {kind: found.count(kind) for kind in ("image", "audio", "textbox", "label") if kind in found} == there


def test_the_page_answers_on_this_machine_and_loads_nothing_from_elsewhere(tmp_path):
    client = pytest.importorskip("gradio_client")
    case = saved_cases.classifier(tmp_path, names=("cat <b>", "dog", "owl"))
    page = demo_page(case.folder)
    address = open_page(page)
    try:
        assert address.startswith("http://127.0.0.1:")
        assert page.share is False
        assert page.analytics_enabled is False
        html = urllib.request.urlopen(address).read().decode()
        assert "fonts.googleapis" not in html
        given = client.handle_file(case.rows[0])
        said = client.Client(address, verbose=False).predict(given, api_name="/predict_image")
        likely = case.logits[None][0].softmax(0)
        assert {each["label"]: each["confidence"] for each in said["confidences"]} == pytest.approx(
            dict(zip(("cat <b>", "dog", "owl"), likely.tolist(), strict=True)), abs=1e-5
        )
        assert json.dumps(said["label"])
        with pytest.raises(SettingsError, match="is taken"):
            open_page(demo_page(case.folder), port=int(address.rstrip("/").rpartition(":")[2]))
    finally:
        page.close()
