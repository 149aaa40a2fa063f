"""Functionals on PBE data sets, and DFT+U: against other kernels, GPAW itself, and limits."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from ase import Atoms
from gpaw.new.ase_interface import GPAW
from gpaw.setup import create_setup
from gpaw.xc import XC
from pymatgen.io.vasp import Kpoints, Vasprun

from mlcharge_flows.gpaw_vasp import functionals
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.gpaw_vasp.hubbard import effective_hubbard
from mlcharge_flows.gpaw_vasp.inputs import read_inputs
from mlcharge_flows.gpaw_vasp.symmetry import gpaw_symmetry

pytestmark = pytest.mark.gpaw

GAMMA = Kpoints.gamma_automatic((1, 1, 1))
QUICK = {"ENCUT": 200, "EDIFF": 1e-5}
HUBBARD = {"LDAU": True, "LDAUTYPE": 2, "LDAUL": [1], "LDAUU": [2.0], "LDAUJ": [0.0]}


@pytest.fixture
def silicon(run_folder):
    """A function that computes silicon at Gamma and returns folder and run."""

    def compute(name, **tags):
        folder = run_folder("Si", name, kpoints=GAMMA, **(QUICK | tags))
        return folder, execute(folder)

    return compute


def test_two_kernels_of_one_functional_agree(silicon, monkeypatch):
    _, native = silicon("native", GGA="RP", NELM=6)
    monkeypatch.setitem(functionals.KERNELS, "RP", "pyRPBE")
    _, python = silicon("python", GGA="RP", NELM=6)
    assert python.steps[-1].free_energy == pytest.approx(native.steps[-1].free_energy, abs=1e-3)


@pytest.mark.slow
def test_functionals_order_the_pressure(silicon):
    """PBE, revPBE and RPBE expand a crystal beyond PBEsol and LDA."""
    stress = {}
    for gga in ("CA", "PS", "PE", "RE", "RP"):
        folder, run = silicon(gga, GGA=gga, EDIFF=1e-3)
        stress[gga] = np.trace(run.stress)
        read = Vasprun(folder / "vasprun.xml", parse_potcar_file=False)
        assert read.parameters["GGA"].upper() == gga
    assert stress["CA"] < stress["PS"] < stress["PE"] < stress["RE"] < stress["RP"]


def test_energies_refer_to_atoms_of_the_same_functional(silicon):
    """The cohesive energy depends on the functional by less than an electron volt per atom."""
    energies = {gga: silicon(gga, GGA=gga, NELM=6)[1].steps[-1].free_energy for gga in ("PE", "PS")}
    assert abs(energies["PS"] - energies["PE"]) < 2
    data = create_setup("Si", XC("PBE"), lmax=2).data
    assert functionals.atomic_energy(data, XC("PBE")) == pytest.approx(data.e_xc, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("gga", ["PS", "CA"])
def test_functionals_work_with_two_spins(silicon, gga):
    _, one = silicon("one", GGA=gga, NBANDS=8)
    _, two = silicon("two", GGA=gga, NBANDS=8, ISPIN=2, MAGMOM=[0.3, 0.3])
    assert two.steps[-1].free_energy == pytest.approx(one.steps[-1].free_energy, abs=2e-4)


def test_hubbard_energy_is_that_of_gpaw(silicon):
    folder, run = silicon("u", **HUBBARD)
    crystal = run.crystal
    atoms = Atoms(
        crystal.symbols, cell=crystal.lattice, scaled_positions=crystal.positions, pbc=True
    )
    atoms.calc = GPAW(
        mode={"name": "pw", "ecut": 200},
        xc="PBE",
        setups={"Si": ":p,2.0"},
        gpts=[run.parameters[tag] for tag in ("NGX", "NGY", "NGZ")],
        kpts={"size": (1, 1, 1), "gamma": True},
        nbands=run.parameters["NBANDS"],
        occupations={"name": "methfessel-paxton", "order": 0, "width": 0.1},
        convergence={"energy": 1e-6, "density": 1e-6},
        txt=None,
    )
    assert run.steps[-1].energy_zero == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    read = Vasprun(folder / "vasprun.xml", parse_potcar_file=False)
    assert read.is_hubbard
    assert read.run_type == "PBE+U"
    assert read.hubbards == {"Si": 2.0}


def test_equal_u_and_j_change_nothing(silicon):
    _, plain = silicon("plain", NELM=6)
    _, corrected = silicon("corrected", NELM=6, **(HUBBARD | {"LDAUJ": [2.0]}))
    assert [step.free_energy for step in corrected.steps] == [
        step.free_energy for step in plain.steps
    ]


def test_hubbard_tags_have_vasps_defaults_and_blocks():
    assert effective_hubbard({"LDAU": False, "LDAUL": [7]}, (1,)) == ()
    assert effective_hubbard({"LDAU": True}, (1, 2)) == ((-1, 0.0),) * 3
    tags = {"LDAU": True, "LDAUL": [2, 3], "LDAUU": [5, 0.5], "LDAUJ": [1, 0.0]}
    assert effective_hubbard(tags, (2, 1)) == ((2, 4), (2, 4), (3, 0.5))


@pytest.mark.parametrize(
    ("tags", "match"),
    [
        ({"LDAUU": [2.0, 1.0]}, "LDAUU .* 1 blocks"),
        ({"LDAUU": [True]}, "LDAUU"),
        ({"LDAUJ": [float("nan")]}, "not finite"),
        ({"LDAUL": [4]}, "LDAUL = 4"),
        ({"LDAUL": [1.5]}, "LDAUL = 1.5"),
    ],
)
def test_hubbard_tags_that_make_no_sense_are_refused(tags, match):
    with pytest.raises(UnsupportedInputError, match=match):
        effective_hubbard(HUBBARD | tags, (2,))


@pytest.mark.parametrize(
    ("tags", "match"),
    [({"LDAUL": [3]}, "no f projectors"), ({"LDAUTYPE": 1}, "LDAUTYPE"), ({"GGA": "91"}, "GGA")],
)
def test_what_cannot_be_computed_is_refused(silicon, tags, match):
    with pytest.raises(UnsupportedInputError, match=match):
        silicon("refused", **(HUBBARD | tags))


def test_ions_of_another_u_are_other_ions(run_folder):
    inputs = read_inputs(run_folder("Si", kpoints=GAMMA, **QUICK, **HUBBARD))

    def n_rotations(kinds):
        return len(gpaw_symmetry(inputs.crystal, 2, 1e-5, inputs.kpoints, kinds).rotations)

    # About the center of an ion, as without U; the second group lacks only the glides.
    assert n_rotations(inputs.kinds) == n_rotations(np.array([[1.0, 2.0], [1.0, 3.0]])) == 24
    assert n_rotations(np.array([1.0, -1.0])) == 24
