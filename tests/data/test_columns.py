import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value

from hf_transfer_kit.data.columns import Columns, check_columns, find_columns
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


def test_a_label_column_is_found_but_not_needed_where_rows_may_lack_labels():
    assert find_columns(dataset(text=TEXT), labelled=False) == Columns(("text",), None, "text")
    assert find_columns(dataset(text=TEXT, label=CLASSES), labelled=False).label == "label"
    assert find_columns(dataset(image=Image(), kind=TEXT), label_column="kind", labelled=False).label == "kind"
    with pytest.raises(DataError, match="There is no column 'klass'"):
        find_columns(dataset(text=TEXT), label_column="klass", labelled=False)
    with pytest.raises(DataError, match="Several columns hold classes"):
        find_columns(dataset(text=TEXT, coarse=CLASSES, fine=CLASSES), labelled=False)


def test_a_split_that_lacks_a_column_is_a_sentence():
    splits = {"train": dataset(text=TEXT, label=CLASSES), "test": dataset(text=TEXT)}
    with pytest.raises(DataError, match=r"The split test has no column 'label', which train has; its columns are text"):
        check_columns(splits, Columns(("text",), "label", "text"))
    check_columns(splits, Columns(("text",), None, "text"))
