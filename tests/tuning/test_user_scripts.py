"""The callbacks in a user's own Trainer script: one argument is added, nothing else changes."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

FOLDER = Path(__file__).resolve().parents[1] / "user_scripts"
CALLBACKS = {
    "frozen and held": "FreezeLayers(first=2, quiet=True), L2SP(alpha=0.1)",
    "schedule": "GradualUnfreezing(every=0.2, quiet=True), BSS()",
    "maps and path": "DELTA(alpha=0.1), WeightInterpolation([0.5, 1.0], metric='loss')",
    "probe first": "FreezeSchedule.lp_ft(head_fraction=0.5, full_rate=0.1, quiet=True), L2SP(decoupled=True)",
}
LOGGED = {
    "frozen and held": "l2sp_penalty",
    "schedule": "freezing_stage",
    "maps and path": "delta_penalty",
    "probe first": "trainable_share",
}


def run(name: str, callbacks: str | None, folder: Path) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """Final weights and log of the script, with or without the one argument; the script itself stays as it is."""
    text = (FOLDER / f"{name}.py").read_text()
    if callbacks is not None:
        assert text.count("    model=model,\n") == 1
        text = text.replace("    model=model,\n", f"    model=model,\n    callbacks=[{callbacks}],\n")
        text = "from hf_transfer_kit import *\n" + text
    text += "\nimport json, pathlib\npathlib.Path(sys.argv[1], 'log.json').write_text(json.dumps(trainer.state.log_history))\n"
    script = folder / f"{name}.py"
    script.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(script), str(folder / "out")])
        runpy.run_path(str(script), run_name="__main__")
    return load_file(folder / "out" / "model.safetensors"), json.loads((folder / "out" / "log.json").read_text())


@pytest.fixture(scope="module", params=["image", "text", "audio"])
def unchanged(request, tmp_path_factory):
    """A script's name, and final weights and log of it as it stands."""
    return request.param, *run(request.param, None, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("kind", CALLBACKS)
def test_one_argument_is_all_that_changes(unchanged, kind, tmp_path):
    name, plain, plain_log = unchanged
    weights, log = run(name, CALLBACKS[kind], tmp_path)
    assert weights.keys() == plain.keys()
    assert any(not torch.equal(weights[key], plain[key]) for key in weights)
    assert any(LOGGED[kind] in entry for entry in log)
    assert [e["step"] for e in log if "loss" in e] == [e["step"] for e in plain_log if "loss" in e]
    assert all(torch.isfinite(value).all() for value in weights.values())
