"""Parts inside the Trainers of other libraries: each does what it says there, or ends with a sentence; none is silent."""

import copy
import os
from pathlib import Path

import pytest
import tiny
import torch
import transformers as tf
from accelerate.state import GradientState
from datasets import Dataset
from part_cases import PARTS
from tokenizers import Tokenizer, models, pre_tokenizers

from hf_transfer_kit import CoTuning, FreezeLayers, L2SPFisher, WeightInterpolation, layer_groups, layerwise_optimizer
from hf_transfer_kit.errors import TransferKitError

TEXTS = [" ".join(f"w{(i * j) % 30}" for j in range(1, 8)) for i in range(12)]
QUIET = {
    "max_steps": 3, "report_to": [], "disable_tqdm": True, "use_cpu": True, "save_strategy": "no", "logging_steps": 1,
    "learning_rate": 0.01, "per_device_train_batch_size": 4,
}  # fmt: skip


def _tokenizer():
    words = ["[PAD]", "[UNK]", "<s>", "</s>", *(f"w{i}" for i in range(30))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", eos_token="</s>", bos_token="<s>"
    )


def _language_model():
    torch.manual_seed(0)
    return tiny.GENERATORS["llama_lm"]()[0]


def _sft(folder, parts, *, adapted=False):
    trl = pytest.importorskip("trl", reason="the extra hosts is not installed")
    model = _language_model()
    args = trl.SFTConfig(str(folder), max_length=16, bf16=False, gradient_checkpointing=False, **QUIET)
    options = {}
    if adapted:
        from peft import LoraConfig

        options["peft_config"] = LoraConfig(target_modules=["q_proj"])
    data = Dataset.from_dict({"text": TEXTS})
    return trl.SFTTrainer(
        model, args, train_dataset=data, processing_class=_tokenizer(), callbacks=parts(model, data), **options
    )


def _lora(folder, parts):
    return _sft(folder, parts, adapted=True)


def _dpo(folder, parts):
    trl = pytest.importorskip("trl", reason="the extra hosts is not installed")
    model = _language_model()
    args = trl.DPOConfig(str(folder), max_length=32, bf16=False, gradient_checkpointing=False, **QUIET)
    data = Dataset.from_dict({"prompt": TEXTS, "chosen": [" w1 w2"] * 12, "rejected": [" w3 w4 w5"] * 12})
    return trl.DPOTrainer(
        model, ref_model=copy.deepcopy(model), args=args, train_dataset=data, processing_class=_tokenizer(),
        callbacks=parts(model, data),
    )  # fmt: skip


def _sentences(folder):
    library = pytest.importorskip("sentence_transformers", reason="the extra hosts is not installed")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    tf.BertModel(tf.BertConfig(vocab_size=40, **sizes, **none)).save_pretrained(folder / "bert")
    _tokenizer().save_pretrained(folder / "bert")
    from sentence_transformers import models as modules

    words = modules.Transformer(str(folder / "bert"))
    return library.SentenceTransformer(modules=[words, modules.Pooling(16)], device="cpu")


def _sentence_trainer(folder, parts):
    library = pytest.importorskip("sentence_transformers", reason="the extra hosts is not installed")
    model = _sentences(folder)
    args = library.SentenceTransformerTrainingArguments(str(folder), **QUIET)
    data = Dataset.from_dict({"anchor": TEXTS, "positive": TEXTS[::-1]})
    from sentence_transformers import losses

    loss = losses.MultipleNegativesRankingLoss(model)
    return library.SentenceTransformerTrainer(
        model=model, args=args, train_dataset=data, loss=loss, callbacks=parts(model, data)
    )


def _setfit(folder, parts):
    setfit = pytest.importorskip("setfit", reason="the extra hosts is not installed")
    from sklearn.linear_model import LogisticRegression

    model = setfit.SetFitModel(model_body=_sentences(folder), model_head=LogisticRegression())
    args = setfit.TrainingArguments(output_dir=str(folder), batch_size=4, max_steps=3, report_to="none")
    data = Dataset.from_dict({"text": TEXTS, "label": [i % 2 for i in range(12)]})
    return setfit.Trainer(model=model, args=args, train_dataset=data, callbacks=parts(model.model_body, data))


HOSTS = {
    "SFTTrainer": _sft,
    "SFTTrainer + LoRA": _lora,
    "DPOTrainer": _dpo,
    "SentenceTransformerTrainer": _sentence_trainer,
    "SetFit": _setfit,
}
ALL = {**PARTS, "CoTuning": lambda source, rows: CoTuning(source=source)}


def _network(trainer):
    return getattr(trainer.model, "model_body", trainer.model)


