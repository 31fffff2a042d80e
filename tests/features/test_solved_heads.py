"""A head solved on what it reads: in every architecture its logits are the regression's, or it is refused in a sentence."""

import numpy as np
import pytest
import timm
import tiny
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForAudioClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES

from hf_transfer_kit import solve_head
from hf_transfer_kit.backbones import find_head
from hf_transfer_kit.backbones.feature_maps import logits_layer
from hf_transfer_kit.errors import DataError, ModelError, NotFiniteError, SettingsError
from hf_transfer_kit.features.head_solutions import Labelled, layer_of_classes

CANNOT = {"bert_tokens": "logits are not what"}
"""Classifier -> why its head cannot be solved."""
ROWS = 30


def rows_for(inputs, count=ROWS, outputs=3):
    """Rows like the inputs, changed by chance, with a class each."""
    draw = torch.Generator().manual_seed(0)
    rows = []
    for row in range(count):
        values = {}
        for name, value in inputs.items():
            one = value[row % len(value)].clone()
            if one.is_floating_point():
                one = one + torch.randn(one.shape, generator=draw) + row % outputs
            elif name == "input_ids":
                one[:-1] = torch.randint(3, 13, one[:-1].shape, generator=draw)
            values[name] = one
        rows.append({**values, "labels": row % outputs})
    return rows


def collate(rows):
    return {name: torch.stack([torch.as_tensor(row[name]) for row in rows]) for name in rows[0]}


def logits_of(model, rows):
    batch = {name: value for name, value in collate(rows).items() if name != "labels"}
    with torch.no_grad():
        found = tiny.run(model.eval(), batch)
    return found if isinstance(found, torch.Tensor) else found.logits


def outputs_of(model, inputs):
    return logits_of(model, rows_for(inputs, 2)).shape[-1]


SOME = ("timm/resnet18", "timm/vgg11", "wrapped/mobilenetv2_100", "wrapped/vit_tiny_patch16_224", "wrapped/vgg11")


@pytest.mark.parametrize("name", [*SOME, *tiny.TRANSFORMERS])
def test_logits_are_the_regressions_in_every_architecture(name):
    torch.manual_seed(0)
    model, inputs = tiny.classifiers()[name]()
    if name in CANNOT:
        before = {key: value.clone() for key, value in model.state_dict().items()}
        with pytest.raises(ModelError, match=CANNOT[name]):
            solve_head(model, rows_for(inputs), collator=collate)
        assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
        return
    rows = rows_for(inputs, outputs=outputs_of(model, inputs))
    layer_name, layer = logits_layer(model)
    seen = []
    handle = layer.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
    logits_of(model, rows)
    handle.remove()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state, modes = torch.get_rng_state(), [module.training for module in model.train().modules()]

    solved = solve_head(model, rows, collator=collate, batch_size=ROWS)

    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    changed = {key for key, value in model.state_dict().items() if not torch.equal(before[key], value)}
    written = {layer_name, *(["projector"] if solved.before is not None else [])}
    assert changed <= {f"{own}.{part}" for own in written for part in ("weight", "bias")}
    assert f"{layer_name}.weight" in changed
    assert (solved.before is not None) == hasattr(model, "projector")
    logits = logits_of(model, rows)
    if seen[-1].dim() == 2 and solved.before is None:
        x = seen[-1].numpy()
        assert np.abs(logits.numpy() - (x @ solved.weight.T + solved.bias)).max() < 1e-4 * max(1, logits.abs().max())
        own = layer_of_classes(
            Labelled(x, np.arange(ROWS) % logits.shape[1]), logits.shape[1], bias=layer.bias is not None
        )
        assert own.strength == solved.strength
        assert np.abs(logits.numpy() - own(x)).max() < 1e-2 * np.abs(own(x)).max()


SPEECH = sorted(set(MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES) - {"audio-spectrogram-transformer"})
"""Types of models whose classifier pools what a projector gives."""


def speech_classifier(kind, **settings):
    """A small one with an input of two rows."""
    config = AutoConfig.for_model(
        kind, hidden_size=16, num_hidden_layers=5, num_attention_heads=2, intermediate_size=16, classifier_proj_size=12,
        num_labels=3, conv_dim=(8, 8), conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, feature_projection_input_dim=8, num_mel_bins=8,
        d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, max_source_positions=50, squeeze_factor=1, **settings,
    )  # fmt: skip
    model = AutoModelForAudioClassification.from_config(config).eval()
    draw = torch.Generator().manual_seed(0)
    if kind == "whisper":
        return model, {"input_features": torch.randn(2, 8, 100, generator=draw)}
    if kind == "wav2vec2-bert":
        return model, {"input_features": torch.randn(2, 20, 8, generator=draw)}
    return model, {"input_values": torch.randn(2, 400, generator=draw)}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", SPEECH)
def test_speech_heads_are_the_regression_on_pooled_positions(kind, weighted):
    torch.manual_seed(0)
    model, inputs = speech_classifier(kind, use_weighted_layer_sum=weighted)
    rows = rows_for(inputs)
    seen = []
    handle = model.projector.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
    logits_of(model, rows)
    handle.remove()
    pooled = seen[-1].mean(1).numpy()
    solved = solve_head(model, rows, collator=collate, batch_size=ROWS)
    own = layer_of_classes(Labelled(pooled, np.arange(ROWS) % 3), 3)
    logits = logits_of(model, rows).numpy()
    assert own.strength == solved.strength
    assert np.abs(logits - own(pooled)).max() < 1e-2 * np.abs(own(pooled)).max()
    # What learns next may turn anywhere: the projection is a basis.
    first = model.projector.weight.detach()
    assert torch.allclose(first @ first.T, torch.eye(len(first)), atol=1e-5)


