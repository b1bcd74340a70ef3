"""Functions of a file that is named on the command line."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

from ..errors import ParameterError


def function_of(path: str, name: str) -> Any:
    """The function that a Python file has under a name; workers get its code, not its name.

    Raises
    ------
    ParameterError
        There is no such file, it does not run, or has no such function.
    """
    file = Path(path)
    if not file.is_file():
        raise ParameterError(f"{path} does not exist.", remedy="give the path of a Python file")
    # no module that can be imported has this name: workers would look for it
    module = types.ModuleType(f"file:{file.stem}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # dataclasses look there for what they are defined in
    try:
        exec(compile(file.read_bytes(), str(file), "exec"), vars(module))
    except Exception as error:
        raise ParameterError(
            f"{path} cannot be run: {type(error).__name__}: {error}", remedy=f"python {path}, which shows where"
        ) from error
    finally:
        del sys.modules[module.__name__]
    found = getattr(module, name, None)
    if not callable(found):
        raise ParameterError(f"{path} has no function {name!r}.", remedy=f"define {name} there")
    return found
