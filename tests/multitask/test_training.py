"""The whole thing in the stock Trainer: data, model, balancer and affinity, stopped and resumed."""

import pytest
import torch
from multitask_packed import picture_model
from torch.utils.data import default_collate
from transformers import Trainer

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask import (
    BALANCERS,
    BalancingEpochs,
    MultiTaskCollator,
    MultiTaskDataset,
    MultiTaskEpochs,
    Source,
    TaskAffinity,
)
from hf_transfer_kit.tuning import LogScalars


def _sources():
    def rows(count, channels, classes, seed):
        generator = torch.Generator().manual_seed(seed)
        return [
            {"pixel_values": torch.randn(channels, 32, 32, generator=generator), "y": row % classes}
            for row in range(count)
        ]

    return {
        "photos": Source(rows(10, 3, 4, 0), {"real": "y"}, "rgb"),
        "drawings": Source(rows(6, 1, 2, 1), {"drawn": "y"}, "grey"),
    }


@pytest.fixture
def fit(training_arguments):
    def run(balancer, resume=None, **settings):
        model = picture_model()
        try:
            balanced = BALANCERS[balancer](["real", "drawn"])
        except SettingsError as error:
            if "lacks packages" in str(error):
                pytest.skip(str(error))
            raise
        model.balancer = TaskAffinity(balanced, every=2, sum_rows=True)
        trainer = Trainer(
            model,
            training_arguments(per_device_train_batch_size=4, max_steps=7, learning_rate=1e-2, **settings),
            train_dataset=MultiTaskDataset(_sources(), mixing="equal"),
            data_collator=MultiTaskCollator({"rgb": default_collate, "grey": default_collate}, model.config.tasks),
            callbacks=[MultiTaskEpochs(), BalancingEpochs(), LogScalars()],
        )
        trainer.train(resume_from_checkpoint=resume)
        return model, trainer.state.log_history

    return run


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_resumed_run_ends_bit_for_bit_where_one_that_never_stopped_ends(fit, tmp_path, balancer):
    whole, log = fit(balancer, save_strategy="steps", save_steps=3)
    resumed, _ = fit(balancer, resume=str(tmp_path / "run" / "checkpoint-3"))
    expected, found = whole.state_dict(), resumed.state_dict()
    assert set(expected) == set(found)
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    assert torch.equal(whole.balancer.matrix().nan_to_num(9), resumed.balancer.matrix().nan_to_num(9))
    assert {"loss_real", "loss_drawn"} <= {name for entry in log for name in entry}
