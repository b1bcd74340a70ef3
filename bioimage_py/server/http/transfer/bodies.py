"""Bodies of requests and answers about what travels in pieces."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from ....projects.values.records import LayerRecord
from ..bodies import Body, Token

_STAMP = r"^[0-9]{8}-[0-9]{6}-[0-9]{6}-[0-9a-f]{6}$"
ChunkKey = Annotated[str, Field(max_length=300, pattern=r"^[a-z0-9./]+$")]


class DraftWish(Body):
    """What a draft is to be.

    `dtype` None: that of the version it begins with, else the smallest for the labels. `base`: the sealed version to
    begin with in place of what is stored, "" for none. `name`: the caller's draft of that name is opened where there is
    one. `document` and `layer` are those of a data set and a layer that are not saved yet, which takes the right to add
    them.
    """

    dtype: Annotated[str, Field(pattern=r"^(u?int(8|16|32|64)|bool)$")] | None = None
    base: Annotated[str, Field(pattern=_STAMP + "|^$")] | None = None
    name: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9_.-]*$")] = ""
    document: dict[str, Any] | None = None
    layer: dict[str, Any] | None = None


class Draft(BaseModel):
    """A draft: its id, the version that it began with, and whether it was made just now."""

    id: str
    shape: list[int]
    dtype: str
    chunks: list[int]
    base: LayerRecord | None
    made: bool


class Hashes(Body):
    """SHA-256 (hexadecimal) of encoded chunks by key; "" stands for one of zeros."""

    chunks: Annotated[
        dict[ChunkKey, Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]], Field(min_length=1, max_length=10_000)
    ]


class Missing(BaseModel):
    """Keys of chunks that have to be sent."""

    missing: list[str]


class Rebased(BaseModel):
    """Keys of chunks that both changed; what the draft is made from now; another id where it had been sealed."""

    draft: str
    both: list[str]
    base: LayerRecord | None


class Publishing(Body):
    """The version that the draft began with ("" for none), and the token of a lock."""

    base: Annotated[str, Field(pattern=_STAMP + "|^$")]
    lock: Token = ""


class Published(BaseModel):
    """The version that counts now, and the number of the event."""

    version: str
    seq: int


class UploadWish(Body):
    """What is sent: the copy of an image of a data set, as a tar file of its zarr group; its size and SHA-256."""

    descriptor: Annotated[str, Field(pattern=_STAMP)]
    size: Annotated[int, Field(ge=1, le=2**53)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ProjectUploadWish(Body):
    """What is sent: a project's folder, as a tar file; its size and SHA-256."""

    kind: Literal["project"] = "project"
    size: Annotated[int, Field(ge=1, le=2**53)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Upload(BaseModel):
    """An upload: how many bytes have arrived; where it is complete, the id of the project or data set."""

    id: str
    offset: int
    size: int
    made: str | None = None


class FileRow(BaseModel):
    """A file of a project; `etag` changes with its content."""

    path: str
    size: int
    etag: str


class FilePage(BaseModel):
    """Files of a project in their order, the cursor of the next page ("" at the end), the number of the last event."""

    files: list[FileRow]
    next: str
    last: int
