"""Every test is offline, on the CPU and seeded; `slow` ones run with --slow, `gpu` ones where CUDA is."""

import functools
import gc
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # else the last bits depend on where a tensor lies in memory
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core a worker

from pathlib import Path

import processes
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the long tests on the data beside the project")
    parser.addoption("--core", action="store_true", help="only the files that pyproject.toml names core")
    parser.addini("core", "files and folders of --core", type="paths")
    parser.addoption("--cold", action="store_true", help="start a Python anew for every process of a test")


def pytest_configure(config):
    processes.cold_always = processes.cold_always or config.getoption("--cold")


def pytest_ignore_collect(collection_path, config):
    if not config.getoption("--core") or collection_path.is_dir():
        return None
    return None if any(collection_path.is_relative_to(path) for path in config.getini("core")) else True


def pytest_collection_modifyitems(config, items):
    import torch

    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="long run: ask for it with --slow"))
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_collection_finish(session):
    """Trainer collects garbage in every run: what is imported by now need not be looked through each time."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session):
    gc.unfreeze()


@pytest.fixture(autouse=True)
def seeded():
    import random

    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Caches of tests, and of the scripts they start, are not the user's."""
    os.environ["HF_TRANSFER_KIT_CACHE"] = str(tmp_path_factory.mktemp("caches"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights beside the project."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the real data folder (../shared) is not beside this checkout")
    return SHARED


@pytest.fixture
def training_arguments(tmp_path):
    """Arguments of a quiet short run on the CPU in a temporary folder; keywords win."""
    from trainer_names import named
    from transformers import TrainingArguments

    def make(kind=TrainingArguments, **settings):
        given = {
            "output_dir": str(tmp_path / "run"),
            "use_cpu": True,
            "report_to": [],
            "save_strategy": "no",
            "disable_tqdm": True,
            "logging_steps": 1,
            "seed": 0,
        }
        return kind(**{**given, **named(settings)})

    return make


@pytest.fixture
def said():
    """What the kit and transformers have logged since the last call, from level info on."""
    import logging

    from transformers.utils import logging as messages

    texts = []
    handler = logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())
    before = messages.get_verbosity()
    messages.set_verbosity_info()
    messages.add_handler(handler)

    def take():
        text = "\n".join(texts)
        texts.clear()
        return text

    yield take
    logging.getLogger("transformers").removeHandler(handler)  # its own function refuses in some versions
    messages.set_verbosity(before)


@pytest.fixture
def registries_as_before():
    """What a test registers is gone after it."""
    from hf_transfer_kit.adaptation import OBJECTIVES, SCORES
    from hf_transfer_kit.adaptation.objectives import SOURCE_FREE
    from hf_transfer_kit.multitask import BALANCERS
    from hf_transfer_kit.selection import STRATEGIES

    kept = [(registry, dict(registry)) for registry in (STRATEGIES, OBJECTIVES, SOURCE_FREE, BALANCERS, SCORES)]
    yield
    for registry, members in kept:
        registry.clear()
        registry.update(members)


@pytest.fixture
def two_processes(tmp_path):
    """Runs a script's text in two processes with gloo, as under torchrun; its output is shown when it fails."""

    return functools.partial(processes.two_ranks, tmp_path)
