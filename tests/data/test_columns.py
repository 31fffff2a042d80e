import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value

from hf_transfer_kit.data.columns import Columns, find_columns
from hf_transfer_kit.errors import DataError


def dataset(**features) -> Dataset:
    return Dataset.from_dict({name: [] for name in features}, features=Features(features))


CLASSES = ClassLabel(names=["a", "b"])
TEXT = Value("string")


@pytest.mark.parametrize(
    ("data", "arguments", "expected"),
    [
        (dataset(image=Image(), label=CLASSES), {}, Columns(("image",), "label", "image")),
        (dataset(text=TEXT, label=CLASSES, fine_label=CLASSES), {}, Columns(("text",), "label", "text")),
        (dataset(review=TEXT, stars=CLASSES), {}, Columns(("review",), "stars", "text")),
        (dataset(text=TEXT, title=TEXT, label=CLASSES), {}, Columns(("text",), "label", "text")),
        (
            dataset(one=TEXT, two=TEXT, label=CLASSES),
            {"input_column": "one,two"},
            Columns(("one", "two"), "label", "text"),
        ),
        (
            dataset(audio={"bytes": Value("binary"), "path": TEXT}, label=Value("int64"), speaker=TEXT),
            {},
            Columns(("audio",), "label", "audio"),
        ),
        (
            dataset(image=Image(), caption=TEXT, kind=TEXT),
            {"label_column": "kind"},
            Columns(("image",), "kind", "image"),
        ),
        (dataset(image=Image(), text=TEXT, label=CLASSES), {"modality": "text"}, Columns(("text",), "label", "text")),
    ],
)
def test_columns_are_found(data, arguments, expected):
    assert find_columns(data, **arguments) == expected


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        (
            dataset(image=Image(), kind=TEXT),
            {},
            r"There is no label column; the columns are image .*kind.*--label_column",
        ),
        (dataset(text=TEXT, coarse=CLASSES, fine=CLASSES), {}, r"Several columns hold classes \(coarse, fine\)"),
        (dataset(one=TEXT, two=TEXT, label=CLASSES), {}, r"Several columns hold text: one, two.*--input_column"),
        (dataset(size=Value("int64"), label=CLASSES), {}, r"No column holds images, texts or sounds.*size \(int64\)"),
        (dataset(text=TEXT, label=CLASSES), {"label_column": "klass"}, r"There is no column 'klass'.*text"),
        (dataset(text=TEXT, label=CLASSES), {"input_column": "words"}, r"input_column='words' holds no image"),
    ],
)
def test_what_cannot_be_told_is_an_error_that_lists_the_columns(data, arguments, message):
    with pytest.raises(DataError, match=message):
        find_columns(data, **arguments)
