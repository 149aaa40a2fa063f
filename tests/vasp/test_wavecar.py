"""WAVECARs: identity on a real file, agreement with pymatgen, and clear refusals."""

import gzip
import re

import numpy as np
import pytest
from pymatgen.io.vasp.outputs import Wavecar

from mlcharge_flows.vasp.plane_waves import HBAR2_OVER_2M, count_plane_waves, plane_waves
from mlcharge_flows.vasp.wavecar import (
    KPointOrbitals,
    WavecarError,
    WavecarHeader,
    WavecarReader,
)
from mlcharge_flows.vasp.wavecar_writer import WavecarWriter

LATTICE = np.array([[3.1, 0.2, 0.0], [0.0, 2.7, -0.3], [0.4, 0.0, 3.6]])
KPOINTS = np.array([[0.0, 0.0, 0.0], [0.25, -0.5, 0.125]])


def header(**changes):
    return WavecarHeader(
        **{
            "lattice": LATTICE,
            "encut": 90.0,
            "n_kpoints": len(KPOINTS),
            "n_bands": 3,
            "fermi_level": 1.25,
            **changes,
        }
    )


def orbitals_of(head, kpoint, seed):
    rng = np.random.default_rng(seed)
    shape = head.n_bands, len(head.plane_waves(kpoint))
    coefficients = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(head.dtype)
    return KPointOrbitals(
        kpoint, rng.normal(size=head.n_bands) + 0j, rng.uniform(size=head.n_bands), coefficients
    )


def write(path, head, kpoints=KPOINTS):
    """Write random orbitals and return them, by spin and k-point."""
    made = []
    with WavecarWriter(path, head, kpoints) as file:
        for spin in range(head.n_spins):
            for k, kpoint in enumerate(kpoints):
                made.append(orbitals_of(head, kpoint, 10 * spin + k))
                file.write(made[-1])
    assert path.stat().st_size == file.size
    return made


