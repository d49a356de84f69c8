"""The generated sample: its file, and what is read of it."""

import pytest

from lstm_airquality import data


@pytest.fixture(scope="module")
def sample_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    data.make_sample(folder)
    return folder / data.FILE


@pytest.fixture(scope="module")
def sample(sample_file):
    return data.load(sample_file)
