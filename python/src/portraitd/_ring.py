# SPDX-License-Identifier: MIT OR Apache-2.0
"""Reads rings of version 1. docs/design/ring.md of portraitd specifies the fields."""

from __future__ import annotations

import enum
import fcntl
import mmap
import os
import select
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, List, NamedTuple, Optional, Tuple

from ._errors import Closed, RingError

if TYPE_CHECKING:
    import numpy
    import numpy.typing

HEADER_BYTES = 4096
SLOT_HEADER_BYTES = 512
ALIGNMENT = 64
MAX_SIDE = 16384
MAX_PEOPLE = 16
_F_GET_SEALS = 1034
_F_SEAL_SHRINK = 2
#: Where the index of the newest frame is in the header.
LATEST = 128
_CLOSED = 192
#: A reader that is overtaken this often is too slow, and the next frame is announced anyway.
_ATTEMPTS = 4
_MIN_SLOTS = 4
_SOURCE = 4
#: As the D-Bus interface names them; their place is their number in the header.
_MATRICES = ("", "601", "709", "2020")
_RANGES = ("", "limited", "full")


class Flags(enum.IntFlag):
    """The state of a frame's mask and of the camera."""

    MASK_VALID = 1
    STILL = 2
    STALE = 4
    DEGRADED = 8
    PRIVATE = 16


class Person(NamedTuple):
    """A person in a frame. The box is in source pixels; the confidence is 0 to 1."""

    id: int
    x: float
    y: float
    width: float
    height: float
    confidence: float


class Crop(NamedTuple):
    """The part of the source that a picture shows, in source pixels."""

    x: float
    y: float
    width: float
    height: float


class Plane(NamedTuple):
    """A plane of a picture. `offset` counts from the start of the slot; `row_bytes` is without padding."""

    offset: int
    stride: int
    rows: int
    row_bytes: int


@dataclass(frozen=True)
class Layout:
    """The header of a ring, of which every value was checked."""

    slot_count: int
    slot_bytes: int
    generation: int
    stream: int
    format: str
    width: int
    height: int
    color_matrix: int
    color_range: int
    planes: Tuple[Plane, ...]

    @classmethod
    def parse(cls, header: bytes, size: int) -> Layout:
        """Checks every value of a header. `size` is that of the memory, in bytes. Raises `RingError`."""
        magic, version, header_bytes, slot_count, slot_bytes, generation, stream = struct.unpack_from("<8s6I", header, 0)
        fourcc, width, height, plane_count = struct.unpack_from("<4s3I", header, 32)
        matrix, color_range = struct.unpack_from("<2I", header, 96)
        if magic != b"PORTRAIT" or version != 1 or header_bytes != HEADER_BYTES:
            raise RingError("not a ring of version 1")
        if not 4 <= slot_count <= 64 or slot_bytes < SLOT_HEADER_BYTES or slot_bytes % ALIGNMENT:
            raise RingError("the slots are not valid")
        if not 1 <= width <= MAX_SIDE or not 1 <= height <= MAX_SIDE:
            raise RingError("the size is not valid")
        if not 1 <= stream <= 4 or matrix > 3 or color_range > 2:
            raise RingError("the stream or its colours are not valid")
        if HEADER_BYTES + slot_count * slot_bytes > size:
            raise RingError("the memory is smaller than its header says")
        expected = _expected_planes(fourcc, width, height)
        if not expected or plane_count != len(expected):
            raise RingError("the format is not known, or has another number of planes")
        numbers = struct.unpack_from("<12I", header, 48)
        planes = []
        for (row_bytes, expected_rows), offset, stride, rows in zip(expected, numbers[0:4], numbers[4:8], numbers[8:12]):
            if stride < row_bytes or stride % ALIGNMENT or rows != expected_rows:
                raise RingError("the rows of a plane are not valid")
            if offset < SLOT_HEADER_BYTES or offset % ALIGNMENT or offset + stride * rows > slot_bytes:
                raise RingError("a plane does not lie within its slot")
            planes.append(Plane(offset, stride, rows, row_bytes))
        kind = fourcc.decode("ascii")
        return cls(slot_count, slot_bytes, generation, stream, kind, width, height, matrix, color_range, tuple(planes))

    @classmethod
    def source(cls, format: str, width: int, height: int, color_matrix: str, color_range: str) -> Layout:
        """The layout of four pictures that a provider offers. Raises `ValueError`."""
        fourcc = format.encode("ascii", "replace")
        for side in (width, height):
            if not 1 <= side <= MAX_SIDE:
                raise ValueError(f"{width}x{height}: both sides must be from 1 to {MAX_SIDE}")
        extents = _expected_planes(fourcc, width, height)
        if not extents:
            raise ValueError(f"the pixel format {format!r} is not known")
        if color_matrix not in _MATRICES[1:] or color_range not in _RANGES[1:]:
            raise ValueError(f"the colours {color_matrix!r}, {color_range!r} are not known: 601, 709, 2020; limited, full")
        # RGB and grey have neither.
        has_chroma = fourcc not in (b"GREY", b"RGB3", b"BGR3", b"XB24", b"XR24")
        matrix = _MATRICES.index(color_matrix) if has_chroma else 0
        planes, end = [], SLOT_HEADER_BYTES
        for row_bytes, rows in extents:
            stride = row_bytes + -row_bytes % ALIGNMENT
            planes.append(Plane(end, stride, rows, row_bytes))
            end += stride * rows
        kind = _RANGES.index(color_range) if has_chroma else 0
        return cls(_MIN_SLOTS, end, 1, _SOURCE, format, width, height, matrix, kind, tuple(planes))

    @property
    def total_bytes(self) -> int:
        """The size of the whole ring."""
        return HEADER_BYTES + self.slot_count * self.slot_bytes

    def encode(self) -> bytes:
        """The header of a ring with this layout that has no frame yet."""
        header = bytearray(HEADER_BYTES)
        struct.pack_into(
            "<8s6I", header, 0, b"PORTRAIT", 1, HEADER_BYTES, self.slot_count, self.slot_bytes, self.generation, self.stream
        )
        struct.pack_into("<4s3I", header, 32, self.format.encode("ascii"), self.width, self.height, len(self.planes))
        for number, plane in enumerate(self.planes):
            for field, value in enumerate((plane.offset, plane.stride, plane.rows)):
                struct.pack_into("<I", header, 48 + 16 * field + 4 * number, value)
        struct.pack_into("<2I", header, 96, self.color_matrix, self.color_range)
        return bytes(header)


