# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the providers of both kinds share: the memory of the frames, and the link to the service.

docs/design/provider.md of portraitd specifies what the service accepts.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Iterator, List, Optional

from ._errors import Closed
from ._ring import HEADER_BYTES, LATEST, Layout

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: The most bytes of a ring that the service accepts.
MAX_OFFERED_BYTES = 64 << 20
_MFD_NOEXEC_SEAL = 8
_F_ADD_SEALS = 1033
#: F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_FUTURE_WRITE.
_SEALS = 2 | 4 | 16
_PRIVATE = 16


def _memfd() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("portraitd-provider", flags | _MFD_NOEXEC_SEAL)
    except OSError as error:
        # Linux before 6.3 does not know that flag.
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create("portraitd-provider", flags)


class OfferedRing:
    """The memory of frames that are offered to the service: four pictures, sealed as the service wants it."""

    def __init__(
        self, format: str, width: int, height: int, color_matrix: str = "601", color_range: str = "limited"
    ) -> None:
        """`format` is a four-character code of V4L2, such as `NV12` or `RGB3`. `color_matrix` is `601`, `709` or
        `2020`, and `color_range` is `limited` or `full`; RGB and grey have none. Raises `ValueError` for pictures that
        cannot be offered, and `OSError` if the system has no memory."""
        self.layout = Layout.source(format, width, height, color_matrix, color_range)
        total = self.layout.total_bytes
        if total > MAX_OFFERED_BYTES:
            raise ValueError(
                f"four pictures of {width}x{height} in {format} take {total} bytes; a provider may have {MAX_OFFERED_BYTES}"
            )
        self._map: Optional[mmap.mmap] = None
        #: The descriptor of the memory, for a program that passes it to the service itself.
        self.memory = _memfd()
        try:
            # All of it now: the service refuses memory with holes.
            os.posix_fallocate(self.memory, 0, total)
            # Before the seal, after which nobody can map it for writing.
            self._map = mmap.mmap(self.memory, total, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            # A core dump must not contain pictures.
            self._map.madvise(mmap.MADV_DONTDUMP)
            self._map[:HEADER_BYTES] = self.layout.encode()
            fcntl.fcntl(self.memory, _F_ADD_SEALS, _SEALS)
        except BaseException:
            self.close()
            raise
        self._barrier = threading.Lock()
        #: The index of the newest frame, from 1.
        self.index = 0

    def close(self) -> None:
        """Releases the memory. It may be called again."""
        if self._map is not None:
            # Views of a frame that somebody has kept keep the mapping until they go.
            with contextlib.suppress(BufferError):
                self._map.close()
            self._map = None
        if self.memory >= 0:
            os.close(self.memory)
            self.memory = -1

    def __del__(self) -> None:
        if hasattr(self, "memory"):
            self.close()

    def _store(self, offset: int, value: int) -> None:
        """Stores a word of the lock. CPython does so by one instruction where bytes are in this order."""
        assert self._map is not None
        struct.pack_into("<Q", self._map, offset, value)

    def _fence(self) -> None:
        """Orders the stores before it and after it, as `Ring._fence` orders loads."""
        for _ in range(2):
            with self._barrier:
                pass

    @contextlib.contextmanager
    def frame(self, capture_ns: Optional[int] = None, private: bool = False) -> Iterator[List[memoryview]]:
        """A context in which the next frame is written: its planes, with the padding of their rows (`layout.planes`
        has the strides). They have the bytes of the frame of four frames ago. At the end it is the newest frame,
        unless there was an exception. `capture_ns` is when it was captured, as `time.monotonic_ns`; without it, now.
        `private` says that the shutter is closed: clients get black frames. Keep no plane longer."""
        if self._map is None:
            raise Closed("the offer was closed")
        index = self.index + 1
        start = HEADER_BYTES + (index - 1) % self.layout.slot_count * self.layout.slot_bytes
        self._store(start, 2 * index - 1)
        self._fence()
        now = time.monotonic_ns()
        struct.pack_into("<3Q", self._map, start + 8, index, now if capture_ns is None else capture_ns, now)
        struct.pack_into("<2I", self._map, start + 64, _PRIVATE if private else 0, 0)
        with memoryview(self._map) as whole:
            planes = [whole[start + p.offset : start + p.offset + p.stride * p.rows] for p in self.layout.planes]
        yield planes
        self._fence()
        self._store(start, 2 * index)
        self._fence()
        self._store(LATEST, index)
        self.index = index

    def write(self, picture: Buffer, capture_ns: Optional[int] = None, private: bool = False) -> None:
        """Writes a picture whose planes follow one another without padding, as in raw video and in numpy arrays, and
        makes it the newest; see `frame`. Raises `ValueError` if it has another number of bytes."""
        with memoryview(picture) as given, given.cast("B") as source:
            expected = sum(plane.row_bytes * plane.rows for plane in self.layout.planes)
            if len(source) != expected:
                layout = self.layout
                raise ValueError(
                    f"a picture of {layout.width}x{layout.height} in {layout.format} has {expected} bytes, not {len(source)}"
                )
            at = 0
            with self.frame(capture_ns, private) as planes:
                for plane, out in zip(self.layout.planes, planes):
                    # Rows without padding are one long row.
                    rows, row = (plane.rows, plane.row_bytes) if plane.stride > plane.row_bytes else (1, len(out))
                    for y in range(rows):
                        out[y * plane.stride : y * plane.stride + row] = source[at : at + row]
                        at += row


class Offer:
    """An offer that the service has taken."""

    def __init__(self) -> None:
        self._ring: Optional[OfferedRing] = None
        self._event = -1
        self._demand: Optional[socket.socket] = None
        #: Whether somebody looked when the service last said so. Nobody looks at first.
        self.wanted = False

    def _link(self, ring: OfferedRing, event: int, demand: int) -> None:
        """Replaces the offer by another one."""
        self.close()
        self._ring, self._event = ring, event
        self._demand = socket.socket(fileno=demand)
        self._demand.setblocking(False)

    def close(self) -> None:
        """Ends the offer: the camera is then absent. It may be called again."""
        if self._demand is not None:
            self._demand.close()
            self._demand = None
        if self._event >= 0:
            os.close(self._event)
            self._event = -1
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        self.wanted = False

    def __del__(self) -> None:
        self.close()

    @property
    def ring(self) -> OfferedRing:
        """The memory of the frames. Raises `Closed` after `close`."""
        if self._ring is None:
            raise Closed("the offer was closed")
        return self._ring

    def fileno(self) -> int:
        """The socket that is readable when the service says whether somebody looks. For `select` and event loops;
        then call `news`."""
        if self._demand is None:
            raise Closed("the offer was closed")
        return self._demand.fileno()

    def news(self) -> Optional[bool]:
        """What the service has said last about whether somebody looks; None if it has said nothing new. Does not
        wait. Raises `Closed` if the service has ended the offer."""
        if self._demand is None:
            raise Closed("the offer was closed")
        try:
            said = self._demand.recv(64)
        except (BlockingIOError, InterruptedError):
            return None
        except ConnectionResetError:
            said = b""
        if not said:
            raise Closed("the service has ended the offer")
        self.wanted = said[-1] != 0
        return self.wanted

    def publish(self, picture: Buffer, capture_ns: Optional[int] = None, private: bool = False) -> None:
        """Publishes a picture, see `OfferedRing.write`. It never waits for the service."""
        self.ring.write(picture, capture_ns, private)
        self._announce()

    @contextlib.contextmanager
    def frame(self, capture_ns: Optional[int] = None, private: bool = False) -> Iterator[List[memoryview]]:
        """A context in which a frame is written in place and then published, see `OfferedRing.frame`."""
        with self.ring.frame(capture_ns, private) as planes:
            yield planes
        self._announce()

    def _announce(self) -> None:
        # The newest frame counts, however often it is announced. It fails only if the offer has ended, which `news` says.
        with contextlib.suppress(OSError):
            os.write(self._event, struct.pack("=Q", 1))

