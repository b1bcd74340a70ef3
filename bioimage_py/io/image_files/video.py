"""Video (.mp4, .mov, .m4v, .avi, .mkv, .webm) through PyAV: frame i is the i-th of the film, however it is reached."""

from __future__ import annotations

import bisect
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ...errors import FormatError, ParameterError, ShapeError, StorageError
from ...sources.axes import Axis
from ...sources.file import Opened
from ...sources.forks import check_opened, count
from ..details import Details, Image
from ..tif.pages import Pages
from ..written.said import document_of, kept_metadata, lost_metadata, told_in, with_own
from .opening import AGAIN, checked_shape, head_of, no_such, only_image, reading, require_memory, size_in_bytes
from .writing import OrderedImage, chosen, factor, lost_of, single

_NAME = "video"
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")
_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".avi": "avi"}
_CODECS = ("h264", "h264-lossless", "hevc")
_RATE = Fraction(25)
_TAKEN = ("codec", "pixel_format", "average_rate", "variable_rate", "frames", "cut_off")
_MOST_SAID = 30_000
"""Characters of a comment: of one longer than 64 KiB, some players give up."""
_AHEAD = 32
"""A frame so few frames ahead is reached by decoding on, not by a jump to a frame that is stored whole."""


@dataclass(frozen=True)
class Film:
    """What the packets of a film tell, none of which is decoded.

    Parameters
    ----------
    moments : list of int
        When each frame is shown, in order, in units of the time base; empty where the file does not say it of all.
    whole : list of int
        The same of those that are stored whole, where decoding can begin.
    frames : int
        Number of frames that are there.
    announced : int
        Number of frames that the file should have; more where it is cut off.
    """

    moments: list[int]
    whole: list[int]
    frames: int
    announced: int


def construct(path: str, mode: str = "r") -> dict[str, Any]:
    """Return the film under the key ""."""
    return {"": open_dataset(path, None, mode, {}).array}


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open the first film of a file as ``(t, y, x, c)``, or ``(t, y, x)`` where it is grey."""
    only_image(path, key, mode, _NAME, kwargs)
    reader = FrameReader(path)
    try:
        pages = Pages(
            (reader.film.announced,), reader.page, reader.dtype, reader.frame, reader.close, lambda _: reader.path
        )
        return Opened(pages, "", _axes(reader), pages)
    except BaseException:
        reader.close()
        raise


def details(path: str, key: str | None) -> Details:
    """Return codec, rate, and the texts of a film; whether the distance of its frames varies."""
    only_image(path, key, "r", _NAME)
    reader = FrameReader(path)
    try:
        stream, film = reader.stream, reader.film
        steps, time = set(np.diff(film.moments).tolist()), _axes(reader)[0]
        raw = {
            "codec": stream.codec_context.name,
            "pixel_format": reader.pixels,
            "average_rate": None if stream.average_rate is None else float(stream.average_rate),
            "variable_rate": len(steps) > 1,
            "frames": film.frames,
            "cut_off": film.announced > film.frames,
        }
        texts = dict(reader.container.metadata)
        own = {name: said for name, text in texts.items() if name.lower() == "comment" and (said := told_in(text))}
        return Details(
            raw=with_own(raw, next(iter(own.values()), {})),
            file={name: text for name, text in texts.items() if name not in own},
            standard={"acquired": texts.get("creation_time")},
            time_step=time.scale if time.unit else None,
            compression=stream.codec_context.name,
            is_rgb=len(reader.page) == 3,
        )
    finally:
        reader.close()


def write(path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Write a film of 8 bits; `compression` is "h264", "hevc" (both change voxels a little) or "h264-lossless".

    Grey films become coloured ones. The rate is that of the time axis, 25 frames a second where it has no unit.
    `quality` is the constant rate factor of the codec, from 0 to 51, less is better (default 17).
    """
    import av

    image = single(images, _NAME)
    first = next((axis.name for axis in image.axes if axis.name in ("t", "z")), "t")
    ordered = OrderedImage(image, (first, "y", "x", "c"), _NAME, ("uint8",))
    names = [axis.name for axis in ordered.axes]
    if names not in ([first, "y", "x"], [first, "y", "x", "c"]) or (names[-1] == "c" and ordered.shape[-1] != 3):
        raise ShapeError(
            f"A film is (t, y, x), or (t, y, x, c) of 3 colours, not {dict(zip(names, ordered.shape, strict=True))}.",
            remedy='pass axes="tyx" or "tyxc" if these are meant, or write to .ome.zarr',
        )
    codec = chosen(options, "compression", _CODECS)
    quality = options.get("quality")
    if quality is not None and not (isinstance(quality, int) and 0 <= quality <= 51):
        raise ParameterError(f"quality is {quality!r}.", remedy="pass a whole number from 0 (best) to 51")
    colour, lossless = names[-1] == "c", codec == "h264-lossless"
    height, width = ordered.shape[1:3]
    if not lossless and (height % 2 or width % 2):
        raise ShapeError(
            f"The codec {codec} takes even sizes, not {height} x {width}.",
            remedy='crop a row or column, or pass compression="h264-lossless"',
        )
    axis = ordered.axes[0]
    seconds = (factor(axis.unit, "second") or 0.0) * axis.scale
    rate = Fraction(1 / seconds).limit_denominator(10_000) if seconds > 0 else _RATE
    container = _CONTAINERS.get(os.path.splitext(path)[1].lower(), "mp4")
    said = kept_metadata(image, _MOST_SAID, taken=_TAKEN)
    with av.open(path, "w", format=container) as file:
        if said:
            file.metadata["comment"] = document_of(said)
        encoder = {"h264": "libx264", "hevc": "libx265", "h264-lossless": "libx264rgb"}[codec]
        stream: Any = file.add_stream(encoder, rate=rate)
        stream.width, stream.height = width, height
        stream.pix_fmt = "rgb24" if lossless else "yuv420p"
        stream.options = {"crf": "0" if lossless else str(17 if quality is None else quality)}
        if codec == "hevc":
            stream.options = {**stream.options, "x265-params": "log-level=error"}
        for n in range(ordered.shape[0]):
            pixels = ordered.region((slice(n, n + 1), *(slice(0, size) for size in ordered.shape[1:])))[0]
            pixels = pixels if colour else np.repeat(pixels[..., None], 3, -1)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = n
            frame.time_base = 1 / rate
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    lost = [f"scale of {one.name}" for one in ordered.axes[1:] if (one.scale, one.unit) != (1, None)]
    lost += [] if first == "t" else [f"axis {first}"]
    lost += [] if colour else ["grey"]  # it comes back as three equal colours
    return (*lost, *(() if lossless else ("exact values",)), *lost_of(image, "metadata"), *lost_metadata(image, said))


