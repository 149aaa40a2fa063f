"""Refusals, as all tests of sources look at them."""

import pytest

from mlcharge_flows.sources import InitialDensity, Same, SourceError


@pytest.fixture
def refusal(tmp_path):
    """Ask for an initial density; gives the line with which it is refused."""

    def refusal(inputs, density, augmentation=None):
        with pytest.raises(SourceError) as error:
            InitialDensity(density, augmentation or Same()).write(inputs, tmp_path)
        line = str(error.value)
        assert "\n" not in line
        assert not (tmp_path / "CHGCAR").exists()
        return line

    return refusal
