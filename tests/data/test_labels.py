import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hf_transfer_kit.data.labels import all_labelled, any_label, check_same_classes, with_class_labels, with_class_order
from hf_transfer_kit.data.row_choice import numbered_rows
from hf_transfer_kit.errors import DataError

ANIMALS = ClassLabel(names=["cat", "dog", "owl"])


def labels(kind, **splits):
    return numbered_rows(
        {name: Dataset.from_dict({"y": values}, features=Features({"y": kind})) for name, values in splits.items()}
    )


@pytest.mark.parametrize(
    ("kind", "train", "test", "names"),
    [
        (ANIMALS, [0, None, -1, 2], [1, 2], ["cat", "dog", "owl"]),
        (Value("string"), ["cat", None, None, "owl"], ["dog", "owl"], ["cat", "dog", "owl"]),
        (Value("int64"), [3, None, -1, 9], [5, 9], ["3", "5", "9"]),
    ],
)
def test_rows_without_a_label_hold_minus_one_and_make_no_class(kind, train, test, names):
    missing = {} if kind != Value("int64") else {"missing_label": -1}
    read = with_class_labels(labels(kind, train=train, test=test), "y", labelled=False, **missing)
    assert read["train"]["y"][:] == [0, -1, -1, 2]
    assert read["test"]["y"][:] == [1, 2]
    assert read["train"].features["y"].names == read["test"].features["y"].names == names
    assert [all_labelled(read[split], "y") for split in read] == [False, True]
    with pytest.raises(DataError, match="Row 1 of train has no label"):
        with_class_labels(labels(kind, train=train, test=test), "y")


def test_whether_any_row_has_a_label_is_asked_before_its_type_matters():
    assert not any_label(labels(Value("float64"), train=[None, None], test=[-1, None]), "y")
    assert any_label(labels(Value("float64"), train=[None, None], test=[None, 0.5]), "y")
    assert not all_labelled(labels(ANIMALS, train=[0])["train"], None)


def test_targets_may_hold_one_class_but_none_beyond_the_range():
    one = labels(ANIMALS, train=[1, 1])
    assert with_class_labels(one, "y", labelled=False)["train"]["y"][:] == [1, 1]
    with pytest.raises(DataError, match="holds one class only"):
        with_class_labels(one, "y")
    with pytest.raises(DataError, match="Row 1 of train has the label -2 in 'y', outside the 3 classes"):
        with_class_labels(_cast([0, -2]), "y", labelled=False)


def _cast(values):
    """A ClassLabel column with values that its constructor would refuse."""
    return {"train": labels(Value("int64"), train=values)["train"].cast_column("y", ANIMALS)}


def test_classes_in_another_order_are_put_in_the_sources():
    target = with_class_labels(labels(ANIMALS, train=[0, 1, 2, -1], test=[2, 2]), "y", labelled=False)
    mapped = with_class_order(target, "y", ("owl", "cat", "dog"))
    assert mapped["train"]["y"][:] == [1, 2, 0, -1]
    assert mapped["test"]["y"][:] == [0, 0]
    assert mapped["train"].features["y"].names == ["owl", "cat", "dog"]
    for split in target:
        before = [ANIMALS.names[value] if value >= 0 else None for value in target[split]["y"]]
        assert [["owl", "cat", "dog"][value] if value >= 0 else None for value in mapped[split]["y"]] == before
    assert with_class_order(target, "y", ANIMALS.names) == target


def test_other_classes_are_refused_in_the_words_that_pairs_use():
    target = labels(ANIMALS, train=[0, 1, 2])
    for names in (("cat", "dog", "pig"), ("cat", "dog"), ("cat", "dog", "owl", "owl")):
        with pytest.raises(DataError) as mapped:
            with_class_order(target, "y", names)
        with pytest.raises(DataError) as paired:
            check_same_classes(names, ANIMALS.names)
        assert str(mapped.value) == str(paired.value)
    with pytest.raises(DataError, match="only in the source: 'pig'; only in the target: 'owl'"):
        with_class_order(target, "y", ("cat", "dog", "pig"))


def test_a_target_may_show_some_classes_alone_and_others_where_that_is_said(caplog):
    target = labels(ANIMALS, train=[0, 1, -1], test=[2])
    some = with_class_order(target, "y", ("owl", "pig", "cat", "dog"), partial=True)
    assert some["train"]["y"][:] == [2, 3, -1]
    assert "names 3 of the source's 4 classes: it has no row of 'pig'" in caplog.text
    more = with_class_order(target, "y", ("dog", "cat"), open_classes=True)
    assert more["test"].features["y"].names == ["dog", "cat", "owl"]
    assert (more["train"]["y"][:], more["test"]["y"][:]) == ([1, 0, -1], [2])
    for given in ({"partial": True}, {"open_classes": True}):
        with pytest.raises(DataError, match="only in the source: 'pig'"):
            with_class_order(target, "y", ("pig", "cow", "hen") if "open_classes" in given else ("pig", "cat"), **given)
    with pytest.raises(DataError, match="only in the target: 'cat', 'dog', 'owl'"):
        with_class_order(target, "y", ("pig", "cow"), partial=True, open_classes=True)
