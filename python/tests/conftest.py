import pytest

import tallyfold


@pytest.fixture
def store(tmp_path):
    return tallyfold.Store(tmp_path / "store")
