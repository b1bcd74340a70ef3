"""What a project keeps of the header of a DICOM series."""

from __future__ import annotations

from typing import Any

from ..values.models import ImageInfo

_INFO = {
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "study_instance_uid": "StudyInstanceUID",
    "study_description": "StudyDescription",
    "study_date": "StudyDate",
    "series_instance_uid": "SeriesInstanceUID",
    "series_description": "SeriesDescription",
    "series_date": "SeriesDate",
    "modality": "Modality",
}


def image_info(header: Any) -> ImageInfo:
    """Return who and what an image shows, by the header of one of its files."""
    return ImageInfo(**{field: str(header[name].value) for field, name in _INFO.items() if header.get(name)})
