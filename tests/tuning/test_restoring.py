"""A resumed ViT goes on from the checkpoint's weights, not from the pretrained ones."""

import pytest
import tiny
import torch
from transformers import Trainer

from hf_transfer_kit.tuning import FreezeLayers
from hf_transfer_kit.tuning.restoring import RestoreWeights


@pytest.mark.parametrize("name", ["vit", "bert"])
def test_two_and_two_steps_are_four(name, training_arguments, tmp_path):
    def fit(resume=None):
        torch.manual_seed(0)
        model, inputs = tiny.TRANSFORMERS[name]()
        rows = [{key: value[0] for key, value in inputs.items()} | {"labels": i % 2} for i in range(8)]
        settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-2}
        trainer = Trainer(
            model,
            training_arguments(output_dir=str(tmp_path / "run"), **settings),
            train_dataset=rows,
            callbacks=[RestoreWeights(resume), FreezeLayers(first=1, quiet=True)],
        )
        trainer.train(resume_from_checkpoint=resume)
        return {key: value.clone() for key, value in model.state_dict().items()}

    whole = fit()
    resumed = fit(str(tmp_path / "run" / "checkpoint-2"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
