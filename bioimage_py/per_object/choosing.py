"""Which objects a call asks for, checked."""

from __future__ import annotations

from collections.abc import Sequence

from ..arguments import number
from ..errors import ParameterError
from ..runner.planning.checks import whole_numbers
from .listing import Choice


def choice_of(ids: Sequence[int] | None, min_size: int | None, max_size: int | None) -> Choice:
    """The objects that the parameters of a call name.

    Raises
    ------
    ParameterError
        Ids that are none, or limits that leave nothing.
    """
    wanted = None if ids is None else tuple(whole_numbers(ids, "ids") or ())
    if wanted is not None and any(not 0 < one < 2**64 for one in wanted):
        wrong = next(one for one in wanted if not 0 < one < 2**64)
        raise ParameterError(f"ids= has {wrong}; ids of objects are 1 to 2^64 - 1", remedy="ids=[1, 2]")
    least, most = (
        None if given is None else int(number(name, given, least=0, example=100))
        for name, given in (("min_size", min_size), ("max_size", max_size))
    )
    if least is not None and most is not None and least > most:
        raise ParameterError(f"min_size={least} is above max_size={most}", remedy=f"max_size={least}")
    return Choice(wanted, least, most)
