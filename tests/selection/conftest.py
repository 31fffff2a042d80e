"""Small races: two classes told apart by brightness, and arguments for runs of a few steps."""

import pytest
from bright_rows import bright_data, race_arguments


@pytest.fixture
def data():
    return bright_data()


@pytest.fixture
def args(tmp_path):
    return race_arguments(tmp_path)