class FrameReader:
    """The frames of a film by their numbers; any number of threads may ask.

    A frame is reached from the one before by decoding on, else from the last one before it that is stored whole; that
    it is the right one is known by the moment at which it is shown.

    Parameters
    ----------
    path : str
        File.
    """

    container: Any = None
    stream: Any = None

    def __init__(self, path: str) -> None:
        import av

        self.path = os.path.abspath(path)
        with reading(path, _NAME):
            self._open()
        try:
            with reading(path, _NAME):
                self.film = _film(path, self.container, self.stream)
                self._open()
                self.pixels = str(self.stream.codec_context.pix_fmt)
                bits = max(component.bits for component in av.VideoFormat(self.pixels).components)
                self._gray = self.pixels.startswith("gray")
                deep = bits > 8
                self.dtype = np.dtype(np.uint16 if deep else np.uint8)
                self._format = {(0, 0): "rgb24", (0, 1): "rgb48le", (1, 0): "gray", (1, 1): "gray16le"}[
                    self._gray, deep
                ]
                size = (self.stream.codec_context.height, self.stream.codec_context.width)
                self.page = checked_shape(path, (*size, *(() if self._gray else (3,))))
        except BaseException:
            self.container.close()
            raise
        self._forks = count()
        self._lock = threading.Lock()
        self._frames: Iterator[Any] | None = None
        self._next = 0

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def _open(self) -> None:
        """Open the file again, at its beginning: one without an index cannot be wound back."""
        import av

        if self.container is not None:
            self.container.close()
        found = head_of(self.path, 16)
        demuxer = _demuxer(found)
        if demuxer is None:
            raise no_such(self.path, _NAME, found)
        # what else a file may be, such as a list of other files, is not asked
        self.container = av.open(self.path, format=demuxer)
        self.stream = next(iter(self.container.streams.video), None)
        if self.stream is None or not self.stream.codec_context.width:
            self.container.close()
            raise FormatError(f"{self.path} holds no film that can be decoded.", remedy="convert it to MP4")

    def frame(self, number: int) -> np.ndarray:
        """Return a frame.

        Raises
        ------
        StorageError
            If the file is cut off or damaged before it.
        """
        check_opened(self._forks, self.path)
        if number >= self.film.frames:
            raise StorageError(
                f"{self.path} is cut off: it has {self.film.frames} of {self.film.announced} frames, and none of the"
                f" number {number}, counted from 0.",
                remedy=f"{AGAIN}; the frames before can be read",
            )
        require_memory(self.path, size_in_bytes(self.page, self.dtype))
        with self._lock:
            try:
                shown = self._decoded(number)
            except StorageError:
                raise
            except Exception as error:  # the library has an error for each way to be damaged
                self._frames = None
                raise self._failed(number, f"{type(error).__name__}: {error}") from error
            if (shown.height, shown.width) != self.page[:2]:
                raise self._failed(number, f"it is of {shown.height} x {shown.width} pixels, not {self.page[:2]}")
            try:
                return np.asarray(shown.to_ndarray(format=self._format), self.dtype).reshape(self.page)
            except Exception as error:  # such as colours that nobody can convert
                raise self._failed(number, f"{type(error).__name__}: {error}") from error

    def _failed(self, number: int, what: str) -> StorageError:
        return StorageError(f"Cannot decode frame {number} of {self.path}: {what}.", remedy=AGAIN)

    def _decoded(self, number: int) -> Any:
        if self._frames is not None and self._next <= number < self._next + _AHEAD:
            return self._go_on(number)
        film = self.film
        at = bisect.bisect_right(film.whole, film.moments[number]) if film.moments else 0
        while at > 0:
            self.container.seek(film.whole[at - 1], stream=self.stream, backward=True)
            self._frames = self.container.decode(self.stream)
            first = next(self._frames, None)
            # frames that need some from before the jump are dropped: what comes first tells where it led
            if first is not None and first.pts is not None and first.pts <= film.moments[number]:
                self._next = bisect.bisect_left(film.moments, first.pts) + 1
                if film.moments[self._next - 1] != first.pts:
                    break
                return first if self._next - 1 == number else self._go_on(number)
            at -= 1
        self._open()
        self._frames, self._next = self.container.decode(self.stream), 0
        return self._go_on(number)

    def _go_on(self, number: int) -> Any:
        assert self._frames is not None
        for shown in self._frames:
            self._next += 1
            at = self._next - 1
            moments = self.film.moments
            if moments and shown.pts is not None and shown.pts != moments[at]:
                self._frames = None
                raise self._failed(at, f"the frame at {moments[at]} is missing, the one at {shown.pts} follows")
            if at == number:
                return shown
        self._frames = None
        raise self._failed(number, f"the film ends after frame {self._next - 1}")


