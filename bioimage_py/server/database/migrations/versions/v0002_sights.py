"""Who sees what of a project: assignments, and layers that have readers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make three tables."""
    op.create_table(
        "sights",
        sa.Column("project_id", sa.String(100), sa.ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("assigned_only", sa.Boolean, nullable=False),
        sa.Column("changed", sa.Integer, nullable=False),
    )
    for name, column in (("assignments", "descriptor"), ("readers", "layer")):
        op.create_table(
            name,
            sa.Column("project_id", sa.String(100), sa.ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
            sa.Column(column, sa.String(100), primary_key=True),
            sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        )
        op.create_index(f"ix_{name}_user_id", name, ["user_id"])
