"""What the server keeps to itself: the key without which nobody finds out whom a pseudonym stands for."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the key, in the one transaction that a database is made in."""
    keys = op.create_table(
        "keys",
        sa.Column("name", sa.String(50), primary_key=True),
        sa.Column("key", sa.String(64), nullable=False),
    )
    op.bulk_insert(keys, [{"name": "pseudonyms", "key": secrets.token_hex(32)}])
