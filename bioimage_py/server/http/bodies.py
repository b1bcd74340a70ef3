"""Bodies of requests and answers. What is unknown is refused; every text and list has an end."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from ...projects.values.records import LayerRecord
from ..accounts.callers import Scope
from ..accounts.members import RoleName
from ..values import NAME

_PLAIN = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[str, Field(pattern=NAME)]
Text = Annotated[str, Field(max_length=200, pattern=_PLAIN)]
Token = Annotated[str, Field(max_length=200, pattern=r"^[\x21-\x7e]*$")]
UserName = Annotated[str, Field(min_length=1, max_length=150)]
Password = Annotated[SecretStr, Field(max_length=4096)]


class Body(BaseModel):
    """Base of all bodies of requests."""

    model_config = ConfigDict(extra="forbid")


class Login(Body):
    """Name and password."""

    username: UserName
    password: Password
    client: Text = ""


class Renewal(Body):
    """A refresh token."""

    refresh: Annotated[SecretStr, Field(max_length=200)]
    client: Text = ""


class Pair(BaseModel):
    """Tokens."""

    access: str
    refresh: str
    seconds: float
    user: str
    admin: bool


class DeviceWish(Body):
    """A program that wants to be let in by its user's browser; `client` is what the user is shown of it."""

    client: Text = ""


class Device(BaseModel):
    """What proves a program that waits, what its user types where, how long it may wait and how often it should ask."""

    code: str
    words: str
    path: str
    seconds: float
    every: float


class DeviceCode(Body):
    """What proves a program that waits."""

    code: Annotated[SecretStr, Field(max_length=200)]


class LetIn(BaseModel):
    """Tokens; None while the program has to wait."""

    tokens: Pair | None


class NewPassword(Body):
    """The present password, and another one."""

    old: Password
    new: Password


class NewToken(Body):
    """An API token that is asked for."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=_PLAIN)]
    scope: Scope = Scope.READ
    projects: Annotated[list[Name], Field(max_length=1000)] | None = None
    days: Annotated[float, Field(gt=0, le=365, allow_inf_nan=False)] = 90.0


class TokenInfo(BaseModel):
    """An API token, without what proves it."""

    id: str
    name: str
    scope: Scope
    projects: list[str] | None
    created: float
    expires: float
    used: float | None


class MadeToken(TokenInfo):
    """A new API token; `token` is shown this once."""

    token: str


class NewUser(Body):
    """An account."""

    username: UserName
    password: Password
    admin: bool = False


class UserChange(Body):
    """What is left out stays."""

    admin: bool | None = None
    disabled: bool | None = None
    password: Password | None = None


class UserInfo(BaseModel):
    """An account."""

    id: int
    name: str
    admin: bool
    disabled: bool
    created: float


class RoleChange(Body):
    """The role of a member."""

    role: RoleName


class Member(BaseModel):
    """A member of a project."""

    name: str
    role: RoleName


class ProjectInfo(BaseModel):
    """A project; `last` is the number of its last event."""

    id: str
    name: str
    role: RoleName
    created: float
    last: int


class ProjectDetails(ProjectInfo):
    """A project, with the number of its data sets and the time of its last change."""

    descriptors: int
    changed: float
    sight: int = 0


class NewProject(Body):
    """A project: what `ProjectSettings.to_document` gives, with or without an id."""

    settings: dict[str, Any]


class Pruning(Body):
    """How old, in seconds, files have to be that nothing points to; others may still be read or written."""

    older_than: Annotated[float, Field(allow_inf_nan=False)] = 3600.0


class Pruned(BaseModel):
    """How many files or folders were removed."""

    removed: int


class Ticket(BaseModel):
    """A token with which workers read or annotate one project for a day."""

    id: str
    token: str
    seconds: float


class Made(BaseModel):
    """The id of something new."""

    id: str


class FieldChange(Body):
    """One field: where, what it was when it was read, and what it becomes; what is left out stands for no value."""

    path: Annotated[list[Annotated[str, Field(max_length=500)]], Field(min_length=1, max_length=32)]
    old: Any = None
    new: Any = None


class Order(Body):
    """The keys of a mapping in their order, where new ones do not come last; others follow."""

    path: Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=32)]
    keys: Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=10_000)]


class DocumentChange(Body):
    """What becomes of one document: other values of fields, a new document, or none any more."""

    name: Name
    fields: Annotated[list[FieldChange], Field(max_length=10_000)] = []
    orders: Annotated[list[Order], Field(max_length=1000)] = []
    document: dict[str, Any] | None = None
    remove: bool = False
    etag: Token = ""


class CommitBody(Body):
    """All of these changes, or none; `locks` are tokens of locks by data set."""

    changes: Annotated[list[DocumentChange], Field(min_length=1, max_length=10_000)]
    locks: Annotated[dict[Name, Token], Field(max_length=10_000)] = {}
    guarded: Annotated[list[Name], Field(max_length=10_000)] = []
    """Further data sets that nobody else may have locked, such as those whose layer goes with the settings."""


class Committed(BaseModel):
    """The number of the event; `repeated` if the same key had made it before."""

    seq: int
    repeated: bool
    etags: dict[str, str | None]
    documents: dict[str, dict[str, Any] | None]
    """As they are saved now, merged with what others changed; None: removed. Empty where it is repeated."""


class MadeCommit(BaseModel):
    """The number of the event of a commit; None where there is no such commit."""

    seq: int | None


class EventPage(BaseModel):
    """Events in their order, the number to ask from next, and that of the last one there is.

    Where `sight` is another number than before, other data sets and layers are there for the caller: load anew.
    """

    events: list[dict[str, Any]]
    next: int
    last: int
    sight: int = 0


class DescriptorRow(BaseModel):
    """A data set in a list, with the fields that were asked for."""

    identifier: str
    name: str = ""
    tags: dict[str, bool | str | float] = {}
    grouping: list[tuple[str, str]] = []
    layers: list[str] = []
    annotated: bool = False


class DescriptorPage(BaseModel):
    """Data sets, and the cursor of the next page ("" at the end)."""

    descriptors: list[DescriptorRow]
    next: str


class LockWish(Body):
    """How long a lock is to live, in seconds, unless it is renewed."""

    seconds: Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False)] = 300.0


class LockProof(Body):
    """The token of a lock."""

    token: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[0-9a-f]+$")]


class Lock(BaseModel):
    """A lock that was taken; the token proves it."""

    token: str
    expires: float


class LockState(BaseModel):
    """Who holds a lock."""

    locked: bool
    owner: str
    expires: float | None


class Sealed(BaseModel):
    """What the document of the data set has to say in its layers; `same`: its base holds the same voxels."""

    record: LayerRecord
    same: bool = False


class AuditRow(BaseModel):
    """A row of the audit log."""

    id: int
    time: float
    user: str
    address: str
    action: str
    project: str
    details: dict[str, Any]


class AuditPage(BaseModel):
    """Rows in their order."""

    rows: list[AuditRow]
    next: int


class Versions(BaseModel):
    """What runs here."""

    server: str
    api: int
    schema_version: str


class State(BaseModel):
    """Whether the server works."""

    status: Literal["ok"]
