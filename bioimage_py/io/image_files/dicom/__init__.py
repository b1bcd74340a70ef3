"""DICOM: files, and folders of series."""
