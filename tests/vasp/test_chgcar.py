"""Reading and writing CHGCARs: identity on real files, and clear refusals."""

import bz2
import gzip
import lzma
import re
from dataclasses import replace

import numpy as np
import pytest

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density, Magnetization
from mlcharge_flows.vasp.chgcar import (
    ChgcarError,
    IncompleteGridError,
    MagnetizationError,
    NonCollinearError,
    OccupancyError,
    read_chgcar,
)
from mlcharge_flows.vasp.chgcar_writer import write_chgcar

CASES = (
    "al al_pbesol_spin fe2 fe_ferromagnetic fe_nospin ga4_spin graphene_relax li_nospin li_spin "
    "lih lih_scan mg2_relax nacl no_spin_relax si2_aiida si_g0w0_static si_relax_relax12 "
    "si_spin_nscf_atomate si_spin_vasp6"
).split()
"""Every real CHGCAR but the non-collinear one."""


def density_of(n_ions=2, shape=(4, 3, 6), spin=False, seed=0):
    rng = np.random.default_rng(seed)
    symbols = ("Li",) * (n_ions - n_ions // 2) + ("H",) * (n_ions // 2)
    crystal = Crystal(
        np.round(3 * np.eye(3) + 0.1 * rng.standard_normal((3, 3)), 6),
        symbols,
        np.round(rng.uniform(size=(n_ions, 3)), 6),
    )

    def block():
        return rng.standard_normal(shape), tuple(rng.standard_normal(15) for _ in symbols)

    total, records = block()
    magnetization = None
    if spin:
        grid, spin_records = block()
        magnetization = Magnetization(grid, spin_records, np.round(rng.uniform(size=n_ions), 3))
    return Density(crystal, total, records, magnetization, "a density")


@pytest.fixture
def chgcar(tmp_path):
    """A path and the text of a whole spin-polarized file."""
    path = tmp_path / "CHGCAR"
    write_chgcar(path, density_of(spin=True))
    return path, path.read_text()


def test_every_real_file_is_among_the_cases(vasp_samples):
    found = {path.parent.name for path in vasp_samples.glob("*/CHGCAR.gz")}
    assert found - {"co_noncollinear_layout"} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_real_files_are_byte_identical_after_reading_and_writing(vasp_samples, case, tmp_path):
    source = vasp_samples / case / "CHGCAR.gz"
    write_chgcar(tmp_path / "CHGCAR", read_chgcar(source))
    original = gzip.decompress(source.read_bytes())
    assert (tmp_path / "CHGCAR").read_bytes() == original


@pytest.mark.parametrize("case", CASES)
def test_real_files_agree_with_pymatgen(vasp_samples, case):
    outputs = pytest.importorskip("pymatgen.io.vasp.outputs")
    source = vasp_samples / case / "CHGCAR.gz"
    ours, theirs = read_chgcar(source), outputs.Chgcar.from_file(str(source))
    volume = ours.crystal.volume
    np.testing.assert_allclose(ours.total * volume, theirs.data["total"], rtol=1e-13)
    for ion, record in enumerate(ours.augmentation, start=1):
        np.testing.assert_array_equal(record, np.ravel(theirs.data_aug["total"][ion]))
    if ours.magnetization is not None:
        grid = ours.magnetization.grid * volume
        np.testing.assert_allclose(grid, theirs.data["diff"], rtol=1e-13)
    assert [site.specie.symbol for site in theirs.structure] == list(ours.crystal.symbols)


@pytest.mark.parametrize(
    ("case", "electrons", "ions"),
    [("al", 3, 1), ("lih", 4, 2), ("nacl", 8, 2), ("si2_aiida", 8, 2), ("li_spin", 1, 1)],
)
def test_real_files_hold_their_valence_electrons(vasp_samples, case, electrons, ions):
    density = read_chgcar(vasp_samples / case / "CHGCAR.gz")
    assert density.n_electrons == pytest.approx(electrons, abs=1e-6)
    assert len(density.augmentation) == ions


def test_real_spin_file_has_the_moment_line_of_its_input(vasp_samples):
    density = read_chgcar(vasp_samples / "li_spin/CHGCAR.gz")
    np.testing.assert_array_equal(density.magnetization.moments, [0.6])
    assert len(density.magnetization.augmentation[0]) == 15


@pytest.mark.parametrize("spin", [False, True])
@pytest.mark.parametrize("name", ["CHGCAR", "CHGCAR.gz"])
@pytest.mark.parametrize("shape", [(4, 3, 6), (5, 5, 5), (1, 1, 1)])
def test_writing_then_reading_is_identity_to_the_printed_digits(tmp_path, spin, name, shape):
    density = density_of(7, shape, spin)
    write_chgcar(tmp_path / name, density)
    again = read_chgcar(tmp_path / name)
    assert again.comment == density.comment
    assert again.crystal.symbols == density.crystal.symbols
    np.testing.assert_array_equal(again.crystal.lattice, density.crystal.lattice)
    np.testing.assert_array_equal(again.crystal.positions, density.crystal.positions)
    np.testing.assert_allclose(again.total, density.total, rtol=1e-10)
    for a, b in zip(again.augmentation, density.augmentation, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    if spin:
        magnetization, expected = again.magnetization, density.magnetization
        np.testing.assert_allclose(magnetization.grid, expected.grid, rtol=1e-10)
        np.testing.assert_array_equal(magnetization.moments, expected.moments)
    write_chgcar(tmp_path / "again", again)
    write_chgcar(tmp_path / "plain", density)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "plain").read_bytes()


def test_x_runs_fastest_and_values_are_multiplied_by_the_volume(tmp_path):
    crystal = Crystal(2 * np.eye(3), ("H",), np.zeros((1, 3)))
    total = np.arange(8.0).reshape(2, 2, 2)
    write_chgcar(tmp_path / "CHGCAR", Density(crystal, total))
    words = (tmp_path / "CHGCAR").read_text().split("2    2    2\n")[1].split()
    np.testing.assert_allclose(
        [float(w) for w in words], 8 * np.array([0, 4, 2, 6, 1, 5, 3, 7.0]), rtol=1e-11
    )


def test_titles_align_and_fuse_as_in_fortran(tmp_path):
    write_chgcar(tmp_path / "CHGCAR", density_of(1000, (2, 2, 2)))
    titles = re.findall(r"augmentation occupancies.*", (tmp_path / "CHGCAR").read_text())
    for ion in (1, 10, 100, 1000):
        assert titles[ion - 1] == f"augmentation occupancies{ion:4d}  15"
    assert len(read_chgcar(tmp_path / "CHGCAR").augmentation) == 1000


def test_fused_title_of_long_records(tmp_path):
    density = density_of(1000, (2, 2, 2))
    records = (*density.augmentation[:-1], np.zeros(1138))
    write_chgcar(tmp_path / "CHGCAR", replace(density, augmentation=records))
    assert "augmentation occupancies10001138\n" in (tmp_path / "CHGCAR").read_text()
    assert len(read_chgcar(tmp_path / "CHGCAR").augmentation[-1]) == 1138


def test_windows_line_ends(chgcar):
    path, text = chgcar
    whole = read_chgcar(path)
    path.write_bytes(text.replace("\n", "\r\n").encode())
    np.testing.assert_array_equal(read_chgcar(path).total, whole.total)


def test_vasp_6_4_symbols_and_wider_coordinates(chgcar):
    path, text = chgcar
    lines = text.splitlines(keepends=True)
    lines[5] = "   Li_sv/f474ac0d  H/1234\n"
    lines[8:10] = [f"   {line}" for line in lines[8:10]]
    whole = read_chgcar(path)
    path.write_text("".join(lines))
    again = read_chgcar(path)
    assert again.crystal.symbols == ("Li", "H")
    np.testing.assert_array_equal(again.crystal.positions, whole.crystal.positions)


def test_header_is_kept_only_while_it_is_true(tmp_path, chgcar):
    path, text = chgcar
    path.write_text(text.replace("   1.0000000000000000     ", "   1.00000000000000"))
    density = read_chgcar(path)
    write_chgcar(tmp_path / "same", density)
    assert (tmp_path / "same").read_text() == path.read_text()
    write_chgcar(tmp_path / "renamed", replace(density, comment="new"))
    assert (tmp_path / "renamed").read_text().startswith("new ")
    moved = replace(
        density,
        crystal=Crystal(density.crystal.lattice, ("Li", "H"), density.crystal.positions + 0.25),
    )
    write_chgcar(tmp_path / "moved", moved)
    again = read_chgcar(tmp_path / "moved")
    np.testing.assert_allclose(again.crystal.positions, moved.crystal.positions, atol=1e-6)


def test_scale_factor_and_negative_volume(chgcar):
    path, text = chgcar
    whole = read_chgcar(path)
    lines = text.splitlines(keepends=True)
    path.write_text("".join([lines[0], " 2.0\n", *lines[2:]]))
    np.testing.assert_allclose(read_chgcar(path).crystal.lattice, 2 * whole.crystal.lattice)
    path.write_text("".join([lines[0], " -50.0\n", *lines[2:]]))
    assert read_chgcar(path).crystal.volume == pytest.approx(50.0)


@pytest.mark.parametrize("spin", [False, True])
def test_files_without_occupancies_are_accepted(tmp_path, spin):
    density = density_of(spin=spin)
    if spin:
        magnetization = replace(density.magnetization, augmentation=None)
        density = replace(density, magnetization=magnetization)
    write_chgcar(tmp_path / "CHG", replace(density, augmentation=None))
    again = read_chgcar(tmp_path / "CHG")
    assert again.augmentation is None
    assert (again.magnetization is not None) == spin


def title(text, ion, block=0):
    return [m.start() for m in re.finditer(f"augmentation occupancies{ion:4d}", text)][block]


def imaginary(text):
    """The occupancies of ion 1 as those of their imaginary part."""
    real = text[title(text, 1) : title(text, 2)]
    return real.replace("occupancies", "occupancies (imaginary part)")


DEFECTS = {
    "empty": (lambda t: "", IncompleteGridError, "inside its header"),
    "header only": (lambda t: t[:100], IncompleteGridError, "inside its header"),
    "truncated grid": (lambda t: t[: title(t, 1) - 100], IncompleteGridError, "ends before"),
    "NaN": (lambda t: swap_value(t, "              NaN"), IncompleteGridError, "NaN"),
    "stars": (lambda t: swap_value(t, "*" * 17), IncompleteGridError, "stars"),
    "VASP 4": (
        lambda t: "".join(t.splitlines(True)[:5] + t.splitlines(True)[6:]),
        IncompleteGridError,
        "VASP 4",
    ),
    "cartesian": (lambda t: t.replace("Direct", "Cartesian"), IncompleteGridError, "Direct"),
    "no symbol": (lambda t: t.replace("   Li", "   12x"), IncompleteGridError, "element symbol"),
    "zero grid": (lambda t: t.replace("    4    3", "    0    3"), IncompleteGridError, "grid dim"),
    "no blank": (lambda t: t.replace("\n \n", "\n x\n"), IncompleteGridError, "blank"),
    "larger grid": (
        lambda t: t.replace("    4    3", "   40   30", 1),
        IncompleteGridError,
        "ends before|not a number|unequal",
    ),
    "short record": (lambda t: drop_value(t, 1), OccupancyError, "ion 1"),
    "short last record": (lambda t: drop_value(t, 2), OccupancyError, "ion 2"),
    "blank between": (
        lambda t: t[: title(t, 2)] + "\n" + t[title(t, 2) :],
        OccupancyError,
        "ion 2.*blank line",
    ),
    "truncated record": (lambda t: t[: title(t, 2) + 60], OccupancyError, "ion 2.*too early"),
    "missing record": (lambda t: t[: title(t, 2)], OccupancyError, "ion 2.*end of the file"),
    "order": (
        lambda t: t.replace("occupancies   2", "occupancies   3", 1),
        OccupancyError,
        "bad title",
    ),
    "imaginary after real": (
        lambda t: t[: title(t, 2)] + imaginary(t) + t[title(t, 2) :],
        NonCollinearError,
        "before ion 2: the density is non-collinear",
    ),
    "imaginary": (
        lambda t: t.replace("occupancies   1", "occupancies (imaginary part)   1", 1),
        OccupancyError,
        "non-collinear",
    ),
    "no moments": (
        lambda t: re.sub(r"\n(  0\.\d{12}E.{3}){2}\n", "\n", t),
        MagnetizationError,
        "moments",
    ),
    "truncated spin": (
        lambda t: t[: title(t, 1, 1) - 200],
        MagnetizationError,
        "ends before",
    ),
    "no spin records": (lambda t: t[: title(t, 1, 1)], MagnetizationError, "ion 1"),
    "third block": (lambda t: t + "    4    3    6\n", MagnetizationError, "third block"),
}


def swap_value(text, new):
    at = text.index("    4    3    6\n") + 16 + 18
    return text[: at + 1] + new + text[at + 18 :]


def drop_value(text, ion):
    at = text.index("\n", title(text, ion) + 40) - 15
    return text[:at] + text[at + 15 :]


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_are_refused_in_one_line_that_names_the_file(chgcar, defect):
    path, text = chgcar
    change, kind, reason = DEFECTS[defect]
    broken = change(text)
    assert broken != text
    path.write_text(broken)
    with pytest.raises(kind, match=reason) as caught:
        read_chgcar(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_without_final_line_end_is_whole(chgcar, tmp_path):
    path, text = chgcar
    path.write_text(text[:-1])
    write_chgcar(tmp_path / "again", read_chgcar(path))
    assert (tmp_path / "again").read_text() == text
    path.write_text(text[:-2])
    with pytest.raises(MagnetizationError, match="too early"):
        read_chgcar(path)


def test_negative_zeros_keep_their_sign(tmp_path):
    density = density_of(spin=True)
    density.total[0, 0, 0] = density.magnetization.grid[1, 0, 0] = -0.0
    density.augmentation[0][3] = density.magnetization.moments[1] = -0.0
    write_chgcar(tmp_path / "CHGCAR", density)
    text = (tmp_path / "CHGCAR").read_text()
    assert text.count(" -.00000000000E+00") == 2
    assert text.count(" -0.0000000E+00") == text.count(" -0.000000000000E+00\n") == 1
    write_chgcar(tmp_path / "again", read_chgcar(tmp_path / "CHGCAR"))
    assert (tmp_path / "again").read_text() == text


@pytest.mark.parametrize("cut", range(0, 2000, 97))
def test_no_truncation_is_taken_for_a_whole_file(chgcar, cut):
    path, text = chgcar
    path.write_text(text[: len(text) * cut // 2000])
    try:
        density = read_chgcar(path)
    except ChgcarError:
        return
    # A file cut exactly after a block is a whole file of a smaller kind.
    assert density.magnetization is None


def test_damaged_gzip(tmp_path):
    write_chgcar(tmp_path / "CHGCAR.gz", density_of())
    whole = (tmp_path / "CHGCAR.gz").read_bytes()
    (tmp_path / "CHGCAR.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IncompleteGridError, match="gzip"):
        read_chgcar(tmp_path / "CHGCAR.gz")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files_are_read_whatever_their_name(tmp_path, compress):
    write_chgcar(tmp_path / "CHGCAR", density_of())
    content = (tmp_path / "CHGCAR").read_bytes()
    whole = read_chgcar(tmp_path / "CHGCAR")
    (tmp_path / "CHGCAR").write_bytes(compress(content))
    assert read_chgcar(tmp_path / "CHGCAR").fingerprint == whole.fingerprint
    (tmp_path / "CHGCAR").write_bytes(compress(content)[:-20])
    with pytest.raises(IncompleteGridError, match="archive is damaged or cut"):
        read_chgcar(tmp_path / "CHGCAR")


def test_equal_densities_make_equal_archives(tmp_path):
    write_chgcar(tmp_path / "a.gz", density_of())
    write_chgcar(tmp_path / "b.gz", density_of())
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_densities_that_are_not_finite_are_not_written(tmp_path, bad):
    density = density_of()
    density.total[1, 2, 3] = bad
    with pytest.raises(ChgcarError, match="NaN or infinite"):
        write_chgcar(tmp_path / "CHGCAR", density)
    records = (np.full(15, bad), density.augmentation[1])
    with pytest.raises(ChgcarError, match="NaN or infinite"):
        write_chgcar(tmp_path / "CHGCAR", replace(density_of(), augmentation=records))
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_chgcar(tmp_path / "CHGCAR", density_of())
    before = (tmp_path / "CHGCAR").read_bytes()

    def full_disk(values):
        yield b"some lines\n"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mlcharge_flows.vasp.chgcar_writer.format_grid", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_chgcar(tmp_path / "CHGCAR", density_of(seed=1))
    assert [p.name for p in tmp_path.iterdir()] == ["CHGCAR"]
    assert (tmp_path / "CHGCAR").read_bytes() == before


def test_a_missing_folder_is_told_by_the_name_of_the_target(tmp_path):
    target = tmp_path / "missing" / "CHGCAR"
    with pytest.raises(FileNotFoundError) as error:
        write_chgcar(target, density_of())
    assert error.value.filename == str(target)


def test_long_and_odd_comments_fit_the_first_line(tmp_path):
    write_chgcar(tmp_path / "CHGCAR", replace(density_of(), comment="two\nlines é " + 60 * "x"))
    first = (tmp_path / "CHGCAR").read_text().splitlines()[0]
    assert first == ("two lines ? " + 28 * "x")
    assert read_chgcar(tmp_path / "CHGCAR").n_electrons


def test_windows_line_ends_stay_with_the_header_that_they_came_with(chgcar):
    path, text = chgcar
    content = text.replace("\n", "\r\n").encode()
    path.write_bytes(content)
    density = read_chgcar(path)
    write_chgcar(path, density)
    assert path.read_bytes() == content
    write_chgcar(path, replace(density, comment="an initial density"))
    assert b"\r" not in path.read_bytes()


def test_headers_with_three_factors_and_fortran_exponents(chgcar):
    path, text = chgcar
    whole = read_chgcar(path)
    lines = text.splitlines(keepends=True)
    lines[1] = "   1.0D0  1.0  2.0\n"
    path.write_text("".join(lines))
    read = read_chgcar(path)
    np.testing.assert_allclose(read.crystal.lattice, whole.crystal.lattice * [1, 1, 2])
    np.testing.assert_allclose(2 * read.total, whole.total)
    lines[1] = "   1.0  1.0  -2.0\n"
    path.write_text("".join(lines))
    with pytest.raises(IncompleteGridError, match="three scaling factors must be positive"):
        read_chgcar(path)


def test_counts_of_thousands_of_digits_are_refused(chgcar):
    path, text = chgcar
    lines = text.splitlines(keepends=True)
    for line in (lines[6], "    4    3    6\n"):
        path.write_text(text.replace(line, line.replace(line.split()[0], "9" * 40, 1)))
        with pytest.raises(IncompleteGridError, match="expected"):
            read_chgcar(path)
