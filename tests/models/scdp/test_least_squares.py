"""The ablation of the paper, of the basis alone: densities of real molecules, no network."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")
pytest.importorskip("h5py", reason="needs the train extra")
pytest.importorskip("basis_set_exchange", reason="needs the train extra")

from least_squares import least_squares  # noqa: E402

from mlcharge_flows.models.orbital.g_vectors import GVectors  # noqa: E402
from mlcharge_flows.models.scdp import ScdpConfig, ScdpNetwork  # noqa: E402
from mlcharge_flows.training.dataset import DensityDataset  # noqa: E402

MOLECULES = Path(__file__).parents[3] / "test_files" / "molecules" / "molecules.h5"
LARGEST = 16.0
"""Fewer G vectors than the model has: a test in seconds."""


pytestmark = pytest.mark.usefixtures("double")


def problem(name, **options):
    sample = DensityDataset(MOLECULES)[name]
    elements = sorted(sample.paw)
    channels = {symbol: list(sample.paw[symbol].channels) for symbol in elements}
    network = ScdpNetwork(
        ScdpConfig(
            elements=elements,
            channels=channels,
            g_max=LARGEST,
            n_channels=1,
            lmax=1,
            **options,
        )
    )
    g_vectors = GVectors.of(sample.crystal, sample.shape, LARGEST, network.basis.lmax)
    spectrum = np.fft.rfftn(sample.density().total, norm="forward") * sample.crystal.volume
    target = torch.from_numpy(spectrum.ravel())[g_vectors.index]
    return network, network.graph(sample.crystal), g_vectors, target


def left(name, steps=0, **options):
    return least_squares(*problem(name, **options), scaling_steps=steps).residual


@pytest.mark.parametrize("name", ["HF", "N2"])
def test_the_ordering_of_the_paper(name):
    plain, virtual = (
        [left(name, ratio=ratio, virtual=kind) for ratio in (2.0, 1.5, 1.3)]
        for kind in ("none", "bonds")
    )
    scaled = [left(name, ratio=2.0, virtual=kind, steps=8) for kind in ("none", "bonds")]
    for errors in (plain, virtual):  # smaller ratios
        assert errors[0] > errors[1] > errors[2]
    for without, with_ in zip(plain, virtual, strict=True):  # orbitals on bonds
        assert with_ < without
    assert scaled[0] < 0.95 * plain[0]  # scaling factors
    assert scaled[1] < 0.95 * virtual[0]
    assert 0.5 * plain[0] > virtual[2] > 0


def test_no_density_of_the_basis_is_nearer():
    network, graph, g_vectors, target = problem("HF", ratio=2.0)
    best = least_squares(network, graph, g_vectors, target)
    norm = (g_vectors.multiplicity * target.abs() ** 2).sum().sqrt()

    def distance(density):
        return float((g_vectors.multiplicity * (density - target).abs() ** 2).sum().sqrt() / norm)

    assert distance(best.density) == pytest.approx(best.residual)
    basis, phases = network.basis.of(graph.species), g_vectors.phases(graph.positions)
    for seed in range(3):
        torch.manual_seed(seed)
        shape = (len(graph.species), (network.basis.lmax + 1) ** 2, network.basis.n_exponents)
        other = g_vectors.density(basis.uncontracted(torch.randn(shape)), phases, basis)
        other = other / other.abs().max() * target.abs().max()
        for step in (1e-4, -1e-4):
            assert distance(best.density + step * other) > best.residual


def test_what_the_basis_holds_is_found():
    network, graph, g_vectors, _ = problem("HF", ratio=2.0)
    basis, phases = network.basis.of(graph.species), g_vectors.phases(graph.positions)
    torch.manual_seed(0)
    shape = (len(graph.species), (network.basis.lmax + 1) ** 2, network.basis.n_exponents)
    target = g_vectors.density(basis.uncontracted(torch.randn(shape)), phases, basis)
    assert least_squares(network, graph, g_vectors, target).residual < 1e-5
