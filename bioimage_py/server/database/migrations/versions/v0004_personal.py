"""From which role on members are told whom images show: viewers are not, unless a maintainer says so."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("sights", sa.Column("personal", sa.String(20), nullable=False, server_default="annotator"))
