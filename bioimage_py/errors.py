"""Every exception of the package.

Each class is also a built-in exception, so ``except ValueError`` keeps working, and carries ``remedy``: the next thing
to type. Messages say what is wrong, where (path, block id, absolute slices) and both values.
"""

from __future__ import annotations

from collections.abc import Sequence


class BioimageError(Exception):
    """Base of all errors of the package.

    Parameters
    ----------
    message : str
        What is wrong, where, and the values that disagree.
    remedy : str
        What the user can type next; shown after the message.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.__dict__.copy()))


def _rebuild(cls: type[BioimageError], message: str, state: dict[str, object]) -> BioimageError:
    error = cls(message)
    error.__dict__.update(state)
    return error


class SourceTypeError(BioimageError, TypeError):
    """An object that cannot be used as a source."""


class SourceNotFoundError(BioimageError, FileNotFoundError):
    """A file, folder or URL that does not exist."""


class KeyNotFoundError(BioimageError, KeyError):
    """A container without the named array; the message lists the keys it has."""


class FormatError(BioimageError, ValueError, OSError):
    """An unknown file format, or a file that is not what its name says."""


class MissingDependencyError(BioimageError, ImportError):
    """An optional library is not installed; the remedy is the pip line."""


class NotReopenableError(BioimageError, ValueError):
    """A source that another process cannot open again."""


class ReadOnlyError(BioimageError, TypeError, ValueError):
    """Writing to a source that was opened for reading."""


class IndexingError(BioimageError, IndexError, ValueError):
    """An index that numpy's basic indexing does not allow, or an id that a table does not have."""


class ValueRangeError(BioimageError, ValueError):
    """A value that the destination's data type cannot hold."""


class StorageError(BioimageError, OSError):
    """Reading or writing storage failed; names the path."""


class AccessError(StorageError, PermissionError):
    """A store refused the request (HTTP 401 or 403); names the URL and the credentials that were tried."""


class ShapeError(BioimageError, ValueError):
    """Shapes that do not fit each other."""


class BlockShapeError(BioimageError, ValueError):
    """A block shape that is invalid or unsafe for the outputs."""


class HaloError(BioimageError, ValueError):
    """A halo that is negative, of the wrong length, or missing."""


class RegionError(BioimageError, ValueError):
    """A region of interest, or block ids, outside the volume or with steps."""


class DtypeError(BioimageError, TypeError, ValueError):
    """A data type that the operation cannot use or cannot write."""


class AliasError(BioimageError, ValueError):
    """An output that shares storage with an input that is read with a halo."""


class ConfigError(BioimageError, ValueError):
    """An unknown or contradictory setting."""


class ArgumentError(BioimageError, TypeError):
    """A call with an argument that is unknown, missing or given twice."""


class ParameterError(BioimageError, ValueError):
    """A parameter of an operation that makes no sense (sigma <= 0, factor < 1, ...)."""


class OptionError(ParameterError, TypeError):
    """A keyword that a format does not know; lists those that it knows."""


class MemoryBudgetError(BioimageError, MemoryError, ValueError):
    """The memory that a run promises to need, or that an image claims, exceeds what there is."""


class RunningError(BioimageError, RuntimeError):
    """Another run that is alive writes the same region of an output; the message names it."""


class ForkError(BioimageError, RuntimeError):
    """A forked child uses what only its parent has: threads of the storage engine, or a file that both hold open."""


class ResumeConflict(BioimageError, RuntimeError):  # noqa: N818 - a conflict is what it is called
    """An unfinished run writes the same region, but this call cannot continue it; the message says what differs."""


class PipelineError(BioimageError, RuntimeError):
    """A pipeline cannot go on from what its folder and its data tell."""


class ConflictError(BioimageError, RuntimeError):
    """Two writers changed the same field of a project since one of them read it.

    Parameters
    ----------
    message : str
        What both wrote.
    field : str, default ""
        The field, such as "descriptors.<identifier>.comments".
    """

    def __init__(self, message: str, field: str = "", *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.field = field


class LabelRowError(ConflictError):
    """A record that an annotation space has already; the message names its id, or its class and frames."""


class LockError(BioimageError, RuntimeError):
    """A data set is locked by somebody else, or the caller's own lock has expired; names owner and expiry."""


class DatasetError(BioimageError, ValueError):
    """A data set that cannot be made as asked for, or whose parts contradict each other."""


class RunnerError(BioimageError, RuntimeError):
    """A run in which blocks failed.

    Parameters
    ----------
    message : str
        What failed, with the first traceback.
    failed_block_ids : sequence of int, optional
        Ids of the blocks without a result, sorted.
    tmp_folder : str, optional
        The run folder that was kept, None where the run had none.
    """

    def __init__(
        self,
        message: str,
        failed_block_ids: Sequence[int] | None = None,
        tmp_folder: str | None = None,
        *,
        remedy: str = "",
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.failed_block_ids: list[int] = sorted(failed_block_ids or [])
        self.tmp_folder = tmp_folder