def _demuxer(head: bytes) -> str | None:
    """Return the library's name for a container, by its first bytes."""
    if head[4:8] in _BOXES:
        return "mov"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    return "matroska" if head[:4] == b"\x1aE\xdf\xa3" else None


def _film(path: str, container: Any, stream: Any) -> Film:
    """Read the packets of a film, without decoding them."""
    size = os.path.getsize(path)
    moments, whole, frames, cut = [], [], 0, False
    told = container.format.name != "avi"  # which has no place for when frames are shown
    try:
        for packet in container.demux(stream):
            if not packet.size or packet.is_discard:
                continue
            if packet.is_corrupt or (packet.pos is not None and packet.pos + packet.size > size):
                cut = True
                break
            frames += 1
            if packet.pts is None:
                told = False
                continue
            moments.append(packet.pts)
            if packet.is_keyframe:
                whole.append(packet.pts)
    except Exception as error:
        if not frames:
            raise FormatError(f"{path} holds no film that can be read: {error}", remedy=AGAIN) from error
        cut = True
    if not frames:
        raise FormatError(f"{path} is a film without frames.", remedy=AGAIN)
    announced = max(frames, int(stream.frames or 0))
    if cut or announced > frames or _end(path) > size:
        rate, length = stream.average_rate, container.duration
        by_time = round(float(rate) * length / 1_000_000) if rate and length and length > 0 else 0
        announced = max(announced, min(by_time, 1000 * frames), frames + 1)
    if not told or len(set(moments)) < frames:
        moments, whole = [], []
    return Film(sorted(moments), sorted(whole), frames, min(announced, 1000 * frames + 1))


def _end(path: str) -> int:
    """Return where a file should end by its outermost structure; 0 where that says nothing."""
    head = head_of(path, 4096)
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little") if os.path.getsize(path) < 1 << 30 else 0
    if head[:4] != b"\x1aE\xdf\xa3" or (at := head.find(b"\x18\x53\x80\x67")) < 0:
        return 0
    lead = head[at + 4] if at + 12 < len(head) else 0
    length = 9 - lead.bit_length()
    value = int.from_bytes(head[at + 4 : at + 4 + length], "big") & ((1 << 7 * length) - 1) if lead else 0
    return 0 if value == (1 << 7 * length) - 1 else at + 4 + length + value


def _axes(reader: FrameReader) -> tuple[Axis, ...]:
    moments, base = reader.film.moments, reader.stream.time_base
    if len(moments) > 1 and base:
        step = float(base * (moments[-1] - moments[0]) / (len(moments) - 1))
    else:
        step = 1 / float(reader.stream.average_rate) if reader.stream.average_rate else 0.0
    time = Axis("t", "time", "second", step) if step > 0 else Axis("t", "time")
    return (time, Axis("y"), Axis("x"), *([Axis("c", "channel")] if len(reader.page) == 3 else []))
