"""How often anything was changed by which the rights of somebody are decided, counted by SQLite itself."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_WHOLE = ("users", "families", "secrets", "members", "sights", "assignments", "readers")
CHANGES = {
    **dict.fromkeys(_WHOLE, ("INSERT", "UPDATE", "DELETE")),
    "api_tokens": ("INSERT", "UPDATE OF id, hash, user_id, name, scopes, projects, created, expires", "DELETE"),
    "projects": ("INSERT", "UPDATE OF id, owner_id, folder", "DELETE"),  # events change the rest
}


def upgrade() -> None:
    """Make the table, and what counts."""
    rights = op.create_table(
        "rights", sa.Column("id", sa.Integer, primary_key=True), sa.Column("changes", sa.BigInteger, nullable=False)
    )
    op.bulk_insert(rights, [{"id": 1, "changes": 0}])
    if op.get_bind().dialect.name == "sqlite":
        for table, changes in CHANGES.items():
            for change in changes:
                name = f"rights_{table}_{change.partition(' ')[0].lower()}"
                count = "UPDATE rights SET changes = changes + 1"
                op.execute(f"CREATE TRIGGER {name} AFTER {change} ON {table} BEGIN {count}; END")
