import numpy as np
import pytest

from hf_transfer_kit.data.embedded import CELL, _photograph_cells, _split_rows, blended, embedded_data


def pixels(split):
    return np.stack([np.asarray(image) for image in split["image"]])


@pytest.mark.parametrize("name", ["digits", "digits_m"])
def test_three_stratified_splits_of_colour_images(name):
    data = embedded_data(name)
    assert sum(len(split) for split in data.values()) in (898, 899)
    for split in data.values():
        assert pixels(split).shape[1:] == (32, 32, 3)
        counts = np.bincount(split["label"])
        assert len(counts) == 10
        assert counts.max() - counts.min() <= 4


def test_the_same_rows_every_time():
    first, second = embedded_data("digits_m"), embedded_data("digits_m")
    assert all(np.array_equal(pixels(first[split]), pixels(second[split])) for split in first)


def test_no_digit_is_in_two_splits_or_in_both_datasets():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    labels = load_digits().target
    source, target = train_test_split(np.arange(len(labels)), test_size=0.5, stratify=labels, random_state=7)
    parts = [set(rows.tolist()) for half in (source, target) for rows in _split_rows(half, labels).values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(labels)


def test_no_photograph_cell_is_in_two_splits():
    cells = _photograph_cells()
    keys = [{cell.tobytes() for cell in part} for part in cells.values()]
    assert all(cell.shape == (CELL, CELL, 3) for part in cells.values() for cell in part)
    assert not keys[0] & keys[1]
    assert not (keys[0] | keys[1]) & keys[2]
    assert min(len(part) for part in cells.values()) >= 10


def test_blending_is_the_absolute_difference_with_a_patch():
    photograph = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    generator = np.random.default_rng(0)
    assert np.array_equal(blended([black], [photograph], generator)[0], photograph)
    assert np.array_equal(blended([white], [photograph], generator)[0], 255 - photograph)
