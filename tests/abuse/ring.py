"""Attaching, and reading frames of a ring; docs/design/ring.md has the layout."""

import mmap
import os
import select
import struct
import time

from wire import Variant

HEADER = 4096


class Ring:
    """An attachment: the mapped memory and the pipe. `last` is the index of the newest frame that was read."""

    def __init__(self, memory, event):
        self.event = event
        size = os.fstat(memory).st_size
        self.map = mmap.mmap(memory, size, mmap.MAP_SHARED, mmap.PROT_READ)
        os.close(memory)
        self.slot_count, self.slot_bytes = struct.unpack_from("<2I", self.map, 16)
        self.fourcc, self.width, self.height, planes = struct.unpack_from("<4s3I", self.map, 32)
        offsets, strides, rows = (struct.unpack_from("<4I", self.map, at) for at in (48, 64, 80))
        self.planes = list(zip(offsets, strides, rows))[:planes]
        self.last = self.lost = self.frames = 0
        self.latencies = []

    @property
    def latest(self):
        return struct.unpack_from("<Q", self.map, 128)[0]

    @property
    def closed(self):
        return struct.unpack_from("<I", self.map, 192)[0] != 0

    def start(self, index):
        return HEADER + (index - 1) % self.slot_count * self.slot_bytes

    def drain(self):
        """Empties the pipe without waiting. Returns False at its end."""
        if not select.select([self.event], [], [], 0)[0]:
            return True
        return os.read(self.event, 4096) != b""

    def follow(self):
        """Reads the heads of all frames since the last call. A frame whose slot was overwritten meanwhile is lost."""
        newest = self.latest
        now = time.monotonic_ns()
        if self.last == 0 and newest:
            self.last = newest - 1
        for index in range(max(self.last + 1, newest - self.slot_count + 1), newest + 1):
            lock, _, capture = struct.unpack_from("<3Q", self.map, self.start(index))
            if lock == 2 * index:
                self.frames += 1
                self.latencies.append((now - capture) / 1e6)
            else:
                self.lost += 1
        if newest > self.last + self.slot_count:
            self.lost += newest - self.slot_count - self.last
        self.last = max(self.last, newest)

    def wait(self, frames=1, timeout=20.0):
        """Waits until the ring has published `frames` more frames than were read, and reads them."""
        end, wanted = time.monotonic() + timeout, self.frames + frames
        while self.frames < wanted:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{wanted - self.frames} of {frames} frames did not come within {timeout:.0f} s")
            if select.select([self.event], [], [], min(left, 0.5))[0] and os.read(self.event, 4096) == b"" and self.closed:
                raise EOFError("the ring was closed")
            self.follow()

    def slot(self, index=None):
        """The newest frame's slot (copied), or None if it was overwritten meanwhile."""
        index = self.latest if index is None else index
        start = self.start(index)
        if struct.unpack_from("<Q", self.map, start)[0] != 2 * index:
            return None
        data = self.map[start : start + self.slot_bytes]
        return data if struct.unpack_from("<Q", self.map, start)[0] == 2 * index else None

    def is_blank(self):
        """Whether no slot holds a picture: only the zeros of a wiped slot, or a black one's luma, chroma and padding."""
        for index in range(self.slot_count):
            start = HEADER + index * self.slot_bytes + 512
            picture = self.map[start : start + self.slot_bytes - 512]
            if len(set(picture)) > 3:
                return False
        return True

    def leave(self):
        """Closes the pipe: that ends the attachment. The mapping stays."""
        if self.event >= 0:
            os.close(self.event)
        self.event = -1

    def close(self):
        self.leave()
        self.map.close()


def raw_attach(bus, stream, timeout=30.0, path="/org/portraitd/cameras/main", **options):
    """Calls Attach and returns the descriptors (memory, event)."""
    options = {key: value if isinstance(value, Variant) else Variant("s" if isinstance(value, str) else "u", value)
               for key, value in options.items()}
    memory, event, _ = bus.camera("Attach", "sa{sv}", stream, options, timeout=timeout, path=path)
    fds = bus.last.fds
    return fds[memory], fds[event]


def attach(bus, stream, timeout=30.0, **options):
    attached = Ring(*raw_attach(bus, stream, timeout, **options))
    # The attachment ends when the connection does, so it must not be collected before.
    attached.bus = bus
    return attached


def gather(rings, seconds, also=None):
    """Reads the frames of many rings for a time. `also` is called between wake-ups."""
    poller = select.epoll()
    by_fd = {ring.event: ring for ring in rings}
    for fd in by_fd:
        poller.register(fd, select.EPOLLIN)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for fd, _ in poller.poll(min(left, 0.05)):
            if os.read(fd, 4096) == b"":
                poller.unregister(fd)
            by_fd[fd].follow()
        if also:
            also()
    poller.close()


def percentile(values, share):
    """A percentile, or 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
