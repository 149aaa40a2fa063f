"""Running any atomate2 VASP Maker from an initial density, or from free atoms."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from atomate2.utils.path import strip_hostname
from atomate2.vasp.jobs.base import BaseVaspMaker, vasp_job
from atomate2.vasp.jobs.core import StaticMaker
from atomate2.vasp.run import DEFAULT_HANDLERS
from custodian.custodian import CustodianError
from custodian.vasp.validators import VaspFilesValidator, VasprunXMLValidator
from emmet.core.tasks import TaskDoc
from jobflow import Response

from mlcharge_flows.atomate2.execution import execution, takes_gamma_executable
from mlcharge_flows.atomate2.handlers import (
    CrashedDensityHandler,
    CrashedOrbitalsHandler,
    DivergedDensityHandler,
    DivergedOrbitalsHandler,
    InitialDensityValidator,
)
from mlcharge_flows.atomate2.run_processes import run_processes
from mlcharge_flows.atomate2.schemas import RunProvenance
from mlcharge_flows.atomate2.sets.comparison import lmaxmix
from mlcharge_flows.atomate2.staging import (
    can_begin_from,
    can_take_orbitals,
    existing_density_reason,
    finalize_run,
    remove_initial_files,
    remove_stale,
    stage_chgcar,
)
from mlcharge_flows.atomate2.wrapper import ObservedInputGenerator, WrapperMaker
from mlcharge_flows.errors import one_line
from mlcharge_flows.io import plain_or_compressed
from mlcharge_flows.scf.count import count_run
from mlcharge_flows.settings import Settings
from mlcharge_flows.sources.initial_chgcar import InitialDensityDocument, frozen_moments_reason
from mlcharge_flows.sources.magmom import keeps_density
from mlcharge_flows.sources.run_inputs import RunInputs
from mlcharge_flows.sources.source import SourceError
from mlcharge_flows.vasp.algorithm import algorithm, takes_rmm_diis
from mlcharge_flows.vasp.incar import read_incar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from atomate2.vasp.sets.base import VaspInputGenerator
    from pymatgen.core import Structure
    from pymatgen.io.vasp import VaspInput

    from mlcharge_flows.atomate2.jobs.initial_density import OnError
    from mlcharge_flows.sources.initial_density import InitialDensity

OnDensityError = Literal["atoms", "raise"]

RMM_DELAY = 2
"""Steps at fixed density before initial orbitals meet RMM-DIIS (ALGO = Fast, VeryFast). With ALGO =
Fast, VASP takes its Davidson scheme within them. Without them silicon takes 19 steps instead of 11
by default, with them 3."""


@dataclass
class RunFromDensityMaker(WrapperMaker):
    """Run a VASP Maker from an initial density.

    The wrapped Maker stays as it is and runs as it would alone. When its inputs are made, the
    initial CHGCAR is staged in the folder for just these inputs, and the INCAR gets ICHARG,
    ISTART = 0, the fine grid as NGXF, NGYF, NGZF, and LMAXMIX where it is not set. With
    ``icharg=2`` the same settings run from free atoms: the reference to compare with.

    Initial orbitals are written as the WAVECAR with ISTART = 1, a delay is set as NELMDL. Orbitals
    that cannot be made are documented, and the run begins from the density alone. The WAVECAR is
    removed when the run has ended, unless VASP has replaced it by its result. A run that inherits a
    CHGCAR and no WAVECAR, such as one for bands, gets them as well.

    ``mlcharge.json`` in the folder, and so the task document, holds the provenance. If VASP refuses
    the orbitals, or the SCF diverges, custodian restarts the run once from the density alone, and
    if it diverges from the density, once from free atoms, unless the wrapped Maker has no handlers
    at all.

    Parameters
    ----------
    name
        Name of the job.
    maker
        Any atomate2 VASP Maker.
    initial_density
        Written in the folder of the run. If :meth:`make` is given the document of a density, only
        its orbitals and its delay are, and without them it is not needed.
    icharg
        1: self-consistent from the initial density; 11: at its fixed density; 2: from free atoms.
        Each of these is an order: without its initial density nothing runs. None: what the run has
        without this package (an inherited CHGCAR or WAVECAR, an ICHARG of its input set) wins,
        and ICHARG is 1 if the input set does not fix it, also for an inherited CHGCAR that fits the
        run.
    on_error
        ``"raise"``, or ``"record"`` to return a document of the failed run, whose folder can then
        be counted: a crashed arm is a result of a comparison.
    explicit_kpoints
        Whether KPOINTS becomes a list of the irreducible points of its mesh where initial orbitals
        need it: where it is not known in which order VASP lists them.
    on_density_error
        What to do without an order if the initial density cannot be made: ``"atoms"`` documents the
        reason and runs from free atoms, ``"raise"`` fails.
    """

    name: str = "run from density"
    maker: BaseVaspMaker = field(default_factory=StaticMaker)
    initial_density: InitialDensity | None = None
    icharg: int | None = 1
    on_error: OnError = "raise"
    explicit_kpoints: bool = False
    on_density_error: OnDensityError = "atoms"

    @vasp_job
    def make(
        self,
        structure: Structure,
        prev_dir: str | Path | None = None,
        *args: Any,
        document: InitialDensityDocument | None = None,
        **kwargs: Any,
    ) -> Response[TaskDoc]:
        """Run the wrapped Maker.

        Parameters
        ----------
        structure
            Structure.
        prev_dir
            As for the wrapped Maker.
        *args
            Further arguments of the wrapped Maker.
        document
            Initial density that another job has written; not for ``icharg=2``.
        **kwargs
            Further arguments of the wrapped Maker, such as the ``mode`` of a band structure.

        Returns
        -------
        Response
            Task document of the run.

        Raises
        ------
        SourceError
            There is no initial density, VASP did not read the density that it was to keep, or that
            density would keep the moments of MAGMOM; like all errors, only if `on_error` is
            ``"raise"``.
        """
        folder = Path.cwd()
        remove_stale(folder)
        provenance = RunProvenance(
            icharg=self.icharg, run_folder=str(folder), initial_density=document
        )
        provenance.write(folder)
        try:
            with Settings().activated(), run_processes(folder):
                maker = _prepared(self.maker)
                _leave_out_added_tags(maker.input_set_generator, prev_dir)
                observed: Any = ObservedInputGenerator(
                    maker.input_set_generator,
                    lambda made: self._stage(made, provenance, folder, prev_dir),
                )
                maker.input_set_generator = observed
                # The undecorated method: this is the job, the wrapped Maker runs within it.
                make: Any = type(maker).make
                run: Response[TaskDoc] = make.original(maker, structure, prev_dir, *args, **kwargs)
                return run
        except Exception as error:
            provenance = finalize_run(folder) or provenance
            unread = provenance.unread_density
            cause = SourceError(unread) if unread else error
            provenance.failure = f"{type(cause).__name__}: {one_line(cause)}"
            if isinstance(cause, CustodianError) and (shown := count_run(folder).failure):
                # A validator knows no more than that outputs are missing.
                cause.add_note(f"mlcharge: {shown}")
                provenance.failure = f"{shown} ({provenance.failure})"
            provenance.write(folder)
            if self.on_error == "raise":
                if cause is error:
                    raise
                raise cause from error
            failed: dict[str, Any] = {"dir_name": str(folder), "state": "failed"}
            failed["calcs_reversed"] = []  # without it, the stored document cannot be read again
            return Response(output=TaskDoc.model_validate(failed))

    def _stage(
        self,
        made: VaspInput,
        provenance: RunProvenance,
        folder: Path,
        prev_dir: str | Path | None,
    ) -> None:
        """Give the inputs their initial density unless they have one; the provenance tells."""
        inputs = RunInputs.from_input_set(made, prev_dir)
        potcars = made["POTCAR"] if inputs.has_potcar else ()
        provenance.execution = execution(self.maker.run_vasp_kwargs.get("vasp_cmd"), potcars)
        icharg = self.icharg
        if icharg is None:
            icharg = 11 if keeps_density(inputs) else 1
            reason = existing_density_reason(self.maker, inputs.incar, folder)
            if reason is None:
                remove_initial_files(folder)
                provenance.initial_density = self._stage_density(provenance, inputs, folder)
            provenance.existing_density_reason = reason
            given = provenance.initial_density
            if reason or given is None or given.failure:
                if reason == "CHGCAR inherited":
                    self._use_inherited_chgcar(made, inputs, provenance, folder)
                provenance.icharg = made["INCAR"].get("ICHARG", inputs.incar.get("ICHARG"))
                provenance.write(folder)
                return
        elif icharg != 2:
            provenance.initial_density = self._stage_density(provenance, inputs, folder)
        given = provenance.initial_density
        if (
            icharg == 11
            and given
            and (reason := frozen_moments_reason(inputs.incar, given.has_magnetization))
        ):
            raise SourceError(reason)
        tags = {
            "LMAXMIX": inputs.incar.get("LMAXMIX", lmaxmix(inputs.structure.atomic_numbers)),
            **inputs.grid_tags,
            "ICHARG": icharg,
            "ISTART": 0,
        }
        if icharg != 2:
            tags |= self._stage_orbitals(made, inputs, provenance, folder)
        _add_tags(made, tags, provenance)
        provenance.icharg = icharg
        provenance.write(folder)

    def _use_inherited_chgcar(
        self, made: VaspInput, inputs: RunInputs, provenance: RunProvenance, folder: Path
    ) -> None:
        """Let a run begin from a CHGCAR that it inherits and, if it can, from initial orbitals."""
        tags: dict[str, int] = {}
        if can_begin_from(folder / "CHGCAR", inputs):
            tags["ICHARG"] = 1
        if can_take_orbitals(self.maker, {**inputs.incar, **tags}, folder):
            tags |= self._stage_orbitals(made, inputs, provenance, folder)
        _add_tags(made, tags, provenance)

    def _stage_orbitals(
        self, made: VaspInput, inputs: RunInputs, provenance: RunProvenance, folder: Path
    ) -> dict[str, int]:
        """Write the WAVECAR of initial orbitals, if there are to be any; INCAR tags for them.

        Without orbitals that were wanted, their delay would be too short.

        Returns
        -------
        dict of str to int
            ISTART = 1 and NELMDL.
        """
        initial, tags = self.initial_density, {}
        if initial is None or initial.is_density_only:
            return {}
        if initial.orbitals is not None:
            gamma_only = takes_gamma_executable(made, _options(self.maker))
            meshed = replace(inputs, gamma_only=gamma_only)
            inputs = meshed.with_listed_kpoints() if self.explicit_kpoints else meshed
            found = provenance.initial_orbitals = initial.orbitals.document(inputs, folder)
            if found.failure is not None:
                return {}
            if inputs is not meshed:
                made["KPOINTS"] = inputs.kpoints
                found.explicit_kpoints = True
            tags["ISTART"] = 1
        delay = initial.n_delay
        if delay is None and "ISTART" in tags and "NELMDL" not in inputs.incar:
            delay = RMM_DELAY if takes_rmm_diis(algorithm(inputs.incar)) else None
        if delay is not None:
            tags["NELMDL"] = -delay
        return tags

    def _stage_density(
        self, provenance: RunProvenance, inputs: RunInputs, folder: Path
    ) -> InitialDensityDocument:
        """Put the initial CHGCAR into the folder: the one given, else one that is made here.

        Returns
        -------
        InitialDensityDocument
            What was put there, or why nothing was.

        Raises
        ------
        SourceError
            There is none, and `icharg`, `on_density_error` or an ICHARG = 11 of the input set
            demand one.
        """
        given, own = provenance.initial_density, self.initial_density
        try:
            if given is None and own is not None:
                return own.write(inputs, folder)
            if given is None:
                raise SourceError("no initial density was written for this run")
            return stage_chgcar(given, inputs, folder, adapt=self.icharg is None)
        except Exception as error:
            is_ordered = self.icharg is not None or keeps_density(inputs)
            if is_ordered or self.on_density_error == "raise":
                raise
            if given is None and own is not None:
                return own.failed(error)
            density_source = given.density_source if given else "none"
            return InitialDensityDocument.of_failure(error, density_source)


def _add_tags(made: VaspInput, tags: Mapping[str, int], provenance: RunProvenance) -> None:
    """Set INCAR tags of initial density and orbitals; the provenance tells what was there."""
    incar = made["INCAR"]
    provenance.added_tags = {tag: value for tag, value in tags.items() if incar.get(tag) != value}
    provenance.replaced_tags = {t: incar[t] for t in provenance.added_tags if t in incar}
    incar.update(tags)


def _leave_out_added_tags(generator: VaspInputGenerator, prev_dir: str | Path | None) -> None:
    """Let a generator that inherits an INCAR leave out what the earlier run's density needed.

    The grid of that run is pinned, and the cell of this one may be another.
    """
    if prev_dir is None or not generator.inherit_incar:
        return
    folder = Path(strip_hostname(prev_dir))
    before = RunProvenance.read(folder)
    if before is None or not before.added_tags:
        return
    inherited: Any = generator.inherit_incar
    if inherited is True:
        inherited = read_incar(plain_or_compressed(folder / "INCAR"))
    # LMAXMIX does no harm, and a CHGCAR that is inherited needs it.
    generator.inherit_incar = [
        tag for tag in inherited if tag == "LMAXMIX" or tag not in before.added_tags
    ]
    if "NELMDL" in inherited and (delay := before.replaced_tags.get("NELMDL")) is not None:
        generator.user_incar_settings = {"NELMDL": delay, **generator.user_incar_settings}


def _options(maker: BaseVaspMaker) -> dict[str, Any]:
    """Arguments of atomate2's ``run_vasp``, with the configured executable if none is given."""
    given = maker.run_vasp_kwargs
    return given if "vasp_cmd" in given else {**Settings().run_vasp_kwargs, **given}


def _prepared(maker: BaseVaspMaker) -> BaseVaspMaker:
    """Copy of the wrapped Maker with the executable, our handlers and our validator."""
    maker = deepcopy(maker)
    options = maker.run_vasp_kwargs
    options.update(_options(maker))
    if handlers := options.get("handlers", DEFAULT_HANDLERS):
        options["handlers"] = [
            DivergedOrbitalsHandler(),
            CrashedOrbitalsHandler(),
            DivergedDensityHandler(),
            CrashedDensityHandler(),
            *handlers,
        ]
    validators = options.get("validators") or (VasprunXMLValidator(), VaspFilesValidator())
    options["validators"] = [InitialDensityValidator(), *validators]
    return maker
