"""Precomputed layers for tests, made by cloud-volume and by tensorstore, and a web server that shows them."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...helpers import Later

cloudvolume: Any = Later("cloudvolume", "these layers need: pip install 'bioimage-blocks[cloudvolume]'")

# x, y, z; nothing divides anything, and one offset is below zero
SIZE, CHUNK, OFFSET, RESOLUTION = (23, 18, 13), (8, 5, 4), (10, 7, -9), (4, 4, 40)


def layer_info(
    *,
    dtype: str = "uint16",
    encoding: str = "raw",
    channels: int = 1,
    size: tuple[int, ...] = SIZE,
    chunk: tuple[int, ...] = CHUNK,
    offset: tuple[int, ...] = OFFSET,
    resolution: tuple[float, ...] = RESOLUTION,
) -> dict[str, Any]:
    labels = encoding in ("compressed_segmentation", "crackle")
    info: dict[str, Any] = cloudvolume.CloudVolume.create_new_info(
        num_channels=channels,
        layer_type="segmentation" if labels else "image",
        data_type=dtype,
        encoding=encoding,
        resolution=list(resolution),
        voxel_offset=list(offset),
        volume_size=list(size),
        chunk_size=list(chunk),
    )
    return info


def new_layer(path: Path, content: np.ndarray | None = None, compress: Any = None, **about: Any) -> str:
    """A layer on disk made by cloud-volume; ``content`` is (z, y, x) or (c, z, y, x), written by cloud-volume too."""
    if content is not None:
        about.setdefault("dtype", str(content.dtype))
        about.setdefault("size", content.shape[:-4:-1])
        about.setdefault("channels", content.shape[0] if content.ndim == 4 else 1)
    url = f"file://{path}"
    volume = cloudvolume.CloudVolume(url, info=layer_info(**about), compress=compress, progress=False)
    volume.commit_info()
    if content is not None:
        volume[:, :, :] = np.asfortranarray((content if content.ndim == 4 else content[None]).T)
    return url


def voxels(shape: tuple[int, ...] = SIZE[::-1], dtype: str = "uint16", seed: int = 0, high: int | None = None) -> Any:
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return generator.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return generator.integers(info.min if high is None else 0, high or info.max, shape, dtype, endpoint=high is None)


def smooth(shape: tuple[int, ...]) -> np.ndarray:
    """What jpeg keeps nearly as it is."""
    grid = np.meshgrid(*[np.linspace(0, 1, size) for size in shape], indexing="ij")
    return (100 + 40 * sum(grid)).astype(np.uint8)


def by_cloudvolume(url: str, mip: int = 0, **more: Any) -> np.ndarray:
    """The whole layer in (c, z, y, x), or (z, y, x) for one channel, as cloud-volume reads it."""
    found = np.asarray(cloudvolume.CloudVolume(url, mip=mip, progress=False, **more)[:, :, :]).T
    return found[0] if len(found) == 1 else found


def by_tensorstore(path: Path, content: np.ndarray, encoding: str = "raw", sharding: Any = None, **scale: Any) -> str:
    import tensorstore

    content = content if content.ndim == 4 else content[None]
    store = tensorstore.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{path}/"},
            "multiscale_metadata": {
                "type": "image",
                "data_type": str(content.dtype),
                "num_channels": len(content),
            },
            "scale_metadata": {
                "size": content.shape[:0:-1],
                "voxel_offset": OFFSET,
                "encoding": encoding,
                "chunk_size": CHUNK,
                "resolution": RESOLUTION,
                **({"sharding": sharding} if sharding else {}),
                **scale,
            },
            "create": True,
        }
    ).result()
    store.T[...].write(content).result()
    return f"file://{path}"


SHARDING = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "hash": "identity",
    "preshift_bits": 2,
    "minishard_bits": 1,
    "shard_bits": 3,
    "minishard_index_encoding": "gzip",
    "data_encoding": "gzip",
}


def new_pyramid(path: Path) -> tuple[str, list[np.ndarray]]:
    """Three mips, the second one anisotropic; as cloud-volume makes and writes them."""
    url = f"file://{path}"
    volume = cloudvolume.CloudVolume(url, info=layer_info(offset=(8, 12, 5)), progress=False)
    for factor in ((2, 2, 1), (4, 4, 2)):
        volume.add_scale(factor)
    volume.commit_info()
    contents = []
    for mip in range(3):
        volume.mip = mip
        contents.append(voxels(tuple(int(n) for n in volume.volume_size[::-1]), seed=mip))
        volume[:, :, :] = np.asfortranarray(contents[mip].T)
    return url, contents


class Handler(http.server.SimpleHTTPRequestHandler):
    """Static files with ranges; those that cloud-volume has compressed come with the header that says so."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        packed = path.with_name(path.name + ".gz")
        found = path if path.is_file() else packed
        if not found.is_file():
            self.send_error(404)
            return
        content = found.read_bytes()
        asked, status = self.headers.get("Range"), 200
        if asked:
            begin, _, end = asked.removeprefix("bytes=").partition("-")
            content, whole, status = content[int(begin) : int(end) + 1 if end else None], len(content), 206
        self.send_response(status)
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{int(begin) + len(content) - 1}/{whole}")
        if found == packed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A web server over a new folder; gives its URL."""
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: Handler(*given, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def upload(folder: Path, url: str, server: str) -> None:
    """Put a layer into a bucket as cloud-volume does: compressed chunks with the header that says so."""
    import boto3

    client = boto3.client("s3", endpoint_url=server)
    name, _, prefix = url.removeprefix("s3://").partition("/")
    for path in folder.rglob("*"):
        if path.is_file():
            packed = {"ContentEncoding": "gzip"} if path.suffix == ".gz" else {}
            key = f"{prefix}/{path.relative_to(folder)}".removesuffix(".gz")
            client.put_object(Bucket=name, Key=key, Body=path.read_bytes(), **packed)
