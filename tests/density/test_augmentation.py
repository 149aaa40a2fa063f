"""Laws of the occupancy layout, and its facts on real files."""

import gzip
import re

import numpy as np
import pytest

from mlcharge_flows.density.augmentation import (
    atomic_occupancies,
    blocks,
    from_matrix,
    labels,
    n_occupancies,
    rotate,
    to_matrix,
    truncate,
)
from mlcharge_flows.density.harmonics import real_harmonics, rotation_matrix

CHANNELS = [(0,), (0, 0, 1), (0, 0, 1, 1), (2, 2, 0, 0, 1, 1), (0, 1, 2, 3)]


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def random_matrix(channels, rng):
    n = sum(2 * degree + 1 for degree in channels)
    matrix = rng.standard_normal((n, n))
    return matrix + matrix.T


def rotation_of(channels, rotation):
    """Block-diagonal Wigner matrix of all channels."""
    n = sum(2 * degree + 1 for degree in channels)
    full = np.zeros((n, n))
    start = 0
    for degree in channels:
        stop = start + 2 * degree + 1
        full[start:stop, start:stop] = rotation_matrix(degree, rotation)
        start = stop
    return full


def orthogonal(rng, sign):
    matrix, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return matrix * np.sign(np.linalg.det(matrix)) * sign


def density_from_matrix(matrix, channels, r):
    """On-site density at points r from D directly: sum D phi phi Y Y, phi_a = r^la exp(-a r)."""
    radius = np.linalg.norm(r, axis=1)
    y = real_harmonics(max(channels), r / radius[:, None])
    waves = np.concatenate(
        [
            y[degree] * (radius**degree * np.exp(-(1 + 0.3 * a) * radius))[:, None]
            for a, degree in enumerate(channels)
        ],
        axis=1,
    )
    return np.einsum("pi,ij,pj->p", waves, matrix, waves)


def density_from_occupancies(occupancies, channels, r):
    """The same from the occupancies: sum over a <= b and LM."""
    radius = np.linalg.norm(r, axis=1)
    y = real_harmonics(2 * max(channels), r / radius[:, None])
    wave = [radius**degree * np.exp(-(1 + 0.3 * a) * radius) for a, degree in enumerate(channels)]
    return sum(
        wave[a] * wave[b] * (y[L] @ occupancies[start : start + 2 * L + 1])
        for a, b, L, start in blocks(channels)
    )


@pytest.mark.parametrize(
    ("channels", "length"),
    [((0, 0, 1), 15), ((0, 0, 1, 1), 33), ((0, 0, 1, 1, 2), 78), ((0, 0, 1, 1, 2, 2), 138)],
)
def test_numbers_of_occupancies_of_real_data_sets(channels, length):
    assert n_occupancies(channels) == length
    assert len(labels(channels)) == length
    assert len(set(labels(channels))) == length


@pytest.mark.parametrize("channels", CHANNELS)
def test_occupancies_to_matrix_and_back_is_identity(channels, rng):
    occupancies = rng.standard_normal(n_occupancies(channels))
    matrix = to_matrix(occupancies, channels)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-14)
    np.testing.assert_allclose(from_matrix(matrix, channels), occupancies, atol=1e-12)


@pytest.mark.parametrize("channels", CHANNELS)
def test_matrix_to_occupancies_and_back_keeps_the_even_part(channels, rng):
    even = to_matrix(from_matrix(random_matrix(channels, rng), channels), channels)
    again = to_matrix(from_matrix(even, channels), channels)
    np.testing.assert_allclose(again, even, atol=1e-12)


