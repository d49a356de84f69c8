"""The READMEs' figures are those of the records."""

import re

from common import results

import pytest


@pytest.mark.parametrize("path", results.readmes(), ids=lambda path: path.parent.name)
def test_tables_follow_from_the_records(path):
    text = path.read_text(encoding="utf-8")
    assert results.filled(text) == text, "run: python -m common.results tables"


@pytest.mark.parametrize("path", results.readmes(), ids=lambda path: path.parent.name)
def test_pictures_and_links_exist(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{path} shows {target}, which is not there"
