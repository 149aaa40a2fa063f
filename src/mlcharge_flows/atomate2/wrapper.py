"""Delegation to a wrapped VASP Maker, and to its input set generator."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self

from atomate2.vasp.jobs.base import BaseVaspMaker
from atomate2.vasp.sets.base import VaspInputGenerator
from jobflow import Maker

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymatgen.io.vasp import VaspInput

_FIELDS = {item.name for item in fields(BaseVaspMaker)} - {"name"}


class _Delegated:
    """A field of the wrapped Maker, read and set through the wrapper."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, wrapper: Any, owner: type | None = None) -> Any:
        return self if wrapper is None else getattr(wrapper.maker, self.name)

    def __set__(self, wrapper: Any, value: Any) -> None:
        setattr(wrapper.maker, self.name, value)


@dataclass
class WrapperMaker(Maker):
    """A Maker that delegates to a wrapped VASP Maker.

    Flows and power-ups find the settings of the wrapped Maker as if it stood alone. The wrapper is
    no VASP Maker itself: a power-up with ``class_filter=BaseVaspMaker``, or with the class of the
    wrapped Maker, must find one Maker, the wrapped one, and not two.

    Parameters
    ----------
    name
        Name of the job.
    maker
        The VASP Maker.

    Examples
    --------
    >>> from atomate2.vasp.jobs.core import StaticMaker
    >>> wrapper = WrapperMaker(maker=StaticMaker())
    >>> wrapper.write_additional_data["phonon_info:json"] = {"displacement_number": 3}
    >>> wrapper.maker.write_additional_data
    {'phonon_info:json': {'displacement_number': 3}}
    """

    name: str = "wrapper"
    maker: BaseVaspMaker = field(default_factory=BaseVaspMaker)

    input_set_generator = _Delegated()
    write_input_set_kwargs = _Delegated()
    copy_vasp_kwargs = _Delegated()
    run_vasp_kwargs = _Delegated()
    task_document_kwargs = _Delegated()
    stop_children_kwargs = _Delegated()
    write_additional_data = _Delegated()

    def update_kwargs(
        self,
        update: dict[str, Any],
        name_filter: str | None = None,
        class_filter: type[Maker] | None = None,
        nested: bool = True,
        dict_mod: bool = False,
    ) -> Maker:
        """Update the wrapped Maker, unless the filter asks for a Maker of another kind.

        Flows update without a filter what they take for a VASP Maker; the other fields of the
        wrapper know no such settings.

        Parameters
        ----------
        update
            New values.
        name_filter
            Only Makers with this in their name.
        class_filter
            Only Makers of this class.
        nested
            Whether Makers within Makers are updated.
        dict_mod
            Whether `update` is in jobflow's language of modifications.

        Returns
        -------
        Maker
            A changed copy.
        """
        # jobflow also takes an instance for its class.
        wanted = class_filter if inspect.isclass(class_filter) else type(class_filter)
        filters: Any = (name_filter, class_filter, nested, dict_mod)
        if class_filter is None or wanted is Maker or issubclass(wanted, BaseVaspMaker):
            return replace(self, maker=self.maker.update_kwargs(update, *filters))
        updated: Maker = super().update_kwargs(update, *filters)
        return updated

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Self:
        """Read a serialized wrapper.

        Parameters
        ----------
        d
            The fields; those of a VASP Maker among them are set in the wrapped one.

        Returns
        -------
        WrapperMaker
            The wrapper.
        """
        own = {key: value for key, value in d.items() if key not in _FIELDS}
        made: Any = super().from_dict(own)
        wrapper: Self = made
        for key in _FIELDS & d.keys():
            old, new = getattr(wrapper, key), d[key]
            both = isinstance(old, dict) and isinstance(new, dict)
            setattr(wrapper, key, old | new if both else new)
        return wrapper


class ObservedInputGenerator:
    """An input set generator that hands the inputs it has made to a function before they are used.

    atomate2's Makers read and set the attributes of their generator and call ``get_input_set``; all
    that goes to the generator behind this one.

    Parameters
    ----------
    generator
        Input set generator.
    on_inputs
        Called with the inputs, which it may change.

    Examples
    --------
    >>> from atomate2.vasp.sets.core import NonSCFSetGenerator
    >>> generator = NonSCFSetGenerator()
    >>> observed = ObservedInputGenerator(generator, print)
    >>> observed.mode = "uniform"
    >>> generator.mode, isinstance(observed, VaspInputGenerator)
    ('uniform', True)
    """

    _generator: VaspInputGenerator
    _on_inputs: Callable[[VaspInput], None]

    def __init__(
        self, generator: VaspInputGenerator, on_inputs: Callable[[VaspInput], None]
    ) -> None:
        self.__dict__.update(_generator=generator, _on_inputs=on_inputs)

    def get_input_set(self, *args: Any, **kwargs: Any) -> VaspInput:
        """Make the inputs.

        Parameters
        ----------
        *args
            As for the generator.
        **kwargs
            As for the generator.

        Returns
        -------
        VaspInput
            As the generator made them, and `on_inputs` has changed them.
        """
        made = self._generator.get_input_set(*args, **kwargs)
        self._on_inputs(made)
        return made

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_generator" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._generator, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._generator, name, value)


VaspInputGenerator.register(ObservedInputGenerator)
