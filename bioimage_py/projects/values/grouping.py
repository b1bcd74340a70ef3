"""Groups of patient, study and series, from what images say of themselves; no voxel is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from ...errors import ParameterError
from .models import Group, ImageInfo

HIERARCHY = ("Patient", "Study", "Series")
UNNAMED = "<Unnamed>"


def info_groups(info: ImageInfo) -> list[Group] | None:
    """Return the groups of patient, study and series: ids as keys, names and dates to be shown.

    None where nothing is known of them.
    """
    if not (info.patient_id or info.study_instance_uid or info.series_instance_uid):
        return None
    return [
        Group(info.patient_id or "", info.patient_name or info.patient_id or UNNAMED),
        Group(info.study_instance_uid or "", label(info.study_description, info.study_date)),
        Group(info.series_instance_uid or "", label(info.series_description, info.series_date)),
    ]


def label(description: str | None, date: str | None) -> str:
    """Return description and date (YYYYMMDD, shown as YYYY-MM-DD), what there is of them, else "<Unnamed>"."""
    try:
        day = datetime.strptime(date or "", "%Y%m%d").date().isoformat()
    except ValueError:
        day = ""
    return " - ".join(part for part in (description, day) if part) or UNNAMED


def checked_grouping(value: Iterable[str | Group], hierarchy: Sequence[str]) -> list[Group]:
    """Return groups, checked against the titles of the levels.

    Raises
    ------
    ParameterError
        Another number of groups than levels; none is fine.
    """
    if isinstance(value, str):
        value = [value]
    groups = [Group.parse(part) for part in value]
    if groups and len(groups) != len(hierarchy):
        raise ParameterError(
            f"{len(groups)} groups {[group.key for group in groups]}, but the hierarchy has {len(hierarchy)} levels:"
            f" {list(hierarchy)}.",
            remedy='set project.grouping_hierarchy = ["Patient", "Study", ...] first',
        )
    return groups
