"""Every atomate2 Maker runs as it would alone while its inputs are observed."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from atomate2.vasp.jobs.core import (
    DielectricMaker,
    HSEBSMaker,
    HSEStaticMaker,
    NonSCFMaker,
    PolarizationMaker,
    RelaxMaker,
    StaticMaker,
    TightRelaxMaker,
    TransmuterMaker,
)
from atomate2.vasp.jobs.elastic import ElasticRelaxMaker
from atomate2.vasp.jobs.matpes import MatPesGGAStaticMaker
from atomate2.vasp.jobs.md import MDMaker
from atomate2.vasp.jobs.mp import MPGGARelaxMaker, MPGGAStaticMaker, MPMetaGGAStaticMaker
from atomate2.vasp.jobs.phonons import PhononDisplacementMaker
from atomate2.vasp.sets.base import VaspInputGenerator
from atomate2.vasp.sets.core import NonSCFSetGenerator, StaticSetGenerator
from pymatgen.io.vasp import Incar

from mlcharge_flows.atomate2.jobs.run import RunFromDensityMaker
from mlcharge_flows.atomate2.wrapper import ObservedInputGenerator, WrapperMaker
from mlcharge_flows.settings import Settings

ARGUMENTS = {NonSCFMaker: {"mode": "line"}, HSEBSMaker: {"mode": "uniform"}}
MAKERS = [
    *(StaticMaker, RelaxMaker, TightRelaxMaker, NonSCFMaker, HSEStaticMaker, HSEBSMaker),
    *(DielectricMaker, PolarizationMaker, ElasticRelaxMaker, PhononDisplacementMaker, MDMaker),
    *(MPGGARelaxMaker, MPGGAStaticMaker, MPMetaGGAStaticMaker, MatPesGGAStaticMaker),
    TransmuterMaker,
]


@pytest.mark.parametrize("kind", MAKERS, ids=lambda kind: kind.__name__)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_inputs_are_those_of_the_maker_alone_but_for_the_initial_density(
    kind, silicon, tmp_path, monkeypatch
):
    monkeypatch.setattr(Settings, "activated", lambda self: nullcontext())
    options = {"job_type": "direct", "vasp_cmd": "false"}
    maker = kind(run_vasp_kwargs=options, write_input_set_kwargs={"potcar_spec": True})
    if kind is TransmuterMaker:
        maker.transformations = ["SupercellTransformation"]
        maker.transformation_params = [{"scaling_matrix": 1}]
    given = ARGUMENTS.get(kind, {})

    def written(maker):
        folder = tmp_path / type(maker).__name__
        folder.mkdir()
        monkeypatch.chdir(folder)
        try:
            maker.make.original(maker, silicon, None, **given)
        except Exception:  # there is no VASP
            assert Path("INCAR").exists()
        files = {
            name: Path(name).read_text() for name in ("POSCAR", "KPOINTS") if Path(name).exists()
        }
        return dict(Incar.from_file("INCAR")), files

    alone, files = written(maker)
    incar, same = written(RunFromDensityMaker(maker=maker, icharg=2, on_error="record"))
    assert same == files
    added = {"NGXF", "NGYF", "NGZF", "LMAXMIX", "ICHARG", "ISTART"}
    assert {tag: incar[tag] for tag in incar.keys() - added} == {
        tag: alone[tag] for tag in alone.keys() - added
    }
    assert added <= incar.keys()
    assert (incar["ICHARG"], incar["ISTART"]) == (2, 0)
    assert json.loads(Path("mlcharge.json").read_text())["icharg"] == 2


def test_the_generator_behind_is_read_and_set():
    generator, seen = NonSCFSetGenerator(), []
    observed = ObservedInputGenerator(generator, seen.append)
    observed.mode = "uniform"
    assert generator.mode == observed.mode == "uniform"
    assert observed.as_dict() == generator.as_dict()
    assert isinstance(observed, VaspInputGenerator)
    assert not hasattr(observed, "no_such_attribute")
    assert not seen


def test_the_wrapped_generator_is_never_changed(silicon):
    generator = StaticSetGenerator()
    wrapper = WrapperMaker(maker=StaticMaker(input_set_generator=generator))
    assert wrapper.input_set_generator is generator
    assert "get_input_set" not in vars(generator)
