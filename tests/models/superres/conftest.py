import numpy as np
import pytest
from image_models import card_of, network_of

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.models.checkpoint import Checkpoint


@pytest.fixture(scope="session")
def oblique():
    """A triclinic crystal without symmetry; its input grid has different numbers of points."""
    return Crystal(
        np.array([[3.1, 0.2, -0.4], [-1.2, 3.9, 0.1], [0.7, 0.9, 5.2]]),
        ("Na", "Cl", "Cl"),
        np.array([[0.1, 0.2, 0.3], [0.6, 0.5, 0.9], [0.2, 0.8, 0.7]]),
    )


@pytest.fixture(scope="session")
def rutile():
    """A tetragonal crystal with screw axes and glide planes."""
    u = 0.305
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [u, u, 0], [-u, -u, 0]]
    sites += [[0.5 + u, 0.5 - u, 0.5], [0.5 - u, 0.5 + u, 0.5]]
    return Crystal(np.diag([4.6, 4.6, 2.9]), ("Na", "Na", *["Cl"] * 4), np.array(sites))


@pytest.fixture
def checkpoint():
    network = network_of().float()
    return Checkpoint(card_of(network), network.state_dict())