@pytest.mark.parametrize("channels", CHANNELS)
def test_occupancies_and_matrix_describe_the_same_density(channels, rng):
    matrix = random_matrix(channels, rng)
    r = rng.standard_normal((15, 3))
    np.testing.assert_allclose(
        density_from_occupancies(from_matrix(matrix, channels), channels, r),
        density_from_matrix(matrix, channels, r),
        atol=1e-12,
    )


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("channels", CHANNELS)
def test_occupancies_rotate_as_the_density_matrix(channels, sign, rng):
    matrix, rotation = random_matrix(channels, rng), orthogonal(rng, sign)
    wigner = rotation_of(channels, rotation)
    np.testing.assert_allclose(
        rotate(from_matrix(matrix, channels), channels, rotation),
        from_matrix(wigner @ matrix @ wigner.T, channels),
        atol=1e-11,
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_rotated_occupancies_are_the_rotated_density(sign, rng):
    channels = (0, 1, 2)
    occupancies, rotation = rng.standard_normal(n_occupancies(channels)), orthogonal(rng, sign)
    r = rng.standard_normal((15, 3))
    np.testing.assert_allclose(
        density_from_occupancies(rotate(occupancies, channels, rotation), channels, r @ rotation.T),
        density_from_occupancies(occupancies, channels, r),
        atol=1e-12,
    )


def test_monopole_is_the_trace_over_sqrt_4_pi(rng):
    channels = (1, 1)
    matrix = random_matrix(channels, rng)
    occupancies = from_matrix(matrix, channels)
    monopoles = [occupancies[b.offset] for b in blocks(channels) if b.L == 0]
    traces = [
        np.trace(matrix[:3, :3]),
        2 * np.trace(matrix[:3, 3:]),
        np.trace(matrix[3:, 3:]),
    ]
    np.testing.assert_allclose(monopoles, np.array(traces) / np.sqrt(4 * np.pi))


def test_atomic_occupancies_are_those_of_the_spherical_matrix():
    channels = (0, 1, 0, 1)
    q = np.array([[2, 0, 0.1, 0], [0, 0.5, 0, -0.2], [0.1, 0, 0.3, 0], [0, -0.2, 0, 0.7]])
    matrix = np.zeros((8, 8))
    starts = [0, 1, 4, 5]
    for a, b in np.ndindex(4, 4):
        if channels[a] == channels[b]:
            n = 2 * channels[a] + 1
            block = q[a, b] * np.eye(n)
            matrix[starts[a] : starts[a] + n, starts[b] : starts[b] + n] = block
    np.testing.assert_allclose(
        atomic_occupancies(channels, q), from_matrix(matrix, channels), atol=1e-14
    )
    np.testing.assert_allclose(
        rotate(atomic_occupancies(channels, q), channels, orthogonal(np.random.default_rng(1), -1)),
        atomic_occupancies(channels, q),
        atol=1e-14,
    )


@pytest.mark.parametrize("channels", [(0, 1, 2), (1, 2, 3, 3)])
@pytest.mark.parametrize("lmaxmix", [0, 2, 4, 5, 6])
def test_truncate_zeroes_high_l_only(channels, lmaxmix, rng):
    occupancies = rng.standard_normal(n_occupancies(channels))
    kept = truncate(occupancies, channels, lmaxmix)
    for (_, _, L, _), before, after in zip(labels(channels), occupancies, kept, strict=True):
        assert after == (before if lmaxmix >= L else 0.0)


def test_lmaxmix_6_keeps_every_occupancy_of_f_channels_and_4_does_not(rng):
    channels = (0, 0, 1, 1, 2, 2, 3, 3)
    occupancies = rng.standard_normal(n_occupancies(channels))
    np.testing.assert_array_equal(truncate(occupancies, channels, 6), occupancies)
    lost = truncate(occupancies, channels, 4) == 0.0
    assert {L for (_, _, L, _), zero in zip(labels(channels), lost, strict=True) if zero} == {5, 6}


def irreps(channels):
    return "+".join(f"1x{block.L}{'eo'[block.L % 2]}" for block in blocks(channels))


@pytest.mark.parametrize("channels", CHANNELS)
def test_irreps_have_the_dimension_and_rotation_of_the_occupancies(channels, rng):
    o3 = pytest.importorskip("e3nn.o3")
    torch = pytest.importorskip("torch")
    assert o3.Irreps(irreps(channels)).dim == n_occupancies(channels)
    # e3nn's polar axis is y: its rotation acts on (y, z, x).
    rotation = orthogonal(rng, -1)
    cyclic = np.eye(3)[[1, 2, 0]]
    theirs = o3.Irreps(irreps(channels)).D_from_matrix(
        torch.tensor(cyclic @ rotation @ cyclic.T, dtype=torch.float64)
    )
    occupancies = rng.standard_normal(n_occupancies(channels))
    np.testing.assert_allclose(
        theirs.numpy() @ occupancies, rotate(occupancies, channels, rotation), atol=1e-5
    )


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"need \(15,\)"):
        truncate(np.zeros(14), (0, 0, 1), 2)
    with pytest.raises(ValueError, match=r"need \(5, 5\)"):
        from_matrix(np.zeros((4, 4)), (0, 0, 1))
    with pytest.raises(ValueError, match="atomic occupancies"):
        atomic_occupancies((0, 1), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="negative"):
        n_occupancies((0, -1))


