"""Fixtures of more than one folder of tests."""

import os
from pathlib import Path

import pytest

# The tests ask for the embedded executable, unless they configure another one.
os.environ.setdefault("MLCHARGE_VASP_CMD", "gpaw-vasp")

VASP_SAMPLES = Path(
    os.environ.get("MLCHARGE_VASP_SAMPLES") or Path(__file__).parents[2] / "shared" / "vasp_samples"
)
"""Real VASP files, fetched by test_files/fetch_vasp_samples.py."""

CASES = Path(os.environ.get("MLCHARGE_CASES") or Path(__file__).parents[2] / "shared" / "cases")
"""Files that people have, and hostile ones, each with a right answer."""


def _folder_or_skip(folder: Path, reason: str) -> Path:
    """Tests skip without a folder that is not in the repository, but fail in CI."""
    if not folder.is_dir():
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def vasp_samples():
    """Folder of the real VASP files; tests that need it skip without, but fail in CI."""
    return _folder_or_skip(
        VASP_SAMPLES,
        f"no real VASP files in {VASP_SAMPLES}: fetch them with "
        "test_files/fetch_vasp_samples.py, or set MLCHARGE_VASP_SAMPLES",
    )


@pytest.fixture(scope="session")
def cases():
    """Folder of the cases; tests that need it skip without, but fail in CI."""
    return _folder_or_skip(CASES, f"no cases in {CASES}: set MLCHARGE_CASES")


@pytest.fixture(autouse=True, scope="module")
def no_litter():
    """Tests leave nothing in the folder that they are run from."""
    before = {path.name for path in Path.cwd().iterdir()}
    yield
    left = {path.name for path in Path.cwd().iterdir() if not path.name.startswith(".")} - before
    assert not left - {"__pycache__"}, f"files that a test wrote into {Path.cwd()}"


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The tiny architecture is known to the registry; no other model is."""
    pytest.importorskip("torch", reason="needs the models extra")
    pytest.importorskip("safetensors", reason="needs the models extra")
    from mlcharge_flows.models import registry
    from mlcharge_flows.testing import tiny_model

    tiny_model.register(monkeypatch)
    tiny_model.LOADS.clear()
    registry._load.cache_clear()
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("MLCHARGE_MODELS", str(tmp_path / "models"))
    yield tiny_model
    registry._load.cache_clear()


@pytest.fixture(scope="session")
def silicon():
    """The primitive cell."""
    from pymatgen.core import Lattice, Structure

    cell = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    return cell.get_primitive_structure()


@pytest.fixture
def salt():
    """MgO, its ions given in the order that no input set keeps."""
    from pymatgen.core import Lattice, Structure

    return Structure(Lattice.cubic(3.0), ["O", "Mg"], [[0.5, 0.5, 0.5], [0, 0, 0]])


@pytest.fixture
def atoms(tiny):
    """PAW data sets of that salt."""
    return {"Mg": tiny.atom("Mg", 2.0), "O": tiny.atom("O", 6.0)}


@pytest.fixture
def inputs(salt, atoms, monkeypatch):
    """Inputs of a run of the salt, with a POTCAR of those data sets."""
    from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
    from mlcharge_flows.sources import RunInputs

    monkeypatch.setattr(RunInputs, "_potcar", atoms)
    return RunInputs.from_generator(salt, ComparisonSetGenerator())


@pytest.fixture
def trained(tiny, atoms, inputs, tmp_path):
    """Write a checkpoint for these data sets; gives its path."""

    def trained(name="tiny", **changes):
        path = tmp_path / "models" / f"{name}.safetensors"
        return str(tiny.write(path, atoms, [inputs.crystal], name=name, **changes))

    return trained


@pytest.fixture
def silicon_library(tmp_path):
    """A library with one data set, of the TITEL of the sample ``si2_aiida``; numbers invented."""
    import gzip

    from synthetic_potcar import potcar

    folder = tmp_path / "potcars" / "POT_GGA_PAW_PBE"
    folder.mkdir(parents=True)
    (folder / "POTCAR.Si.gz").write_bytes(gzip.compress(potcar().encode()))
    return folder.parent
