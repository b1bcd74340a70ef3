"""Who sees what of a project, who signs in with a provider, and programs that wait to be let in."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
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
    op.create_table(
        "identities",
        sa.Column("issuer", sa.String(500), primary_key=True),
        sa.Column("subject", sa.String(255), primary_key=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    )
    op.create_index("ix_identities_user_id", "identities", ["user_id"])
    op.create_table(
        "devices",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("words", sa.String(20), nullable=False),
        sa.Column("client", sa.String(200), nullable=False),
        sa.Column("address", sa.String(100), nullable=False),
        sa.Column("began", sa.Float, nullable=False),
        sa.Column("asked", sa.Float, nullable=False),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=True),
    )
    op.create_index("ix_devices_words", "devices", ["words"])
