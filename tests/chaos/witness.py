"""Witnesses: clients that only want their frames, look at each of them, and attach again when they have to.

Each is a process of its own. What it saw is in memory that it shares with the harness.
"""

import ctypes
import mmap
import os
import select
import signal
import struct
import time

from ring import Ring, raw_attach
from wire import Bus, CallError, Gone

FIELDS = ("frames", "blank", "lost", "torn", "stale", "attaches", "refused")
PRIVATE = 16
# Luma of the stripe at the left edge of the test video: the same in all rows of a frame, and far from that of the next one.
STRIPE_COLUMN, STRIPE_SPREAD = 4, 12


def end_with_parent():
    """The kernel ends this process when the harness ends, however it does."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # The terminal sends it to all processes, and only the harness ends the run.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Witness:
    """`frames` were whole and new, `blank` ones were those of a private camera. `lost` were overwritten before they were read, which
    happens to a client that gets no CPU for 100 ms. `torn` mixed two frames, `stale` were not newer than the one before."""

    def __init__(self, user, camera, stream, striped, options):
        self.user, self.camera, self.stream, self.striped, self.options = user, camera, stream, striped, options
        self.shared = mmap.mmap(-1, 4096)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                end_with_parent()
                self.watch()
            finally:
                os._exit(1)

    def figures(self):
        return dict(zip(FIELDS, struct.unpack_from(f"<{len(FIELDS)}Q", self.shared)))

    def __getattr__(self, name):
        if name in FIELDS:
            return self.figures()[name]
        raise AttributeError(name)

    def add(self, name, count=1):
        at = 8 * FIELDS.index(name)
        struct.pack_into("<Q", self.shared, at, struct.unpack_from("<Q", self.shared, at)[0] + count)

    def watch(self):
        path = f"/org/portraitd/cameras/{self.camera}"
        while True:
            bus = ring = None
            try:
                bus = Bus(self.user)
                ring = Ring(*raw_attach(bus, self.stream, path=path, **self.options))
                self.add("attaches")
                self.follow(bus, ring)
            except (CallError, Gone, OSError, TimeoutError):
                self.add("refused")
                time.sleep(0.1)
            finally:
                for thing in (ring, bus):
                    if thing is not None:
                        thing.close()

    def follow(self, bus, ring):
        last_capture = 0
        while not ring.closed:
            ready = select.select([ring.event, bus.socket], [], [], 0.5)[0]
            if bus.socket in ready:
                bus.poll()
            if ring.event in ready and os.read(ring.event, 4096) == b"":
                return
            newest = ring.latest
            first = max(ring.last + 1, newest - ring.slot_count + 1) if ring.last else newest
            if ring.last:
                self.add("lost", first - ring.last - 1)
            for index in range(max(first, 1), newest + 1):
                last_capture = self.look(ring, index, last_capture)
            ring.last = max(ring.last, newest)

    def look(self, ring, index, last_capture):
        start = ring.start(index)
        lock, _, capture = struct.unpack_from("<3Q", ring.map, start)
        flags = struct.unpack_from("<I", ring.map, start + 64)[0]
        offset, stride, rows = ring.planes[0]
        begin = start + offset + STRIPE_COLUMN
        column = ring.map[begin : begin + stride * rows : stride] if self.striped else b"\0"
        if lock != 2 * index or struct.unpack_from("<Q", ring.map, start)[0] != lock:
            self.add("lost")
            return last_capture
        if flags & PRIVATE:
            self.add("blank")
        elif max(column) - min(column) > STRIPE_SPREAD:
            self.add("torn")
        elif capture <= last_capture:
            self.add("stale")
        else:
            self.add("frames")
        return max(capture, last_capture)

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
