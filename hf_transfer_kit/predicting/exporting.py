"""A transferred model as an ONNX file, which says what the network says: both are asked before the file is kept."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.adapters import is_adapted, merge_adapters, merged
from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.data.images import image_geometry
from hf_transfer_kit.errors import ModelError, first_line
from hf_transfer_kit.predicting.onnx_files import MADE_BY, check_onnx_file, check_onnx_installed, placed
from hf_transfer_kit.predicting.saved_models import Reading
from hf_transfer_kit.predicting.transferred import TransferredModel, load_transferred
from hf_transfer_kit.predicting.trial_rows import trial_batch
from hf_transfer_kit.task_types import CTC

TOLERANCE = 1e-4
"""How far logits may be apart, as a share of the largest."""
OUTPUT = "logits"
_TRIALS = (1, 3)
_LARGEST_FILE = 2**31 - 2**24  # protobuf holds no more in one file; the graph needs some of it


@dataclass(frozen=True)
class OnnxExport:
    """A file that was written, and how near it is to the network.

    Args:
        path: Of the file.
        inputs: Names of its inputs.
        difference: Largest absolute difference of a logit from the network's, over the rows that both were given.
        largest: Largest absolute logit of these rows.
    """

    path: Path
    inputs: tuple[str, ...]
    difference: float
    largest: float


@checked_arguments()
def export_onnx(
    folder_or_model: str | Path | TransferredModel,
    path: str | Path,
    *,
    overwrite: bool = False,
    revision: str | None = None,
) -> OnnxExport:
    """Writes a classifier or regressor of pictures or texts as one ONNX file, adapters merged, in float32.

    Inputs are named as the network's (``pixel_values`` of shape (batch, channels, height, width); ``input_ids`` and
    what else the tokenizer makes, of shape (batch, tokens), both sizes free); the output is ``logits``. onnxruntime
    and the network are given random rows, 1 and 3 at once, texts of different lengths padded; where a logit differs by
    more than 1e-4 of the largest, no file is kept. Its metadata say, as JSON, what the logits mean
    (``hf_transfer_kit.id2label``, ``.task_type``) and what is done to rows before (``.preprocessing``).

    Args:
        folder_or_model: A run's folder, a Hub name, or what ``load_transferred`` gave.
        path: Of the file, which ends in ``.onnx``. In a run's folder it is entered in the manifest.
        overwrite: Whether a file that an export wrote is replaced; what others made never is.
        revision: Branch, tag or commit of a model on the Hub.

    Raises:
        SettingsError: When the extra ``onnx`` is not installed, or the file may not be written.
        ModelError: When the model is none that can be exported (several tasks, classes never seen, sounds, unknown
            rows), torch cannot write it as ONNX, or the file says something else than the network.
        FullDiskError: When the disk is full.

    Example:
        >>> import onnx, onnxruntime, onnxscript
        >>> made = export_onnx(finished, "model.onnx")
        >>> made.inputs, made.difference <= 1e-4 * made.largest
        (('pixel_values',), True)
    """
    check_onnx_installed()
    path = check_onnx_file(path, overwrite=overwrite)
    model = folder_or_model
    if not isinstance(model, TransferredModel):
        model = load_transferred(model, device="cpu", revision=revision)
    reading = exportable_reading(model)
    network = _plain_copy(model.network)
    _check_fits(network, model.name)
    with seeded_eval_mode(network, 0):
        example = trial_batch(reading, 2, seed=2)
        with placed(path) as staged:
            _write(_Logits(network, tuple(example)), example, staged, model, reading)
            difference, largest = _compared(network, reading, staged, model.name)
    return OnnxExport(path, tuple(example), difference, largest)


def exportable_reading(model: TransferredModel) -> Reading:
    """How a model reads rows that can be exported.

    Args:
        model: Any that a recipe leaves.

    Raises:
        ModelError: When it is of a kind that one file with one output does not hold.
    """
    (reading, *_), others = model.readings, "Ask it in Python with load_transferred."
    (meaning, *_) = reading.meanings
    if model.tasks:
        raise ModelError(
            f"{model.name} is a network of several tasks ({', '.join(model.tasks)}), and export writes networks of "
            f"one. {others}"
        )
    if meaning.measure == "score":
        raise ModelError(
            f"{model.name} is a zero-shot network, whose classes come from a table at run time, which an ONNX file "
            f"does not hold. {others}"
        )
    if meaning.type == CTC or reading.kind == "audio":
        what = "spells what it hears" if meaning.type == CTC else "reads sounds"
        raise ModelError(f"{model.name} {what}, and export writes networks of pictures and texts. {others}")
    if meaning.rejection is not None:
        raise ModelError(
            f"{model.name} rejects rows of unknown classes by a rule beside the network, which an ONNX file does not "
            f"hold: it would give each a known class. {others}"
        )
    return reading


class _Logits(nn.Module):
    """The network as a function of its tensors, in order."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.names = names
        self.eval()

    def forward(self, *values: Tensor) -> Tensor:
        return cast(Tensor, self.network(**dict(zip(self.names, values, strict=True))).logits)


def _plain_copy(network: nn.Module) -> nn.Module:
    """On the CPU, without adapters; the network itself where it is that already."""
    if is_adapted(network):
        network = merged(network)
    elif getattr(network, "peft_config", None):
        network = copy.deepcopy(network)
        merge_adapters(network)
    if all(parameter.device.type == "cpu" for parameter in network.parameters()):
        return network
    return copy.deepcopy(network).cpu()