def same(a, b):
    for name in ("kpoint", "energies", "occupations", "coefficients"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_a_real_file_comes_back_byte_for_byte(vasp_samples, tmp_path):
    content = gzip.decompress((vasp_samples / "ga4_spin/WAVECAR.gz").read_bytes())
    (tmp_path / "WAVECAR").write_bytes(content)
    with WavecarReader(tmp_path / "WAVECAR") as file:
        head = file.header
        assert (head.n_spins, head.n_kpoints, head.n_bands, head.half) == (2, 2, 24, None)
        kpoints = np.array([file.read_kpoint(k)[1] for k in range(2)])
        with WavecarWriter(tmp_path / "again", head, kpoints) as again:
            for spin in range(2):
                for k in range(2):
                    again.write(file.read(k, spin))
    assert (tmp_path / "again").read_bytes() == content
    # The shortest record is VASP's own.
    assert head.shortest_record(957) == head.record_length


def test_counts_of_plane_waves_are_those_of_the_outcar(vasp_samples, tmp_path):
    content = gzip.decompress((vasp_samples / "ga4_spin/WAVECAR.gz").read_bytes())
    (tmp_path / "WAVECAR").write_bytes(content)
    with WavecarReader(tmp_path / "WAVECAR") as file:
        kpoints = np.array([file.read_kpoint(k)[1] for k in range(2)])
        counts = count_plane_waves(file.header.lattice, file.header.encut, kpoints)
    text = gzip.decompress((vasp_samples / "ga4_spin/OUTCAR.gz").read_bytes()).decode()
    printed = [int(n) for n in re.findall(r"k-point +\d+ :.*plane waves: +(\d+)", text)]
    assert counts == printed == [945, 957]


@pytest.mark.parametrize("encut", [20.0, 90.0, 350.0])
@pytest.mark.parametrize("half", [None, "x", "z"])
def test_plane_waves_are_the_sphere_in_fft_order(encut, half):
    for kpoint in [np.zeros(3)] if half else [*KPOINTS, np.array([-1.75, 0.5, 2.0])]:
        found = plane_waves(LATTICE, encut, kpoint, half)
        reciprocal = 2 * np.pi * np.linalg.inv(LATTICE).T
        expected = []
        n = 14
        order = [*range(n + 1), *range(-n, 0)]
        grid = np.array([(x, y, z) for z in order for y in order for x in order])
        for g, energy in zip(
            grid,
            HBAR2_OVER_2M * (((grid + kpoint) @ reciprocal) ** 2).sum(axis=1),
            strict=True,
        ):
            if energy < encut:
                expected.append(tuple(g))
        if half is None:
            assert [tuple(g) for g in found] == expected
            continue
        kept = {tuple(g) for g in found}
        assert [g for g in expected if g in kept] == [tuple(g) for g in found]
        mirrored = {tuple(-x for x in g) for g in kept}
        assert kept & mirrored == {(0, 0, 0)}
        assert kept | mirrored == set(expected)


@pytest.mark.parametrize("n_spins", [1, 2])
@pytest.mark.parametrize("precision", ["single", "double"])
def test_what_is_written_is_read(n_spins, precision, tmp_path):
    head = header(n_spins=n_spins, precision=precision)
    made = write(tmp_path / "WAVECAR", head)
    with WavecarReader(tmp_path / "WAVECAR") as file:
        assert (file.header.n_spins, file.header.precision) == (n_spins, precision)
        assert file.header.fermi_level == 1.25
        assert file.header.encut == 90.0
        np.testing.assert_array_equal(file.header.lattice, LATTICE)
        read = [file.read(k, spin) for spin in range(n_spins) for k in range(2)]
        with pytest.raises(IndexError):
            file.read(2)
        with pytest.raises(IndexError):
            file.read(0, n_spins)
    for a, b in zip(made, read, strict=True):
        same(a, b)


def test_many_bands_and_few_plane_waves_lengthen_the_record(tmp_path):
    made = write(tmp_path / "WAVECAR", header(encut=20.0, n_bands=40))
    with WavecarReader(tmp_path / "WAVECAR") as file:
        assert file.header.record_length == 8 * (4 + 3 * 40)
        same(file.read(1), made[1])


@pytest.mark.parametrize("n_spins", [1, 2])
def test_pymatgen_reads_ours(n_spins, tmp_path):
    head = header(n_spins=n_spins)
    made = write(tmp_path / "WAVECAR", head)
    theirs = Wavecar(str(tmp_path / "WAVECAR"))
    assert theirs.vasp_type == "std"
    assert (theirs.nk, theirs.nb, theirs.encut, theirs.efermi) == (2, 3, 90.0, 1.25)
    np.testing.assert_allclose(theirs.kpoints, KPOINTS)
    for spin in range(n_spins):
        for k in range(2):
            ours = made[2 * spin + k]
            coefficients = theirs.coeffs[spin][k] if n_spins == 2 else theirs.coeffs[k]
            np.testing.assert_array_equal(np.array(coefficients), ours.coefficients)
            bands = theirs.band_energy[spin][k] if n_spins == 2 else theirs.band_energy[k]
            np.testing.assert_array_equal(bands[:, 0], ours.energies.real)
            np.testing.assert_array_equal(bands[:, 2], ours.occupations)
            np.testing.assert_array_equal(theirs.Gpoints[k], head.plane_waves(ours.kpoint))


def test_gamma_only_files_hold_half_of_the_plane_waves(tmp_path):
    gamma = np.zeros((1, 3))
    head = header(n_kpoints=1, half="x")
    made = write(tmp_path / "WAVECAR", head, gamma)[0]
    with WavecarReader(tmp_path / "WAVECAR") as file:
        assert file.header.half == "x"
        same(file.read(0), made)
        whole = len(plane_waves(LATTICE, 90.0, gamma[0]))
        assert file.read_kpoint(0)[0] == (whole + 1) // 2
    with WavecarReader(tmp_path / "WAVECAR", half="z") as file:
        assert file.header.half == "z"
    theirs = Wavecar(str(tmp_path / "WAVECAR"))
    assert theirs.vasp_type == "gam"
    n = len(made.coefficients[0])
    np.testing.assert_array_equal(theirs.Gpoints[0][:n], head.plane_waves(gamma[0]))
    expected = made.coefficients[1] / np.where(np.arange(n) == 0, 1.0, np.sqrt(2))
    np.testing.assert_allclose(theirs.coeffs[0][1][:n], expected, rtol=1e-6)


def test_the_second_spin_can_repeat_the_first(tmp_path):
    head = header(n_spins=2)
    given = [orbitals_of(head, kpoint, k) for k, kpoint in enumerate(KPOINTS)]
    for name, repeats in (("repeated", True), ("written twice", False)):
        with WavecarWriter(tmp_path / name, head, KPOINTS) as file:
            for of_kpoint in given if repeats else given * 2:
                file.write(of_kpoint)
            file.repeat_first_spin()
    assert (tmp_path / "repeated").read_bytes() == (tmp_path / "written twice").read_bytes()
    with WavecarWriter(tmp_path / "repeated", head, KPOINTS) as file:
        file.write(given[0])
        with pytest.raises(ValueError, match="1 k-points of 2"):
            file.repeat_first_spin()
        for of_kpoint in [given[1], *given]:
            file.write(of_kpoint)


def test_an_unfinished_file_replaces_nothing(tmp_path):
    path = tmp_path / "WAVECAR"
    write(path, header())
    before = path.read_bytes()
    head = header(encut=70.0)
    with (
        pytest.raises(ValueError, match="1 of 2 k-points"),
        WavecarWriter(path, head, KPOINTS) as file,
    ):
        file.write(orbitals_of(head, KPOINTS[0], 0))
    with (
        pytest.raises(ValueError, match=r"expected \(3"),
        WavecarWriter(path, head, KPOINTS) as file,
    ):
        file.write(orbitals_of(header(), KPOINTS[0], 0))
    with (
        pytest.raises(ValueError, match="k-point"),
        WavecarWriter(path, head, KPOINTS) as file,
    ):
        file.write(orbitals_of(head, KPOINTS[1], 0))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["WAVECAR"]


def test_the_writer_refuses_what_does_not_fit(tmp_path):
    with pytest.raises(ValueError, match="header says 2"):
        WavecarWriter(tmp_path / "WAVECAR", header(), KPOINTS[:1])
    with pytest.raises(ValueError, match="bytes"):
        WavecarWriter(tmp_path / "WAVECAR", header(record_length=104), KPOINTS)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: b"", "empty"),
        (lambda content: content[:16], "empty"),
        (lambda content: content[:200], "truncated"),
        (lambda content: content[:-8], "truncated"),
        (lambda content: b"CHGCAR of something, which is no WAVECAR", "not a WAVECAR"),
        (lambda content: content[:16] + np.array([53300.0]).tobytes() + content[24:], "not a WAV"),
        (lambda content: content[:8] + np.array([4.0]).tobytes() + content[16:], "4 spins"),
    ],
)
def test_what_is_no_wavecar_is_refused_by_name(damage, reason, tmp_path):
    path = tmp_path / "WAVECAR"
    write(path, header())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WavecarError, match=rf"WAVECAR: .*{reason}"):
        WavecarReader(path)