def _trained(host, folder, name):
    folder.mkdir()

    def parts(model, data):
        return [ALL[name](copy.deepcopy(model), data)] if name else []

    trainer = HOSTS[host](folder, parts)
    before = {n: p.detach().clone() for n, p in _network(trainer).named_parameters()}
    trainer.train()
    return trainer, before


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("host", HOSTS)
def test_no_part_is_silent(host, name, tmp_path):
    plain, _ = _trained(host, tmp_path / "plain", None)
    try:
        trainer, before = _trained(host, tmp_path / "part", name)
    except TransferKitError:
        return
    network = _network(trainer)
    reference = dict(_network(plain).named_parameters())
    changed = {n for n, p in network.named_parameters() if not torch.equal(p, reference[n])}
    if "LoRA" not in host or name not in ("FreezeLayers", "GradualUnfreezing"):  # adapters learn in every layer
        assert changed, f"{name} changed nothing"
    if name == "FreezeLayers":
        frozen = set(layer_groups(network)[0].parameters)
        own = {n for n in frozen if "lora_" not in n}
        assert all(torch.equal(dict(network.named_parameters())[n], before[n]) for n in own)
    if name in ("L2SP", "DELTA") and host != "SetFit":  # which logs nothing in so few steps
        history = trainer.state.log_history
        assert any(value > 0 for entry in history for key, value in entry.items() if key.endswith("_penalty"))


@pytest.mark.parametrize("host", ["SFTTrainer", "SFTTrainer + LoRA", "DPOTrainer", "SentenceTransformerTrainer"])
def test_rates_by_depth_as_an_attribute(host, tmp_path):
    trainer = HOSTS[host](tmp_path, lambda model, data: [])
    trainer.optimizer_cls_and_kwargs = layerwise_optimizer(trainer.model, trainer.args, decay=0.5)
    trainer.train()
    names = {id(p): n for n, p in trainer.model.named_parameters()}
    rates = {names[id(p)]: g["initial_lr"] for g in trainer.optimizer.param_groups for p in g["params"]}
    groups = [group for group in layer_groups(trainer.model) if group.parameters]
    assert len(set(rates.values())) == len(groups)


def test_a_search_trains_each_trial_with_its_rate_by_depth(tmp_path):
    pytest.importorskip("optuna", reason="the extra hosts is not installed")
    seen = []

    class Watches(tf.TrainerCallback):
        def on_train_begin(self, args, state, control, optimizer=None, **kwargs):
            seen.append(
                (args.learning_rate, sorted({g["initial_lr"] / args.learning_rate for g in optimizer.param_groups}))
            )

    rows = [{"input_ids": torch.arange(3, 9), "labels": i % 3} for i in range(8)]
    args = tf.TrainingArguments(str(tmp_path), eval_strategy="steps", **QUIET)
    trainer = tf.Trainer(
        model_init=lambda: tiny.TRANSFORMERS["bert"]()[0], args=args, train_dataset=rows, eval_dataset=rows,
        callbacks=[Watches(), FreezeLayers(first=1, quiet=True), WeightInterpolation(eval_dataset=rows)],
        optimizer_cls_and_kwargs=layerwise_optimizer(None, args, decay=0.5),
    )  # fmt: skip
    trainer.hyperparameter_search(
        lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-3, 1e-1)}, backend="optuna", n_trials=2
    )
    assert len({rate for rate, _ in seen}) == 2
    assert all(factors == pytest.approx([1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]) for _, factors in seen)


def test_a_search_that_starts_processes_takes_every_part(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="ray is not installed")
    from ray import tune

    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    )
    GradientState._reset_state()  # in which accelerate keeps loaders of earlier trainings, and ray pickles it
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        rows = [{"input_ids": torch.arange(3, 9), "labels": i % 3} for i in range(8)]
        args = tf.TrainingArguments(str(tmp_path), eval_strategy="steps", **QUIET)
        parts = [
            PARTS[name](None, rows) for name in ("FreezeLayers", "L2SP", "L2SPFisher", "DELTA", "WeightInterpolation")
        ]
        parts[2] = L2SPFisher(dataset=rows, num_samples=4, name="fisher")
        trainer = tf.Trainer(
            model_init=lambda: tiny.TRANSFORMERS["bert"]()[0], args=args, train_dataset=rows, eval_dataset=rows,
            callbacks=parts, optimizer_cls_and_kwargs=layerwise_optimizer(None, args, decay=0.5),
        )  # fmt: skip
        best = trainer.hyperparameter_search(
            lambda trial: {"learning_rate": tune.loguniform(1e-3, 1e-1)}, backend="ray", n_trials=2,
            resources_per_trial={"cpu": 1}, storage_path=str(tmp_path),
        )  # fmt: skip
    finally:
        ray.shutdown()
    results = best.run_summary.dataframe()
    assert len(set(results["config/learning_rate"])) == 2
    assert len(set(results["eval_loss"])) == 2
