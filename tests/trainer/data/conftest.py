"""A fresh claim for every test."""

from pathlib import Path

import pytest

from tests.trainer.data.building import ADataset


@pytest.fixture
def data(tmp_path: Path) -> ADataset:
    return ADataset(tmp_path)