@pytest.mark.parametrize(
    ("record", "number", "value", "reason"),
    [
        (1, 0, np.nan, "damaged"),
        (1, 1, 2.5, "damaged"),
        (1, 2, -5.0, "damaged"),
        (1, 1, 30.0, "truncated"),
        (2, 0, 7.0, "7 plane waves at k-point 1"),
        (2, 0, 1e9, "1e.09 plane waves"),
        (2, 1, np.nan, "k-point 1 is not finite"),
        (2, 1, 1e9, "lattice, cutoff or k-point 1 make no sense"),
        (1, 2, 1e12, "lattice, cutoff or k-point 1 make no sense"),
        (1, 3, 1e6, "lattice, cutoff or k-point 1 make no sense"),
    ],
)
def test_damaged_numbers_are_found(record, number, value, reason, tmp_path):
    path = tmp_path / "WAVECAR"
    write(path, header())
    with WavecarReader(path) as file:
        place = record * file.header.record_length + 8 * number
    content = bytearray(path.read_bytes())
    content[place : place + 8] = np.array([value]).tobytes()
    path.write_bytes(content)
    with pytest.raises(WavecarError, match=reason):
        WavecarReader(path)


def test_plane_waves_of_another_kpoint_are_found_when_it_is_read(tmp_path):
    path = tmp_path / "WAVECAR"
    write(path, header())
    with WavecarReader(path) as file:
        place = (2 + 4) * file.header.record_length
    content = bytearray(path.read_bytes())
    content[place : place + 8] = np.array([5.0]).tobytes()
    path.write_bytes(content)
    with WavecarReader(path) as file:
        file.read(0)
        with pytest.raises(WavecarError, match="5 plane waves at k-point 2"):
            file.read(1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("record", "number"), [(2, 6), (3, 1)])
def test_numbers_that_are_not_finite_are_found_when_they_are_read(record, number, value, tmp_path):
    path = tmp_path / "WAVECAR"
    write(path, header(precision="double"))
    with WavecarReader(path) as file:
        place = record * file.header.record_length + 8 * number
    content = bytearray(path.read_bytes())
    content[place : place + 8] = np.array([value]).tobytes()
    path.write_bytes(content)
    with WavecarReader(path) as file:
        with pytest.raises(WavecarError, match="orbital or occupation at k-point 1 is not finite"):
            file.read(0)
        file.read(1)


def test_spinors_are_named(tmp_path):
    path = tmp_path / "WAVECAR"
    head = header(precision="double")
    write(path, head)
    content = bytearray(path.read_bytes())
    with WavecarReader(path) as file:
        place, n = 2 * file.header.record_length, file.read_kpoint(0)[0]
    content[place : place + 8] = np.array([2.0 * n]).tobytes()
    content[16:24] = np.array([45200.0]).tobytes()
    path.write_bytes(content)
    with pytest.raises(WavecarError, match="non-collinear"):
        WavecarReader(path)
