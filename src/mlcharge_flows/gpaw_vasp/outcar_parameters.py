"""The parameter block of OUTCAR: sizes of the run and the tags that decided it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcharge_flows.gpaw_vasp.fortran_format import exponential
from mlcharge_flows.gpaw_vasp.vasprun_parameters import grouped_parameters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlcharge_flows.gpaw_vasp.result import Run


def parameter_lines(run: Run) -> Iterator[str]:
    """Lines from the array dimensions to the smearing.

    Parameters
    ----------
    run
        The run.
    """
    tag = {name: value for tags in grouped_parameters(run).values() for name, value in tags.items()}
    points, bands = run.eigenvalues.shape
    per_type = "".join(f"{count:4d}" for _, count in run.crystal.species)
    coarse = (tag["NGX"], tag["NGY"], tag["NGZ"])
    fine = (tag["NGXF"], tag["NGYF"], tag["NGZF"])
    yield " Dimension of arrays:"
    yield (
        f"   k-points           NKPTS ={points:7d}   k-points in BZ     NKDIM ={points:7d}"
        f"   number of bands    NBANDS={bands:7d}"
    )
    yield (
        f"   number of dos      NEDOS ={len(run.dos_energies):7d}"
        f"   number of ions     NIONS ={len(run.crystal):7d}"
    )
    yield f"   total plane-waves  NPLWV ={coarse[0] * coarse[1] * coarse[2]:7d}"
    yield "   dimension x,y,z NGX ={:6d} NGY ={:5d} NGZ ={:5d}".format(*coarse)
    yield "   dimension x,y,z NGXF={:6d} NGYF={:5d} NGZF={:5d}".format(*fine)
    yield f"   ions per type =            {per_type}"
    yield ""
    yield f" SYSTEM =  {tag['SYSTEM']}"
    yield f" POSCAR =  {run.comment}"
    yield ""
    yield " Startparameter for this run:"
    yield f"   PREC   = {tag['PREC']}"
    yield f"   ISTART ={tag['ISTART']:7d}    job"
    yield f"   ICHARG ={tag['ICHARG']:7d}    charge: 1-file 2-atom 10-const"
    yield f"   ISPIN  ={tag['ISPIN']:7d}    spin polarized calculation?"
    yield "   LNONCOLLINEAR =      F non collinear calculations"
    yield "   LSORBIT =      F    spin-orbit coupling"
    yield f"   LASPH  ={_logical(tag['LASPH']):>7s}"
    yield ""
    yield " Electronic Relaxation 1"
    yield f"   ENCUT  ={tag['ENMAX']:7.1f} eV"
    yield (
        f"   NELM   ={tag['NELM']:7d};   NELMIN={tag['NELMIN']:3d};"
        f" NELMDL={tag['NELMDL']:3d}     # of ELM steps"
    )
    yield f"   EDIFF  = {exponential(tag['EDIFF'], 7, 1)}   stopping-criterion for ELM"
    yield f"   LMAXMIX     ={tag['LMAXMIX']:5d} max onsite mixed and CHGCAR"
    yield " Ionic relaxation"
    yield f"   NSW    ={tag['NSW']:7d}    number of steps for IOM"
    yield f"   IBRION ={tag['IBRION']:7d}    ionic relax"
    yield f"   ISIF   ={tag['ISIF']:7d}    stress and relaxation"
    yield f"   ISYM   ={tag['ISYM']:7d}    symmetry"
    yield "  Mass of Ions in am"
    yield "   POMASS =" + "".join(f"{data.mass:7.2f}" for data in run.datasets)
    yield "  Ionic Valenz"
    yield "   ZVAL   =" + "".join(f"{data.zval:7.2f}" for data in run.datasets)
    yield f"   NELECT ={run.electrons:13.4f}    total number of electrons"
    yield ""
    yield " DOS related values:"
    yield f"   ISMEAR ={tag['ISMEAR']:6d};   SIGMA  ={tag['SIGMA']:7.2f}  broadening in eV"
    yield ""
    yield " Write flags"
    yield f"   LCHARG ={_logical(tag['LCHARG']):>7s}    write CHGCAR"
    yield f"   LORBIT ={tag['LORBIT']:7d}"
    yield ""
    yield " Exchange correlation treatment:"
    yield f"   GGA     ={tag['GGA']:>6s}    GGA type"
    yield f"   LHFCALC ={_logical(tag['LHFCALC']):>6s}    Hartree Fock"


def _logical(value: object) -> str:
    return "T" if value else "F"