def read_occupancies(folder):
    """Records of the total density in a sample, by their titles alone."""
    text = gzip.decompress((folder / "CHGCAR.gz").read_bytes()).decode().replace("\r", "")
    found = {}
    for title in re.finditer(r"augmentation occupancies +(\d+) +(\d+)\n", text):
        ion, n = int(title[1]), int(title[2])
        words = text[title.end() : title.end() + 20 * n].split()[:n]
        found.setdefault(ion, np.array(words, dtype=float))
    return [found[ion] for ion in sorted(found)]


REAL = [
    ("li_nospin", [(0, 0, 1)]),
    ("nacl", [(0, 0, 1, 1)] * 2),
    ("lih", [(0, 0, 1)] * 2),
    ("al", [(0, 0, 1, 1)]),
    ("si2_aiida", [(0, 0, 1, 1)] * 2),
    ("si_g0w0_static", [(0, 0, 1, 1, 2, 2)] * 2),
]


@pytest.mark.parametrize(("case", "channels"), REAL)
def test_real_occupancies_obey_cauchy_schwarz_with_both_orders_summed(vasp_samples, case, channels):
    # |D_12|^2 <= D_11 D_22 bounds value_12^2 / (value_11 value_22) by 4 if the value holds
    # D_12 + D_21, as the factor (2 - delta) says.
    for occupancies, ion_channels in zip(
        read_occupancies(vasp_samples / case), channels, strict=True
    ):
        assert len(occupancies) == n_occupancies(ion_channels)
        at = dict(zip(labels(ion_channels), occupancies, strict=True))
        for a, b, L, _ in at:
            if L == 0 and a < b:
                assert at[a, b, 0, 0] ** 2 <= 4.000001 * at[a, a, 0, 0] * at[b, b, 0, 0]


@pytest.mark.parametrize("case", ["nacl", "lih", "al"])
def test_odd_l_vanishes_at_real_inversion_centers(vasp_samples, case):
    for occupancies, ion_channels in zip(
        read_occupancies(vasp_samples / case), dict(REAL)[case], strict=True
    ):
        inverted = rotate(occupancies, ion_channels, -np.eye(3))
        np.testing.assert_allclose(inverted, occupancies, atol=1e-12)
        matrix = to_matrix(occupancies, ion_channels)
        np.testing.assert_allclose(from_matrix(matrix, ion_channels), occupancies, atol=1e-12)


def test_full_1s_shell_of_real_lithium(vasp_samples):
    occupancies = read_occupancies(vasp_samples / "lih")[0]
    # Two electrons in the first s channel of Li_sv: 2 / sqrt(4 pi) = 0.5642.
    assert occupancies[0] == pytest.approx(2 / np.sqrt(4 * np.pi), abs=2e-3)


def test_real_silicon_pair_is_related_by_inversion(vasp_samples):
    # Inversion at the center of a bond of diamond maps the occupancies of its two atoms.
    first, second = read_occupancies(vasp_samples / "si_g0w0_static")
    channels = (0, 0, 1, 1, 2, 2)
    np.testing.assert_allclose(rotate(first, channels, -np.eye(3)), second, atol=1e-6)