def _check_fits(network: nn.Module, name: str) -> None:
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    if size > _LARGEST_FILE:
        raise ModelError(
            f"{name} has {size / 2**30:.1f} GiB of weights, and one ONNX file holds 2. Ask it in Python with "
            "load_transferred, or transfer a smaller network."
        )


def _write(
    network: _Logits, example: Mapping[str, Tensor], path: Path, model: TransferredModel, reading: Reading
) -> None:
    axes = {0: "batch", 1: "tokens"} if reading.kind == "text" else {0: "batch"}
    try:
        with _quiet(), _plain_attention(network.network):
            program: Any = torch.onnx.export(
                network,
                tuple(example.values()),
                input_names=list(example),
                output_names=[OUTPUT],
                dynamic_shapes=((axes,) * len(example),),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # whatever a network does that ONNX has no word for
        kind = type(network.network).__name__
        raise ModelError(
            f"{model.name}, a {kind}, cannot be written as ONNX: {_first_cause(error)}. Ask it in Python with "
            "load_transferred."
        ) from error
    program.model.metadata_props.update(_metadata(model, reading))
    program.save(str(path), external_data=False)


def _first_cause(error: BaseException) -> str:
    """In words: what torch says around it is advice to its own authors."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


@contextmanager
def _plain_attention(network: nn.Module) -> Iterator[None]:
    """Attention by matrix products inside: torch's own of several sizes at once is not always written as ONNX."""
    before = getattr(getattr(network, "config", None), "_attn_implementation", None)
    change: Any = getattr(network, "set_attn_implementation", None)
    if change is None or before in (None, "eager"):
        yield
        return
    change("eager")
    try:
        yield
    finally:
        change(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter and the networks' code say while they are traced, which is for their authors."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _metadata(model: TransferredModel, reading: Reading) -> dict[str, str]:
    """What the file says of itself: plain texts, and JSON."""
    import hf_transfer_kit

    (meaning,) = reading.meanings
    facts = {
        "id2label": dict(enumerate(meaning.names)),
        "task_type": meaning.type,
        "modality": reading.kind,
        "preprocessing": preprocessing_facts(reading),
    }
    told = {f"hf_transfer_kit.{name}": json.dumps(value, ensure_ascii=True) for name, value in facts.items()}
    return {MADE_BY: hf_transfer_kit.__version__, **told}


def preprocessing_facts(reading: Reading) -> dict[str, Any]:
    """What is done to a row before the network, as plain data.

    Args:
        reading: Of pictures or texts.

    Returns:
        Of pictures ``height``, ``width``, ``channels``, ``mean`` and ``std`` (of each channel, after division by 255)
        and the ``processor``'s own settings; of texts the ``tokenizer``'s class, ``max_length``, ``padding_side``,
        ``pad_token_id``, and whether a row is a ``pair`` or a list of ``words``.
    """
    inputs = reading.inputs
    if reading.kind == "text":
        return {
            "tokenizer": type(inputs.processor).__name__,
            "max_length": inputs.sizes.max_length,
            "padding_side": inputs.processor.padding_side,
            "pad_token_id": inputs.processor.pad_token_id,
            "pair": len(reading.columns) == 2,
            "words": reading.words,
        }
    geometry = image_geometry(inputs.processor, image_size=inputs.sizes.image_size, channels=inputs.sizes.channels)
    height, width = geometry.size
    own = getattr(inputs.processor, "data_config", None) or inputs.processor.to_dict()
    return {
        "height": height,
        "width": width,
        "channels": geometry.channels,
        "mean": list(geometry.mean),
        "std": list(geometry.std),
        "processor": json.loads(json.dumps(own, default=str)),
    }


def _compared(network: nn.Module, reading: Reading, path: Path, name: str) -> tuple[float, float]:
    """Largest difference and largest logit, over rows of both.

    Raises:
        ModelError: When they are too far apart.
    """
    batches = [trial_batch(reading, rows, seed=rows) for rows in _TRIALS]
    with torch.no_grad():
        pairs = [(network(**batch).logits.double(), _by_runtime(path, batch, name)) for batch in batches]
    if any(ours.shape != theirs.shape for ours, theirs in pairs):
        shapes = ", ".join(f"{tuple(theirs.shape)} for {tuple(ours.shape)}" for ours, theirs in pairs)
        raise ModelError(
            f"{name} as ONNX gives logits of other shapes than the network ({shapes}). No file was kept; ask it in "
            "Python with load_transferred."
        )
    difference = max(float((ours - theirs).abs().max()) for ours, theirs in pairs)
    largest = max(float(ours.abs().max()) for ours, _ in pairs)
    if not difference <= TOLERANCE * largest:  # not a number is refused as well
        raise ModelError(
            f"{name} as ONNX says something else than the network: logits differ by up to {difference:.2g}, and "
            f"{TOLERANCE * largest:.2g} is allowed ({TOLERANCE:g} of the largest, {largest:.2g}). No file was kept; "
            "ask it in Python with load_transferred."
        )
    return difference, largest


def _by_runtime(path: Path, batch: Mapping[str, Tensor], name: str) -> Tensor:
    """The file's logits, float64."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (logits,) = session.run([OUTPUT], {name: value.numpy() for name, value in batch.items()})
    except Exception as error:  # onnxruntime's errors have no common root
        raise ModelError(
            f"onnxruntime cannot run {name} as ONNX: {first_line(error)}. No file was kept; ask it in Python with "
            "load_transferred."
        ) from error
    return torch.as_tensor(logits).double()
