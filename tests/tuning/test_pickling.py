"""A part that has been used can be copied and pickled, as tuners that start processes do, and then be used again."""

import copy
import pickle

import pytest
import term_cases
from part_cases import PARTS

from hf_transfer_kit import CoTuning, FreezeSchedule, layerwise_optimizer

ALL = {
    **PARTS,
    "FreezeSchedule": lambda source, rows: FreezeSchedule.lp_ft(quiet=True),
    "CoTuning": lambda source, rows: CoTuning(source=source),
}
COPIES = {"copied": copy.deepcopy, "pickled": lambda part: pickle.loads(pickle.dumps(part))}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", ALL)
def test_a_used_part_trains_again_as_a_new_one(name, how, training_arguments):
    def train(part):
        model, rows = term_cases.case("bert")
        args = training_arguments(max_steps=3, per_device_train_batch_size=2, learning_rate=0.05)
        optimizer = layerwise_optimizer(model, args, decay=0.5)
        trainer = term_cases.InOrder(
            model, args, train_dataset=rows, eval_dataset=rows, callbacks=[part], optimizer_cls_and_kwargs=optimizer
        )
        trainer.train()
        for callback in trainer.callback_handler.callbacks:
            COPIES[how](callback)
        COPIES[how](optimizer)
        return term_cases.state_of(model)

    source, rows = term_cases.case("bert", seed=1)
    part = ALL[name](source, rows)
    first = train(part)
    if name == "CoTuning":  # belongs to one training, and says so
        COPIES[how](part)
        return
    term_cases.assert_same_state(train(COPIES[how](part)), first)
