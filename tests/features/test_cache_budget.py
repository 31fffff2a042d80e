import pytest

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features.cache_budget import bytes_of, check_budget, readable_bytes


@pytest.mark.parametrize(
    ("budget", "expected"),
    [("4GB", 4e9), ("1.5 KiB", 1536), (123, 123), ("0", 0), ("10 mb", 1e7), ("2B", 2), (2.5e3, 2500)],
)
def test_sizes_are_read(budget, expected):
    assert bytes_of(budget) == expected


@pytest.mark.parametrize("budget", ["", "-1", "four GB", "4 GX", "GB"])
def test_other_texts_are_no_sizes(budget):
    with pytest.raises(SettingsError, match="is no size"):
        bytes_of(budget)


def test_sizes_are_readable():
    assert [readable_bytes(n) for n in (0, 999, 1000, 14.25e6, 3e9, 2e12)] == [
        "0 B", "999 B", "1.0 KB", "14.2 MB", "3.0 GB", "2.0 TB",
    ]  # fmt: skip


def test_the_choices_fit_the_request():
    check_budget(10, None, what="it", dtype="float32", views=1)
    check_budget(10, 10, what="it", dtype="float32", views=1)
    with pytest.raises(SettingsError) as found:
        check_budget(11e3, "10KB", what="it", dtype="float32", views=4)
    assert "('float16' or" not in str(found.value)
    assert "dtype='float16' or 'bfloat16' (5.5 KB)" in str(found.value)
    assert "fewer views (2.8 KB with one)" in str(found.value)
    with pytest.raises(SettingsError) as found:
        check_budget(11e3, "10KB", what="it", dtype="float16", views=1)
    assert "half precision" not in str(found.value)
    assert "views" not in str(found.value)
