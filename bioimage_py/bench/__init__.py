"""Speed of this package on one machine: works, the floor below them, checked results and how they are timed.

`bioimage-py bench` runs it. The comparison with other packages, in the repository's ``benchmarks/speed``, adds engines.
"""

from .engines import OWN, Engine
from .session import Session, Settings

__all__ = ["OWN", "Engine", "Session", "Settings"]
