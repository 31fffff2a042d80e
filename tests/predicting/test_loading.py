"""Loading: a zero-shot network with further classes, an open-set network with its rejection, and folders that are none."""

import json
import shutil

import pytest
import torch
from hub.sharing_cases import image_processor, zero_shot
from hub.test_raw_inputs import vit_processor
from predicting import saved_cases
from tiny import timm_wrapped

from hf_transfer_kit import load_transferred
from hf_transfer_kit.adaptation import Rejection
from hf_transfer_kit.data import InputSizes, RawInputs
from hf_transfer_kit.errors import DataError, ModelError, SettingsError
from hf_transfer_kit.hub import save_inputs, save_results


@pytest.fixture
def unseen(tmp_path):
    case = zero_shot()
    inputs = RawInputs("image", image_processor(), InputSizes())
    save_results(tmp_path / "run", case.report, case.model, inputs, {}, license="mit")
    return tmp_path / "run", case.model, inputs, saved_cases.pictures(tmp_path / "pictures")


def scores(found):
    return [dict(answer.top) for answer in found]


def test_a_class_is_added_without_training(unseen, tmp_path):
    folder, model, inputs, files = unseen
    before = scores(load_transferred(folder)(files, top=9))
    (tmp_path / "classes.csv").write_text("class,stripes,hooves,flies\nokapi,0.5,1,0\n")
    asking = load_transferred(folder, classes=tmp_path / "classes.csv")
    assert asking.classes == {None: ("zebra", "horse", "eagle", "okapi")}
    after = scores(asking(files, top=9))
    model.set_classes(tmp_path / "classes.csv")
    with torch.no_grad():
        logits = model(**inputs(files)).logits
    for row, old, new in zip(logits.tolist(), before, after, strict=True):
        assert [new[name] for name in asking.classes[None]] == pytest.approx(row, abs=1e-5)
        assert {name: new[name] for name in old} == old
    record = asking(files[0])[0].record()
    assert set(record) == {"row", "label", "score", "top"}


def test_classes_are_for_zero_shot_networks_alone(unseen, tmp_path):
    case = saved_cases.classifier(tmp_path)
    with pytest.raises(SettingsError, match=r"Classes can be added to a network of zero_shot\.py alone"):
        load_transferred(case.folder, classes={"a": {"x": 1}})
    with pytest.raises(DataError, match="stripes"):
        load_transferred(unseen[0], classes={"okapi": {"strips": 1}})


def test_an_open_set_network_says_unknown(tmp_path):
    case = saved_cases.classifier(tmp_path)
    probability = case.logits[None].softmax(dim=1).max(dim=1).values
    middle = float(probability.median())
    Rejection("confidence", threshold=-middle + 1e-6).save(case.folder)
    found = load_transferred(case.folder)(case.rows)
    rejected = (probability < middle - 1e-6).tolist()
    assert 0 < sum(rejected) < len(rejected)
    assert [answer.rejected for answer in found] == rejected
    best = [("cat", "dog", "owl")[i] for i in case.logits[None].argmax(dim=1).tolist()]
    assert [answer.label for answer in found] == ["unknown" if r else b for r, b in zip(rejected, best, strict=True)]
    unknown = next(answer for answer in found if answer.rejected)
    assert unknown.probability is None
    assert unknown.lines()[0]["nearest_known"] == unknown.top[0][0]
    (case.folder / "rejection.json").write_text("{")
    with pytest.raises(ModelError, match=r"rejection\.json in .* cannot be read"):
        load_transferred(case.folder)


def test_a_snapshot_of_links_is_read_as_the_folder_is(tmp_path):
    case = saved_cases.classifier(tmp_path)
    snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    shutil.copytree(case.folder, blobs)
    for number, file in enumerate(sorted(blobs.iterdir())):
        (snapshot / file.name).symlink_to(file.rename(blobs / str(number)))
    found = load_transferred(snapshot)(case.rows)
    assert [answer.label for answer in found] == [a.label for a in load_transferred(case.folder)(case.rows)]


def test_weights_and_device_are_as_asked(tmp_path):
    case = saved_cases.classifier(tmp_path)
    model = load_transferred(case.folder, device="cpu", dtype="bfloat16")
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}
    assert not model.network.training
    assert repr(model) == "TransferredModel(kept, reads image; classification (3: cat, dog, owl))"
    for wrong in ({"device": "gpu"}, {"dtype": "float7"}, {"dtype": 3}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            load_transferred(case.folder, **wrong)
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="device='cuda' cannot be used"):
            load_transferred(case.folder, device="cuda")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a transferred model, and what is none."""
    monkeypatch.chdir(tmp_path)
    folder = saved_cases.classifier(tmp_path / "outputs").folder.rename(tmp_path / "outputs" / "transfer")
    (folder / "pictures").mkdir()
    (tmp_path / "advised").mkdir()
    (tmp_path / "advised" / "report.json").write_text("{}")
    shutil.copytree(folder, tmp_path / "advised" / ".unfinished-1-x")  # of a run that was killed
    (tmp_path / "empty").mkdir()
    network, _ = timm_wrapped("resnet18", 3)
    network.save_pretrained(tmp_path / "pretrained")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("outputs/transfr", r"There is no folder outputs/transfr\. Did you mean 'outputs/transfer'\?"),
        ("./nowhere/at/all", r"There is no folder \./nowhere/at/all\. There are outputs/transfer\."),
        (
            "transfer",
            r"transfer is no folder here and could not be loaded from the Hub .*Did you mean 'outputs/transfer'\?",
        ),
        ("outputs", r"outputs is no transferred model, but holds some\. Give one of these: outputs/transfer\."),
        ("outputs/transfer/pictures", r"is a part of a run; give the folder around it, outputs/transfer\."),
        ("outputs/transfer/config.json", r"is a file; give the folder that it lies in, outputs/transfer\."),
        ("advised", r"The run in advised has left no network"),
        ("empty", r"empty is no transferred model: it holds neither a network nor inputs\.json"),
        ("pretrained", r"pretrained holds a network, but no inputs\.json"),
        ("adapter", r"adapter holds an adapter without the network that it changes"),
    ],
)
def test_a_folder_that_is_none_says_what_to_do(name, sentence, place):
    with pytest.raises(ModelError, match=sentence):
        load_transferred(name)


def test_a_damaged_model_is_told(place):
    (place / "outputs" / "transfer" / "model.safetensors").write_text("no")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_transferred("outputs/transfer")
    settings = json.loads((place / "outputs" / "transfer" / "inputs.json").read_text())
    save_inputs(place / "pretrained", RawInputs("image", vit_processor(24), InputSizes()))
    del settings["modality"]
    (place / "pretrained" / "inputs.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="keeps no inputs"):
        load_transferred("pretrained")
    with pytest.raises(SettingsError, match="has no revisions"):
        load_transferred("outputs/transfer", revision="main")
