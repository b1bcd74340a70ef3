"""Data sets for training: items of images and what is said of them, from projects, folders and lists."""

from ..errors import DatasetError
from .annotations.agreement import Agreement, agreement
from .annotations.annotation import Annotation
from .annotations.label_sets import LabelSets
from .annotations.masks import CropMask, LabelMask, Mask
from .annotations.merging import merge_semantic, staple
from .annotations.processor import AnnotationProcessor
from .base import BaseDataset, ConcatDataset
from .collate import collate
from .config import DatasetConfig
from .cuts.patches import PatchDataset
from .cuts.sliced import SlicedVideoDataset, SlicedVolumeDataset
from .resources.resource import Resource
from .splits.result import SplitResult
from .volumes import ImageDataset, MultiFrameDataset, VideoDataset, VolumeDataset

__all__ = [
    "Agreement",
    "Annotation",
    "AnnotationProcessor",
    "BaseDataset",
    "ConcatDataset",
    "CropMask",
    "DatasetConfig",
    "DatasetError",
    "ImageDataset",
    "LabelMask",
    "LabelSets",
    "Mask",
    "MultiFrameDataset",
    "PatchDataset",
    "Resource",
    "SlicedVideoDataset",
    "SlicedVolumeDataset",
    "SplitResult",
    "VideoDataset",
    "VolumeDataset",
    "agreement",
    "collate",
    "merge_semantic",
    "staple",
]
