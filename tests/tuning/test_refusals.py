"""Values that mean nothing are refused when a part is made, in a sentence that names them."""

import pytest
import tiny
from peft import LoraConfig, get_peft_model
from snapshots import labelled_rows, moved, snapshot
from transformers import Trainer

from hf_transfer_kit import (
    BSS,
    DELTA,
    L2SP,
    CoTuning,
    FreezeLayers,
    GradualUnfreezing,
    LwF,
    find_learning_rate,
    replace_head,
)
from hf_transfer_kit.errors import SettingsError

NO_STRENGTHS = [float("inf"), float("nan"), "x", None, True, -1]
STRENGTHS = {
    "L2SP alpha": lambda value: L2SP(alpha=value),
    "L2SP beta": lambda value: L2SP(beta=value),
    "L2SP groups": lambda value: L2SP(groups={"head": value}),
    "DELTA alpha": lambda value: DELTA(alpha=value),
    "DELTA beta": lambda value: DELTA(beta=value),
    "BSS alpha": lambda value: BSS(alpha=value),
    "CoTuning alpha": lambda value: CoTuning(alpha=value),
    "LwF alpha": lambda value: LwF(alpha=value),
}


@pytest.mark.parametrize("value", NO_STRENGTHS, ids=repr)
@pytest.mark.parametrize("name", STRENGTHS)
def test_strengths_are_finite_numbers_of_0_or_more(name, value):
    owner, argument = name.split()
    with pytest.raises(SettingsError, match=rf"{owner}: {argument}.*(no finite number|negative)"):
        STRENGTHS[name](value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: FreezeLayers(1), "does not say what is meant"),
        (lambda: FreezeLayers(names=[]), "names nothing"),
        (lambda: FreezeLayers(names=[3]), "names nothing"),
        (lambda: FreezeLayers(fraction="half"), "no number"),
        (lambda: LwF(temperature="hot"), "temperature=hot"),
        (lambda: replace_head(tiny.TRANSFORMERS["bert"]()[0], "3"), "num_labels='3'"),
        (lambda: replace_head(tiny.TRANSFORMERS["bert"]()[0], 2.5), "num_labels=2.5"),
        (lambda: find_learning_rate(3), "pass a function"),
    ],
)
def test_values_without_a_meaning(call, words):
    with pytest.raises(SettingsError, match=words):
        call()


def test_a_trainer_in_place_of_what_makes_one(training_arguments):
    model, inputs = tiny.TRANSFORMERS["bert"]()
    trainer = Trainer(model, training_arguments(), train_dataset=labelled_rows(inputs))
    with pytest.raises(SettingsError, match="was given a Trainer"):
        find_learning_rate(trainer)


def test_what_something_else_thaws_stays_frozen(training_arguments):
    """peft makes all adapters trainable when ``disable_adapter`` ends, as for DPO's reference."""

    class WithReference(Trainer):
        def compute_loss(self, model, inputs, **kwargs):
            with model.disable_adapter():
                model(**inputs)
            return super().compute_loss(model, inputs, **kwargs)

    base, inputs = tiny.TRANSFORMERS["bert"]()
    model = get_peft_model(
        base, LoraConfig(target_modules=["query"], init_lora_weights=False, modules_to_save=["classifier"])
    )
    first = {n for n, _ in model.named_parameters() if "lora_" in n and "layer.0." in n}
    before = snapshot(model)
    part = GradualUnfreezing(every="2 steps", keep_frozen=2, adapters="staged", quiet=True)
    args = training_arguments(max_steps=4, learning_rate=0.1)
    WithReference(model, args, train_dataset=labelled_rows(inputs), callbacks=[part]).train()
    assert first
    assert not moved(before, model) & first
    assert moved(before, model)
