"""What a model has learned of a material, as a sample: to train on where its data set is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcharge_flows.sources.inputs import VaspInputs
from mlcharge_flows.sources.learned import LearnedStartMaker
from mlcharge_flows.training.sample import DensitySample, Origin
from mlcharge_flows.training.split import PSEUDO_LABELED

if TYPE_CHECKING:
    from pymatgen.io.vasp.sets import VaspInputSet

    from mlcharge_flows.structures import Material


def recall(material: Material, generator: VaspInputSet, protocol: str, model: str) -> DensitySample:
    """Predict a material on the grid of its run, and pack it as if it were the run's.

    A network that is trained on new materials alone forgets the earlier ones; beside their
    predictions by the network that knew them it does not (rehearsal on its own outputs: Robins,
    Connection Science 7, 123; Li and Hoiem, IEEE TPAMI 40, 2935).

    Parameters
    ----------
    material
        One that the model was trained on.
    generator
        Makes the inputs that the run had.
    protocol
        Hash of these settings.
    model
        Name of the model, or path of its checkpoint.

    Returns
    -------
    DensitySample
        Of the split ``recalled``: training takes it, validation never does.

    Raises
    ------
    StartError
        The model refuses the material.
    """
    inputs = VaspInputs(material.structure, generator)
    density = LearnedStartMaker(model=model).density(inputs, None, [])
    origin = Origin(material.id, protocol, f"predicted by {model}", PSEUDO_LABELED)
    return DensitySample.pack(density, inputs.potcars, origin, encut=inputs.incar.get("ENCUT"))
