"""From which role on members are told whom images show: viewers are not, unless a maintainer says so."""

import sqlalchemy as sa
from alembic import op

from bioimage_py.server.database.migrations.versions.v0003_rights import CHANGES

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("sights", sa.Column("personal", sa.String(20), nullable=False, server_default="annotator"))
    if op.get_bind().dialect.name == "postgresql":
        _count()


def _count() -> None:
    """Let PostgreSQL count changes of rights as SQLite does, with the commit that makes them.

    It is the last that a transaction does: whoever waits for the row then holds nothing for which others wait.
    """
    op.execute(
        "CREATE FUNCTION count_rights() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF current_setting('rights.counted', true) IS DISTINCT FROM txid_current()::text THEN"
        " PERFORM set_config('rights.counted', txid_current()::text, true);"
        " UPDATE rights SET changes = changes + 1; END IF; RETURN NULL; END $$"
    )
    for table, changes in CHANGES.items():
        for change in changes:
            name = f"rights_{table}_{change.partition(' ')[0].lower()}"
            op.execute(
                f"CREATE CONSTRAINT TRIGGER {name} AFTER {change} ON {table} DEFERRABLE INITIALLY DEFERRED"
                " FOR EACH ROW EXECUTE FUNCTION count_rights()"
            )
