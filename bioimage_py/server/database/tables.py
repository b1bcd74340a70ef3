"""The tables, as the newest migration leaves them. Times are seconds since 1970.

Secrets of others are stored as SHA-256 only; the server's own one is in `keys`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(150), nullable=False, unique=True),
    Column("password", Text, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created", Float, nullable=False),
)

families = Table(
    "families",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("client", String(200), nullable=False),
    Column("created", Float, nullable=False),
    Column("revoked", Boolean, nullable=False),
)
"""What one login has led to: access tokens, and refresh tokens of which each follows another."""

secrets = Table(
    "secrets",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("family", String(32), ForeignKey("families.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", String(10), nullable=False),
    Column("expires", Float, nullable=False, index=True),
    Column("used", Float, nullable=True),
)
"""Access and refresh tokens."""

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", String(100), nullable=False),
    Column("scopes", String(100), nullable=False),
    Column("projects", Text, nullable=True),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("used", Float, nullable=True),
)

projects = Table(
    "projects",
    metadata,
    Column("id", String(100), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("owner_id", Integer, ForeignKey("users.id"), nullable=False),
    Column("folder", Text, nullable=False, unique=True),
    Column("created", Float, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    UniqueConstraint("owner_id", "name"),
)
"""`first` and `last` are the numbers of the events that are kept: none where `first` is greater."""

members = Table(
    "members",
    metadata,
    Column("project_id", String(100), ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("role", String(20), nullable=False),
)

sights = Table(
    "sights",
    metadata,
    Column("project_id", String(100), ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("assigned_only", Boolean, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("personal", String(20), nullable=False, server_default="annotator"),
)
"""Where members do not see all of a project; `changed` counts how often that was changed.

`personal` is the least role that is told whom images show, and where they lie.
"""

assignments = Table(
    "assignments",
    metadata,
    Column("project_id", String(100), ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("descriptor", String(100), primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True),
)
"""Data sets that are assigned to somebody."""

readers = Table(
    "readers",
    metadata,
    Column("project_id", String(100), ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("layer", String(100), primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True),
)
"""Layers that are there for some annotators only."""

identities = Table(
    "identities",
    metadata,
    Column("issuer", String(500), primary_key=True),
    Column("subject", String(255), primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
)
"""Whom a provider of identities knows, as which user."""

devices = Table(
    "devices",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("words", String(20), nullable=False, index=True),
    Column("client", String(200), nullable=False),
    Column("address", String(100), nullable=False),
    Column("began", Float, nullable=False),
    Column("asked", Float, nullable=False),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), nullable=True),
)
"""Programs that wait to be let in, and as whom; `asked` is when they asked last."""

events = Table(
    "events",
    metadata,
    Column("project_id", String(100), ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", String(32), nullable=False),
    Column("user", String(200), nullable=False),
    Column("key", String(100), nullable=True),
    Column("time", Float, nullable=False),
    Column("document", Text, nullable=False),
    Index("events_by_key", "project_id", "user", "key"),
)

answers = Table(
    "answers",
    metadata,
    Column("user", String(200), primary_key=True),
    Column("key", String(100), primary_key=True),
    Column("created", Float, nullable=False, index=True),
    Column("request", String(64), nullable=False),
    Column("answer", Text, nullable=False),
)
"""What requests with an idempotency key were answered that left no event."""

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("user", String(200), nullable=False),
    Column("address", String(100), nullable=False),
    Column("action", String(50), nullable=False),
    Column("project", String(100), nullable=False, index=True),
    Column("details", Text, nullable=False),
    Column("hash", String(64), nullable=False),
)
"""Append only: each hash covers its row and the hash before."""

failures = Table(
    "failures",
    metadata,
    Column("who", String(64), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("first", Float, nullable=False),
    Column("until", Float, nullable=False),
)
"""Logins that failed, by account and address (their SHA-256)."""

keys = Table(
    "keys",
    metadata,
    Column("name", String(50), primary_key=True),
    Column("key", String(64), nullable=False),
)
"""What the server keeps to itself, in hexadecimal; made with the database, in backups, and told by nothing."""

rights = Table(
    "rights",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("changes", BigInteger, nullable=False),
)
"""One row: SQLite counts changes of the tables that decide who may what, which commits are not (`Database.version`)."""
