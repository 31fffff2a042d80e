"""Strange inputs for everything that reads what people write, and what reads it: kept in one place for short and long runs."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from PIL import Image

WORDS = [
    "full", "freeze_first", "freeze_last", "gradual", "lp_ft", "layerwise", "small_lr", "l2sp", "l2sp_fisher", "delta",
    "bss", "co_tuning", "lora", "wise_ft", "text_head", "head_only", "dann", "cdan", "mcd", "adamatch", "shallow", "shot",
    "tent", "coral", "mmd", "jan", "vada", "joint", "group_dro", "single", "multitask", "replay", "lwf", "sequential",
    "k", "until", "decay", "factor", "alpha", "r", "points", "view", "invert", "weight", "teacher", "hidden", "factors",
    "balancing", "mixing", "temperature", "rows", "shared_from", "average", "alignment", "on", "pcgrad", "equal", "swad",
    "train", "rates", "early_stopping", "metric", "patience", "stages", "head", "all", "body", "auto", "null", "true",
    "2 epochs", "50 %", "200 steps", "re:(", "*", "&a", "*a", "!!int x", "!!python/object:os.system x", "2020-99-99",
    "-1", "0", "1", "0.5", "1e-3", ".nan", ".inf", "-.inf", "1" * 400, "0x", "[", "]", "{", "}", "<<", "? a", "| x", "%",
    "\0", "\u2028", "\ud7ff", "²", "é", "'", '"', "\t", "\n", "- ", ": ", "#",
]  # fmt: skip
"""Pieces of what may be written, right and wrong."""

texts = st.one_of(
    st.text(max_size=30),
    st.lists(st.one_of(st.sampled_from(WORDS), st.sampled_from(":,=")), max_size=12).map("".join),
    st.builds(
        lambda name, options: f"{name}:{','.join(f'{key}={value}' for key, value in options)}",
        st.sampled_from(WORDS),
        st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS)), max_size=3),
    ),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.integers(),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=5),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(scalars, inner, max_size=4)),
    max_leaves=12,
)
stages = st.one_of(
    values,
    st.lists(
        st.dictionaries(st.sampled_from(["train", "until", "rates", "early_stopping", "untl"]), values, max_size=4),
        max_size=4,
    ),
)
tables = st.one_of(
    values,
    st.dictionaries(
        scalars, st.one_of(st.lists(scalars, max_size=4), st.dictionaries(scalars, scalars, max_size=3)), max_size=4
    ),
)
files = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.sampled_from([*"abc01,;\t|\n\n\"'{}[]:-.", "\r\n", "\0", "é", "NaN", "1e999", "true"]), max_size=80
    ).map(lambda letters: "".join(letters).encode()),
)


def _picture() -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (6, 5), (200, 30, 90)).save(written, "PNG")
    return written.getvalue()


@st.composite
def pictures(draw: Callable[..., Any]) -> bytes:
    """A small PNG with bytes changed, cut off or put behind."""
    content = bytearray(_picture())
    for place, byte in draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=4)):
        content[place] = byte
    return bytes(content[: draw(st.integers(0, len(content)))]) + draw(st.binary(max_size=8))


def make_strategies(text: str) -> None:
    """Reads a text as each kind of method."""
    from hf_transfer_kit import make_strategy

    make_strategy(text)


def make_adaptation_methods(text: str) -> None:
    """With and without source rows."""
    from hf_transfer_kit.errors import SettingsError
    from hf_transfer_kit.selection.adapting import make_method
    from hf_transfer_kit.selection.adapting.methods import make_source_free_method

    try:
        make_method(text)
    except SettingsError:
        make_source_free_method(text)


def make_multitask_methods(text: str) -> None:
    """Ways of training several tasks."""
    from hf_transfer_kit.selection.multitasking import make_method

    make_method(text)


def make_generalisation_methods(text: str) -> None:
    """Methods for several sources."""
    from hf_transfer_kit.selection.generalising.methods import make_generalisation_method

    make_generalisation_method(text)


def read_yaml_text(text: str) -> None:
    """Any YAML."""
    from hf_transfer_kit.yaml_texts import read_yaml

    read_yaml(text, what="The text")


def read_settings(content: bytes, folder: Path) -> None:
    """A settings file."""
    from hf_transfer_kit.commands.edge.settings import parse_arguments
    from hf_transfer_kit.commands.flags.arguments import CacheArguments, DataArguments, WeightArguments

    (folder / "settings.yaml").write_bytes(content)
    weights = parse_arguments(
        DataArguments, CacheArguments, WeightArguments, argv=["--config", str(folder / "settings.yaml")]
    )[2]
    weights.balance()


def make_schedule(written: object) -> None:
    """The stages of a schedule."""
    from hf_transfer_kit import FreezeSchedule

    FreezeSchedule(written, quiet=True)


def make_table(source: object) -> None:
    """A table of attributes, and what is asked of it."""
    from hf_transfer_kit import AttributeTable

    AttributeTable.of(source, missing="mean")


def name_classes(names: object) -> None:
    """Names of classes, of a head and of a task."""
    from hf_transfer_kit.backbones.new_heads import checked_labels
    from hf_transfer_kit.errors import TransferKitError
    from hf_transfer_kit.multitask import MultiTaskConfig

    places = []
    for read in (
        lambda: checked_labels(None, names),
        lambda: MultiTaskConfig(tasks={"a": {"type": "classification", "id2label": names}}),
    ):
        try:
            places.append(read())
        except TransferKitError:
            places.append(None)
    if isinstance(names, Mapping):
        assert (places[0] is None) == (places[1] is None)


def check_lists(written: object) -> None:
    """Lists of seeds, depths and strengths."""
    from hf_transfer_kit.errors import SettingsError
    from hf_transfer_kit.options import check_ints, check_numbers, check_seeds, check_widths

    checks = (check_seeds, lambda owner, w: check_ints(owner, "depths", w, low=0, high=6))
    for check in (*checks, lambda o, w: check_numbers(o, "strengths", w), lambda o, w: check_widths(o, "hidden", w)):
        try:
            found = check("Here", written)
        except SettingsError:
            continue
        assert all(not isinstance(number, bool) and math.isfinite(number) for number in found)


def make_splits(sizes: Mapping[str, Any]) -> None:
    """Splits of twelve rows of three classes."""
    from datasets import ClassLabel, Dataset, Features, Value

    from hf_transfer_kit.data.splits import make_splits
    from hf_transfer_kit.options import check_seed

    rows = Dataset.from_dict(
        {"x": list(range(12)), "label": [0, 1, 2] * 4},
        features=Features({"x": Value("int64"), "label": ClassLabel(names=["a", "b", "c"])}),
    )
    check_seed("test", sizes["seed"])
    made = make_splits(rows, None, None, "label", **sizes)
    taken = [row for split in made.values() for row in split["x"]]
    assert len(taken) == len(set(taken))


def mix(given: Mapping[str, Any]) -> None:
    """Shares and whole numbers of sources."""
    from hf_transfer_kit.multitask.mixing import mixing_shares, whole_counts

    shares = mixing_shares(given["sizes"], given["mixing"], temperature=given["temperature"])
    assert math.isclose(sum(shares.values()), 1, rel_tol=1e-6)
    assert sum(whole_counts(shares, 100).values()) == 100


def read_table_file(content: bytes, folder: Path, ending: str) -> None:
    """A table in a file."""
    from hf_transfer_kit.data.tables import read_tables

    file = folder / f"rows{ending}"
    file.write_bytes(content)
    read_tables([file])


def look_at_picture(content: bytes) -> None:
    """A picture that may be damaged: a word about it, never an error."""
    from hf_transfer_kit.data.decoding import problem_of

    assert isinstance(problem_of({"bytes": content, "path": None}, "image"), str | None)


sizes = st.fixed_dictionaries(
    {
        "train_size": st.one_of(st.none(), scalars),
        "validation_size": st.one_of(st.floats(0.01, 0.9), st.integers(1, 11), scalars),
        "test_size": st.one_of(st.floats(0.01, 0.9), st.integers(1, 11), scalars),
        "seed": st.one_of(st.integers(0, 9), scalars),
    }
)
class_names = st.one_of(
    values,
    st.lists(scalars, max_size=4).map(lambda names: dict(enumerate(names))),
    st.dictionaries(st.one_of(st.integers(0, 2), st.integers(0, 2).map(str), scalars), scalars, max_size=4),
)
mixtures = st.fixed_dictionaries(
    {
        "sizes": st.dictionaries(st.sampled_from("abc"), st.one_of(st.integers(1, 10**9), scalars), max_size=3),
        "mixing": st.one_of(
            st.sampled_from(["proportional", "equal", "temperature"]),
            st.dictionaries(st.sampled_from("abc"), scalars),
            scalars,
        ),
        "temperature": scalars,
    }
)
settings_files = st.one_of(
    st.binary(max_size=60),
    st.dictionaries(
        st.sampled_from(
            ["dataset", "max_length", "image_size", "validation_size", "cache_dtype", "class_weights", "seeed"]
        ),
        st.one_of(scalars, values),
        max_size=4,
    ).map(lambda mapping: repr(mapping).encode(errors="replace")),
    st.lists(st.sampled_from([*WORDS, "\n", "dataset: ", "max_length: ", "  "]), max_size=10).map(
        lambda pieces: "".join(pieces).encode(errors="replace")
    ),
)
TARGETS: dict[str, tuple[st.SearchStrategy, Callable[..., None], int]] = {
    "strategies": (texts, make_strategies, 20),
    "adaptation methods": (texts, make_adaptation_methods, 15),
    "multi-task methods": (texts, make_multitask_methods, 15),
    "generalisation methods": (texts, make_generalisation_methods, 10),
    "YAML": (st.one_of(texts, st.lists(st.sampled_from(WORDS), max_size=9).map("".join)), read_yaml_text, 15),
    "schedules": (stages, make_schedule, 10),
    "attribute tables": (tables, make_table, 10),
    "names of classes": (class_names, name_classes, 5),
    "lists of numbers": (st.one_of(values, st.lists(scalars, max_size=4)), check_lists, 5),
    "mixing": (mixtures, mix, 10),
    "pictures": (pictures(), look_at_picture, 10),
    "splits": (sizes, make_splits, 1),
    "settings files": (settings_files, read_settings, 1),
    "csv files": (files, lambda content, folder: read_table_file(content, folder, ".csv"), 0.3),
    "json files": (files, lambda content, folder: read_table_file(content, folder, ".json"), 0.3),
}
"""Name -> inputs, what reads them, and their share of a long run."""
