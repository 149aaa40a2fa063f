"""Laws are seen in double precision."""

import pytest


@pytest.fixture
def double():
    torch = pytest.importorskip("torch", reason="needs the models extra")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
