"""The table of formats: one row each, which is all that the rest of the package knows of a format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..sources.spec import load_qualified
from .details import Creator

Constructor = Callable[..., Any]


@dataclass(frozen=True)
class Format:
    """One file format: a row of the table, which is all that the rest of the package knows of it.

    Parameters
    ----------
    name : str
        Name.
    extensions : tuple of str
        With the dot, in lower case; "" stands for a folder without extension.
    constructor : callable or str
        ``constructor(path, mode=..., **kwargs)`` returns the container, or the array of a file that is one; a string
        is imported when needed ("module:function").
    writable : bool
        True if arrays in it can be written.
    opener : str
        "module:function" that opens one array of it (see `bioimage_py.io.datasets`); "" goes by the constructor.
    create : callable or str, optional
        ``create(place, key, array)`` makes an array (a `NewArray`) at a `Location`, replacing one that is there; a
        string is imported when needed. None where arrays cannot be created.
    keys : str
        "module:function" that lists the keys of all arrays of a file; "" where there is but one.
    container : bool
        True if it holds several arrays by their keys, so that "a.zarr/raw" is a key in it.
    stores : bool
        True if arrays lie chunk by chunk in a folder or a bucket: it takes ``storage_options=``.
    levels : bool
        True if it has resolution levels: it takes ``level=``.
    shards : bool
        True if chunks can be put together in shards.
    requires : str
        Module without which the constructor does not work.
    magic : tuple of (int, bytes)
        What such a file holds at which offset; one of them is enough.
    unsigned : tuple of str
        Those of its endings whose files may begin with anything: voxels, or what is older than its signs.
    details : str
        "module:function" ``(path, key) -> Details``: what the file says of one image, without decoding voxels.
    write : str
        "module:function" ``(path, images, options) -> tuple of str``: writes a whole new file from a list of `Image`
        and a mapping of options, and returns what the format had no place for. The caller renames the file.
    add : str
        "module:function" ``(path, images, options) -> tuple of str or None``: adds images to a file, which nobody else
        sees, and leaves what it holds as it is; None where it has to be written anew.
    options : tuple of str
        Names of the options that `write` knows.
    reads : tuple of str, optional
        Names of the options of reading; None where the library of the format takes what it will.
    first : str
        Key of the first image, where it is the same in all files.
    frames : bool
        True if an index counts the frames along the first axis of its one image (GIF, video).
    inside : tuple of (str, str), optional
        For a folder without an ending: the JSON file by which it is known, and a name that this has.
    served : str
        Pattern of what follows the name of a web server that gives arrays in its own way; "" where there is none.
    """

    name: str
    extensions: tuple[str, ...]
    constructor: Constructor | str
    writable: bool = False
    opener: str = ""
    create: Creator | str | None = None
    keys: str = ""
    container: bool = False
    stores: bool = False
    levels: bool = False
    shards: bool = False
    requires: str = ""
    magic: tuple[tuple[int, bytes], ...] = ()
    unsigned: tuple[str, ...] = ()
    details: str = ""
    write: str = ""
    add: str = ""
    options: tuple[str, ...] = ()
    reads: tuple[str, ...] | None = ()
    first: str = ""
    frames: bool = False
    inside: tuple[str, str] | None = None
    served: str = ""

    @property
    def creator(self) -> Creator | None:
        """The function that makes an array, imported."""
        if isinstance(self.create, str):
            loaded: Creator = load_qualified(self.create)
            return loaded
        return self.create


def _row(name: str, extensions: tuple[str, ...], module: str, **more: Any) -> Format:
    """A format of this package, in whose file the functions have these names."""
    package = __name__.rpartition(".")[0]
    file = f"{package}.{module}"
    for field in ("create", "keys", "details", "write", "add"):
        if field in more:
            more[field] = f"{package}.{more[field]}" if ":" in more[field] else f"{file}:{more[field]}"
    writable = more.pop("writable", "create" in more)
    return Format(name, extensions, f"{file}:construct", writable, f"{file}:open_dataset", **more)


_CHUNKED: dict[str, Any] = {
    "create": "create",
    "container": True,
    "stores": True,
    "levels": True,
    "details": "ome:details",
    "reads": None,
}
_ZARR: dict[str, Any] = {
    "write": "written.array_images:write_zarr",
    "options": ("chunks", "compression", "pyramid"),
    "shards": True,
    "requires": "zarr",
}
_HDF5: dict[str, Any] = {
    "create": "create",
    "keys": "keys",
    "container": True,
    "requires": "h5py",
    "details": "details",
    "reads": None,
    "write": "written.array_images:write_hdf5",
    "options": ("chunks", "compression"),
    "magic": tuple((at, b"\x89HDF\r\n\x1a\n") for at in (0, 512, 1024, 2048)),
}
_TIFF: dict[str, Any] = {
    "keys": "keys",
    "requires": "tifffile",
    "levels": True,
    "reads": ("pattern",),
    "first": "0",
    "details": "tif.metadata:details",
    "magic": tuple((0, sign) for sign in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    "write": "tif.writing:write",
    "add": "tif.adding:add",
    "options": ("flavor", "tiles", "compression", "pyramid", "photometric", "predictor", "bigtiff"),
}
_PICTURE: dict[str, Any] = {"details": "details", "write": "write"}
_PILLOW: dict[str, Any] = {"details": "details", "write": "image_files.codecs.picture_files:write"}
ROWS = (
    _row("hdf5", (".h5", ".hdf", ".hdf5"), "hdf5", **_HDF5),
    _row("n5", (".n5",), "n5", **_CHUNKED, write="written.array_images:write_n5", options=("chunks", "compression")),
    _row("zarr", (".zarr", ".zr", ".ozx", ".zip"), "zarr", **_CHUNKED, **_ZARR),
    _row("tif", (".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk", ".svs", ".ndpi", ".scn", ".bif"), "tif", **_TIFF),
    _row("folder", ("",), "image_files.slices", reads=("pattern",)),
    *(
        _row(name, endings, "image_files.pictures", magic=signs, options=options, frames=name == "gif", **_PILLOW)
        for name, endings, signs, options in (
            ("png", (".png", ".apng"), ((0, b"\x89PNG\r\n\x1a\n"),), ("compression",)),
            ("jpeg", (".jpg", ".jpeg"), ((0, b"\xff\xd8\xff"),), ("quality",)),
            ("bmp", (".bmp",), ((0, b"BM"),), ()),
            ("webp", (".webp",), ((8, b"WEBP"),), ("quality", "lossless")),
            ("gif", (".gif",), ((0, b"GIF87a"), (0, b"GIF89a")), ("duration", "loop")),
            ("avif", (".avif",), ((4, b"ftypavif"), (4, b"ftypavis")), ("quality",)),
        )
    ),
    *(
        _row(
            name,
            endings,
            f"image_files.codecs.{name}",
            magic=signs,
            requires="imagecodecs",
            options=("quality",),
            **_PICTURE,
        )
        for name, endings, signs in (
            (
                "jpeg2000",
                (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
                ((0, b"\0\0\0\x0cjP  \r\n\x87\n"), (0, b"\xff\x4f\xff\x51")),
            ),
            ("jpegxl", (".jxl",), ((0, b"\0\0\0\x0cJXL \r\n\x87\n"), (0, b"\xff\x0a"))),
        )
    ),
    _row(
        "heif",
        (".heic", ".heif", ".hif"),
        "image_files.codecs.heif",
        requires="pi_heif",
        magic=tuple((4, b"ftyp" + brand) for brand in (b"heic", b"heix", b"heim", b"heis", b"mif1")),
        details="details",
    ),
    _row(
        "nifti",
        (".nii", ".nii.gz"),
        "image_files.nifti",
        requires="nibabel",
        magic=((344, b"n+1\0"), (4, b"n+2\0\r\n\x1a\n")),
        details="details",
        write="write",
    ),
    _row(
        "mrc",
        (".mrc", ".mrcs", ".map", ".rec", ".st", ".ccp4"),
        "image_files.mrc",
        requires="mrcfile",
        magic=((208, b"MAP "), (208, b"MAP\0")),
        details="details",
        write="write",
    ),
    _row(
        "nrrd",
        (".nrrd", ".nhdr"),
        "image_files.nrrd",
        magic=((0, b"NRRD000"),),
        details="details",
        write="write",
        options=("compression",),
    ),
    _row(
        "metaimage",
        (".mha", ".mhd"),
        "image_files.metaimage",
        magic=((0, b"ObjectType = "), (0, b"NDims = ")),
        details="details",
        write="write",
        options=("compression",),
    ),
    _row(
        "npy",
        (".npy", ".npz"),
        "image_files.npy",
        keys="keys",
        magic=((0, b"\x93NUMPY"), (0, b"PK\x03\x04")),
        details="details",
        write="write",
        add="add",
        options=("compression",),
    ),
    _row(
        "analyze",
        (".hdr", ".img", ".hdr.gz", ".img.gz"),
        "image_files.nifti",
        requires="nibabel",
        magic=((344, b"ni1\0"), (0, b"\x5c\x01\0\0"), (0, b"\0\0\x01\x5c")),
        unsigned=(".img", ".img.gz"),
        details="details",
    ),
    _row(
        "dicom",
        (".dcm", ".dicom"),
        "image_files.dicom.files",
        keys="keys",
        requires="pydicom",
        magic=((128, b"DICM"),),
        details="details",
        write="image_files.dicom.capture:write",
    ),
    _row("imaris", (".ims",), "image_files.microscopes.imaris", levels=True, requires="h5py", details="details"),
    _row("bdv", (".xml",), "image_files.microscopes.bdv", keys="keys", levels=True, requires="h5py", details="details"),
    _row(
        "nd2",
        (".nd2",),
        "image_files.microscopes.nd2",
        keys="keys",
        requires="nd2",
        magic=((0, b"\xda\xce\xbe\x0a"),),
        details="details",
    ),
    _row(
        "lif",
        (".lif", ".lof", ".xlef", ".xlcf", ".xlif"),
        "image_files.microscopes.lif",
        keys="keys",
        requires="liffile",
        details="details",
    ),
    _row(
        "czi",
        (".czi",),
        "image_files.microscopes.czi",
        keys="keys",
        levels=True,
        magic=((0, b"ZISRAWFILE"),),
        details="details",
    ),
    _row(
        "video",
        (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"),
        "image_files.video",
        requires="av",
        magic=((4, b"ftyp"), (8, b"AVI "), (0, b"\x1aE\xdf\xa3")),
        details="details",
        write="write",
        options=("compression", "quality"),
        frames=True,
    ),
    _row("knossos", (".k.toml", ".conf"), "image_files.knossos", keys="keys", levels=True, details="details"),
    _row(
        "obf",
        (".obf", ".msr"),
        "image_files.microscopes.obf",
        keys="keys",
        magic=((0, b"OMAS_BF\n\xff\xff"),),
        details="details",
    ),
    _row("bioio", (), "image_files.microscopes.through_bioio", keys="keys", requires="bioio", details="details"),
    _row(
        "precomputed",
        (),
        "layers.precomputed",
        writable=True,
        stores=True,
        levels=True,
        reads=("fill_missing",),
        details="details",
        inside=("info", "scales"),
    ),
    _row(
        "webknossos",
        (),
        "layers.webknossos",
        writable=True,
        keys="keys",
        stores=True,
        levels=True,
        requires="webknossos",
        details="details",
        inside=("datasource-properties.json", "dataLayers"),
        served="/(datasets|annotations)/.+",
    ),
)