def _expected_planes(fourcc: bytes, width: int, height: int) -> List[Tuple[int, int]]:
    """The bytes of a row and the rows of each plane; none for an unknown format."""
    half, half_rows = (width + 1) // 2, (height + 1) // 2
    packed = {
        b"GREY": width,
        b"RGB3": 3 * width,
        b"BGR3": 3 * width,
        b"XB24": 4 * width,
        b"XR24": 4 * width,
        b"YUYV": 4 * half,
        b"UYVY": 4 * half,
    }
    if fourcc in packed:
        return [(packed[fourcc], height)]
    return {
        b"NV12": [(width, height), (2 * half, half_rows)],
        b"NV21": [(width, height), (2 * half, half_rows)],
        b"YU12": [(width, height), (half, half_rows), (half, half_rows)],
        b"422P": [(width, height), (half, height), (half, height)],
    }.get(fourcc, [])


@dataclass(frozen=True)
class Frame:
    """A copy of a frame. Times are `CLOCK_MONOTONIC` nanoseconds (`time.monotonic_ns`)."""

    layout: Layout
    index: int
    sequence: int
    capture_ns: int
    publish_ns: int
    mask_sequence: int
    mask_age_ns: int
    crop: Crop
    flags: Flags
    people: Tuple[Person, ...]
    slot: bytes

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.layout.width

    @property
    def height(self) -> int:
        """Height in rows."""
        return self.layout.height

    def plane(self, number: int = 0) -> memoryview:
        """The bytes of a plane with the padding of its rows: `layout.planes` has the stride."""
        plane = self.layout.planes[number]
        return memoryview(self.slot)[plane.offset : plane.offset + plane.stride * plane.rows]

    def packed(self, number: int = 0) -> bytes:
        """The bytes of a plane without padding, row by row."""
        plane, view = self.layout.planes[number], self.plane(number)
        if plane.stride == plane.row_bytes:
            return bytes(view)
        return b"".join(view[y * plane.stride :][: plane.row_bytes] for y in range(plane.rows))

    def array(self, number: int = 0) -> numpy.typing.NDArray[numpy.uint8]:
        """A plane as a read-only numpy array of rows and columns, and of channels where a pixel has several bytes in
        the plane. It shares the memory of the frame. Needs numpy."""
        import numpy

        plane = self.layout.planes[number]
        rows = numpy.frombuffer(self.plane(number), numpy.uint8).reshape(plane.rows, plane.stride)[:, : plane.row_bytes]
        channels = {"RGB3": 3, "BGR3": 3, "XB24": 4, "XR24": 4}.get(self.layout.format, 1)
        if self.layout.format in ("NV12", "NV21") and number == 1 or self.layout.format in ("YUYV", "UYVY"):
            channels = 2
        if channels == 1:
            return rows
        step = rows.strides[1]
        shape = (plane.rows, plane.row_bytes // channels, channels)
        return numpy.lib.stride_tricks.as_strided(rows, shape, (rows.strides[0], channels * step, step), writeable=False)


class Ring:
    """An open ring. It owns both descriptors; `close` ends the attachment. Used by one thread at a time."""

    def __init__(self, memory: int, event: int) -> None:
        self._map: Optional[mmap.mmap] = None
        self._event = event
        try:
            # Without this seal, reading memory that was shortened would raise SIGBUS. A file that is no memfd has none.
            try:
                seals = fcntl.fcntl(memory, _F_GET_SEALS)
            except OSError:
                seals = 0
            if not seals & _F_SEAL_SHRINK:
                raise RingError("the memory is not sealed against shrinking")
            size = os.fstat(memory).st_size
            if size < HEADER_BYTES:
                raise RingError("the memory is smaller than a header")
            with mmap.mmap(memory, HEADER_BYTES, mmap.MAP_SHARED, mmap.PROT_READ) as header:
                # A copy, so that the checked values are the ones that are used.
                self.layout = Layout.parse(header[:], size)
            self._map = mmap.mmap(memory, self.layout.total_bytes, mmap.MAP_SHARED, mmap.PROT_READ)
        except BaseException:
            os.close(event)
            self._event = -1
            raise
        finally:
            os.close(memory)  # The mapping keeps the memory.
        self._barrier = threading.Lock()
        self._last = 0
        #: Copies that the writer overtook and that were discarded.
        self.torn = 0
        #: Frames that were published and not read.
        self.skipped = 0

    def __enter__(self) -> Ring:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Ends the attachment. It may be called again."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._event >= 0:
            os.close(self._event)
            self._event = -1

    def fileno(self) -> int:
        """The pipe, which is readable when a frame has come. For `select` and event loops; then call `drain`."""
        return self._event

    def _memory(self) -> mmap.mmap:
        if self._map is None:
            raise Closed("the ring was closed")
        return self._map

    def _word(self, offset: int) -> int:
        (value,) = struct.unpack_from("<Q", self._memory(), offset)
        return int(value)

    def _fence(self) -> None:
        """Orders the loads before it and after it. Python has no memory fence; acquiring and releasing a lock twice
        has this effect on every processor that Linux runs on."""
        for _ in range(2):
            with self._barrier:
                pass

    @property
    def closed(self) -> bool:
        """Whether the service has closed the ring: no more frames will come."""
        (value,) = struct.unpack_from("<I", self._memory(), _CLOSED)
        return bool(value)

    def drain(self) -> bool:
        """Takes the announcements from the readable pipe. Returns whether there is a new frame; raises `Closed` at the
        end."""
        at_end = os.read(self._event, 4096) == b""
        # After the read: a frame is published before it is announced.
        if self._word(LATEST) > self._last:
            return True
        if at_end or self.closed:
            raise Closed("the ring is closed")
        return False

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Waits for a new frame. Returns False after `timeout` seconds; raises `Closed` at the end."""
        deadline = None if timeout is None else time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._event, select.POLLIN)
        while True:
            # A wake-up without a new frame does not prolong the timeout.
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = poll.poll(None if left is None else left * 1000)
            if ready and ready[0][1] & select.POLLIN:
                if self.drain():
                    return True
            elif ready or self.closed:
                raise Closed("the ring is closed")
            if left == 0.0:
                return False

    def read(self) -> Optional[Frame]:
        """Returns a copy of the newest frame, or None if it is not newer than the last one. A frame is never a
        mixture of two: a copy that the writer overtook is discarded."""
        memory = self._memory()
        for _ in range(_ATTEMPTS):
            index = self._word(LATEST)
            if index <= self._last:
                return None
            start = HEADER_BYTES + (index - 1) % self.layout.slot_count * self.layout.slot_bytes
            if self._word(start) == 2 * index:
                self._fence()
                slot = memory[start : start + self.layout.slot_bytes]
                self._fence()
                if self._word(start) == 2 * index:
                    if self._last:
                        self.skipped += index - self._last - 1
                    self._last = index
                    return self._frame(index, slot)
            self.torn += 1
        return None

    def _frame(self, index: int, slot: bytes) -> Frame:
        sequence, capture_ns, publish_ns, mask_sequence, mask_age_ns = struct.unpack_from("<5Q", slot, 8)
        *crop, flags, count = struct.unpack_from("<4f2I", slot, 48)
        people = tuple(Person(*struct.unpack_from("<I5f", slot, 72 + 24 * i)) for i in range(min(count, MAX_PEOPLE)))
        return Frame(
            self.layout,
            index,
            sequence,
            capture_ns,
            publish_ns,
            mask_sequence,
            mask_age_ns,
            Crop(*crop),
            Flags(flags),
            people,
            slot,
        )