@pytest.mark.parametrize("width", [2, 12, 24])
def test_projections_of_any_width_are_solved_or_kept(width):
    """Narrower than the classes are many the product is no free one; wider than the features rows are left over."""
    torch.manual_seed(0)
    model, inputs = speech_classifier("wav2vec2")
    model.projector, model.classifier = nn.Linear(16, width), nn.Linear(width, 3)
    rows, kept = rows_for(inputs), model.projector.weight.detach().clone()
    read = model.classifier if width == 2 else model.projector
    seen = []
    handle = read.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
    logits_of(model, rows)
    handle.remove()
    solved = solve_head(model, rows, collator=collate)
    assert (solved.before is None) == (width == 2)
    assert torch.equal(model.projector.weight, kept) == (width == 2)
    features = (seen[-1] if width == 2 else seen[-1].mean(1)).numpy()
    wanted = layer_of_classes(Labelled(features, np.arange(ROWS) % 3), 3)(features)
    assert np.abs(logits_of(model, rows).numpy() - wanted).max() < 1e-2 * np.abs(wanted).max()


def test_heads_of_several_layers_keep_what_stands_before_the_last():
    model, inputs = tiny.TRANSFORMERS["roberta"]()
    dense = model.classifier.dense.weight.clone()
    assert len(list(find_head(model)["classifier"].parameters())) > 2
    solve_head(model, rows_for(inputs), collator=collate)
    assert torch.equal(model.classifier.dense.weight, dense)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once_at_the_end(dtype):
    torch.manual_seed(0)
    model, inputs = tiny.TRANSFORMERS["vit"]()
    rows = rows_for(inputs)
    model.to(dtype)
    rows = [{**row, "pixel_values": row["pixel_values"].to(dtype)} for row in rows]
    solved = solve_head(model, rows, collator=collate)
    assert model.classifier.weight.dtype is dtype
    assert torch.equal(model.classifier.weight, torch.from_numpy(solved.weight).to(dtype))


def test_peft_heads_are_solved_where_they_are_used():
    from peft import LoraConfig, get_peft_model

    model, inputs = tiny.TRANSFORMERS["bert"]()
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["query"], modules_to_save=["classifier"]))
    rows = rows_for(inputs)
    solved = solve_head(adapted, rows, collator=collate)
    with torch.no_grad():
        seen = adapted.base_model.model.classifier.modules_to_save["default"].weight.detach()
    assert np.allclose(seen.numpy(), solved.weight)


@pytest.mark.parametrize("task_type", ["regression", "multi_label"])
def test_numbers_and_several_labels(task_type):
    torch.manual_seed(0)
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    rows = rows_for(inputs)
    for place, row in enumerate(rows):
        several = [float(place % 3 == 0), float(place % 3 == 2), 0.0]
        row["labels"] = torch.tensor(several if task_type == "multi_label" else [several[0], 2.0 * several[1], 7.0])
    solve_head(model, rows, collator=collate, task_type=task_type)
    logits, wanted = logits_of(model, rows), collate(rows)["labels"]
    if task_type == "multi_label":
        assert ((logits > 0) == (wanted == 1)).float().mean() > 0.9
    else:
        assert (logits - wanted).square().mean(0).lt(0.5 * wanted.var(0) + 1e-6).all()


def test_the_drawn_rows_are_as_many_as_were_asked_for():
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    assert solve_head(model, rows_for(inputs), collator=collate, max_rows=12).rows == 12


class Scaled(nn.Module):
    """Its logits are not its last layer's."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        return 2 * self.head(self.body(x).relu())


def test_what_cannot_be_solved_is_a_sentence():
    model, inputs = tiny.TRANSFORMERS["resnet"]()
    rows = rows_for(inputs)
    unlabelled = [{"pixel_values": row["pixel_values"]} for row in rows]
    with pytest.raises(DataError, match="no labels"):
        solve_head(model, unlabelled, collator=collate)
    with pytest.raises(DataError, match="one class a row, below 3"):
        solve_head(model, [{**row, "labels": 3} for row in rows], collator=collate)
    with pytest.raises(DataError, match="No row has a class"):
        solve_head(model, [{**row, "labels": -100} for row in rows], collator=collate)
    with pytest.raises(SettingsError, match="task_type='ctc' has no head to solve"):
        solve_head(model, rows, collator=collate, task_type="ctc")
    with pytest.raises(SettingsError, match="class_weights has the shape"):
        solve_head(model, rows, collator=collate, class_weights=[1.0])
    broken = [{**row, "pixel_values": row["pixel_values"] * float("nan")} for row in rows]
    with pytest.raises((NotFiniteError, ModelError), match=r"not finite|cannot be solved"):
        solve_head(model, broken, collator=collate)
    distilled = timm.create_model("deit_tiny_distilled_patch16_224", img_size=32, depth=2, num_classes=3)
    with pytest.raises(ModelError, match="several layers give logits"):
        solve_head(distilled, rows, collator=collate)
    scaled = [{"x": torch.randn(4), "labels": place % 3} for place in range(9)]
    with pytest.raises(ModelError, match="logits are not what 'head' gives"):
        solve_head(Scaled(), scaled, collator=collate)
