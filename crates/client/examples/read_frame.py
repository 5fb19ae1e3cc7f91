#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Reads frames of a portraitd stream and saves the last one as PPM (RGB) or PGM (masks).

    read_frame.py --bus session --camera front view view.ppm --frames 60

It uses only Python's standard library, so that it runs on a board without further packages.
Attaching is one D-Bus call whose reply carries two descriptors; the class Bus below implements just
that. A program that does more over D-Bus should use a library that passes descriptors (jeepney or
dbus-fast), and keep the class Ring, which reads the frames.
"""

import argparse
import fcntl
import json
import mmap
import os
import select
import socket
import struct
import sys
import threading
import time

HEADER_BYTES = 4096
SLOT_HEADER_BYTES = 512
ALIGNMENT = 64
MAX_SIDE = 16384


class Ring:
    """An open ring of version 1. docs/design/ring.md specifies the fields."""

    def __init__(self, memory, event):
        seals = fcntl.fcntl(memory, 1034)  # F_GET_SEALS
        if not seals & 2:  # F_SEAL_SHRINK
            raise ValueError("the memory is not sealed against shrinking")
        size = os.fstat(memory).st_size
        self.map = mmap.mmap(memory, size, mmap.MAP_SHARED, mmap.PROT_READ)
        os.close(memory)  # the mapping keeps the memory alive
        self.event = event
        self.parse(self.map[:HEADER_BYTES], size)
        self.last = self.torn = self.skipped = 0
        self.barrier = threading.Lock()

    def parse(self, header, size):
        """Checks every value of a header before it is used. `size` is that of the memory, in bytes."""
        magic, version, header_bytes, self.slot_count, self.slot_bytes, self.generation, self.stream = struct.unpack_from(
            "<8s6I", header, 0
        )
        self.fourcc, self.width, self.height, planes = struct.unpack_from("<4s3I", header, 32)
        matrix, color_range = struct.unpack_from("<2I", header, 96)
        if magic != b"PORTRAIT" or version != 1 or header_bytes != HEADER_BYTES:
            raise ValueError("not a ring of version 1")
        if not 4 <= self.slot_count <= 64 or self.slot_bytes < SLOT_HEADER_BYTES or self.slot_bytes % ALIGNMENT:
            raise ValueError("the slots are not valid")
        if not 1 <= self.width <= MAX_SIDE or not 1 <= self.height <= MAX_SIDE:
            raise ValueError("the size is not valid")
        if not 1 <= self.stream <= 4 or matrix > 3 or color_range > 2:
            raise ValueError("the stream or its colours are not valid")
        if HEADER_BYTES + self.slot_count * self.slot_bytes > size:
            raise ValueError("the memory is smaller than its header says")
        expected = self.expected_planes(self.fourcc, self.width, self.height)
        if planes != len(expected):
            raise ValueError("the format has another number of planes")
        numbers = struct.unpack_from("<12I", header, 48)
        self.planes = list(zip(numbers[0:4], numbers[4:8], numbers[8:12]))[:planes]
        for (offset, stride, rows), (row_bytes, expected_rows) in zip(self.planes, expected):
            if stride < row_bytes or stride % ALIGNMENT or rows != expected_rows:
                raise ValueError("the rows of a plane are not valid")
            if offset < SLOT_HEADER_BYTES or offset % ALIGNMENT or offset + stride * rows > self.slot_bytes:
                raise ValueError("a plane does not lie within its slot")

    @staticmethod
    def expected_planes(fourcc, width, height):
        """The bytes of a row and the rows of each plane; none for an unknown format."""
        half, half_rows = (width + 1) // 2, (height + 1) // 2
        packed = {b"GREY": width, b"RGB3": 3 * width, b"BGR3": 3 * width, b"XB24": 4 * width, b"XR24": 4 * width}
        packed |= {b"YUYV": 4 * half, b"UYVY": 4 * half}
        if fourcc in packed:
            return [(packed[fourcc], height)]
        return {
            b"NV12": [(width, height), (2 * half, half_rows)],
            b"NV21": [(width, height), (2 * half, half_rows)],
            b"YU12": [(width, height), (half, half_rows), (half, half_rows)],
            b"422P": [(width, height), (half, height), (half, height)],
        }.get(fourcc, [])

    def word(self, offset):
        return struct.unpack_from("<Q", self.map, offset)[0]

    def fence(self):
        """Orders the loads before it and after it. Python has no memory fence; acquiring and
        releasing a lock twice has this effect on every processor that Linux runs on."""
        for _ in range(2):
            with self.barrier:
                pass

    def closed(self):
        return struct.unpack_from("<I", self.map, 192)[0] != 0

    def wait(self, timeout=None):
        """Waits for a frame. Returns False after the timeout; raises EOFError at the end."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            # A wake-up without a new frame does not restart the timeout.
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([self.event], [], [], left)
            if readable:
                at_end = os.read(self.event, 4096) == b""
                if self.word(128) > self.last:
                    return True
                if at_end or self.closed():
                    raise EOFError("the ring is closed; attach again")
            if left == 0.0:
                return False

    def read(self):
        """Returns the newest frame as (description, bytes of its slot), or None if it is not new."""
        for _ in range(4):
            index = self.word(128)
            if index <= self.last:
                return None
            start = HEADER_BYTES + (index - 1) % self.slot_count * self.slot_bytes
            if self.word(start) == 2 * index:
                self.fence()
                slot = self.map[start : start + self.slot_bytes]
                self.fence()
                if self.word(start) == 2 * index:
                    if self.last:
                        self.skipped += index - self.last - 1
                    self.last = index
                    return self.describe(index, slot), slot
            self.torn += 1
        return None

    @staticmethod
    def describe(index, slot):
        sequence, capture_ns, publish_ns, mask_sequence, mask_age_ns = struct.unpack_from("<5Q", slot, 8)
        *crop, flags, people = struct.unpack_from("<4f2I", slot, 48)
        people = [struct.unpack_from("<I5f", slot, 72 + 24 * i) for i in range(min(people, 16))]
        return {
            "index": index,
            "sequence": sequence,
            "capture_ns": capture_ns,
            "publish_ns": publish_ns,
            "mask_sequence": mask_sequence,
            "mask_age_ns": mask_age_ns,
            "crop": crop,
            "flags": flags,
            "people": people,
        }

    def save(self, slot, path):
        """Saves a frame in the format RGB3 or GREY."""
        channels = {b"RGB3": 3, b"GREY": 1}[self.fourcc]
        offset, stride, rows = self.planes[0]
        with open(path, "wb") as out:
            out.write(b"P%d\n%d %d\n255\n" % (6 if channels == 3 else 5, self.width, self.height))
            for y in range(rows):
                out.write(slot[offset + y * stride :][: self.width * channels])


class Bus:
    """A connection to a D-Bus bus that implements what a call of Attach needs, and no more."""

    def __init__(self, address):
        kind, _, rest = address.split(";")[0].partition(":")
        keys = dict(pair.split("=", 1) for pair in rest.split(",") if "=" in pair)
        if kind != "unix" or not ("path" in keys or "abstract" in keys):
            raise ValueError(f"only unix sockets are supported, not {address}")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(keys["path"] if "path" in keys else "\0" + keys["abstract"])
        self.buffer, self.fds, self.serial = b"", [], 0
        self.socket.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        self.expect(b"OK")
        self.socket.sendall(b"NEGOTIATE_UNIX_FD\r\n")
        self.expect(b"AGREE_UNIX_FD")
        self.socket.sendall(b"BEGIN\r\n")
        self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", "", b"")

    def receive(self):
        data, fds, _, _ = socket.recv_fds(self.socket, 65536, 16)
        if not data:
            raise EOFError("the bus has closed the connection")
        self.buffer += data
        self.fds += fds

    def expect(self, word):
        while b"\r\n" not in self.buffer:
            self.receive()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        if not line.startswith(word):
            raise PermissionError(f"the bus refuses the login: {line.decode()!r}")

    @staticmethod
    def pad(data, to):
        return data + bytes(-len(data) % to)

    @classmethod
    def string(cls, data, text):
        text = text.encode()
        return cls.pad(data, 4) + struct.pack("<I", len(text)) + text + b"\0"

    @classmethod
    def variant(cls, data, signature, value):
        data += bytes([len(signature)]) + signature.encode() + b"\0"
        if signature == "u":
            return cls.pad(data, 4) + struct.pack("<I", value)
        if signature == "g":
            return data + bytes([len(value)]) + value.encode() + b"\0"
        return cls.string(data, value)

    def call(self, destination, path, interface, member, signature, body):
        """Calls a method. Returns the body of the reply and its descriptors."""
        self.serial += 1
        fields = b""
        for code, kind, value in [
            (1, "o", path),
            (2, "s", interface),
            (3, "s", member),
            (6, "s", destination),
            (8, "g", signature),
        ]:
            if value:
                fields = self.variant(self.pad(fields, 8) + bytes([code]), kind, value)
        header = struct.pack("<cBBBIII", b"l", 1, 0, 1, len(body), self.serial, len(fields)) + fields
        self.socket.sendall(self.pad(header, 8) + body)
        while True:
            kind, order, reply_to, fd_count, error, body = self.message()
            fds, self.fds = self.fds[:fd_count], self.fds[fd_count:]
            if reply_to != self.serial or kind not in (2, 3):
                continue
            if kind == 3:
                length = struct.unpack_from(order + "I", body)[0] if body else 0
                raise RuntimeError(f"{error}: {body[4 : 4 + length].decode()}")
            return body, fds

    def message(self):
        while len(self.buffer) < 16:
            self.receive()
        order = "<" if self.buffer[:1] == b"l" else ">"
        kind = self.buffer[1]
        body_bytes, _, field_bytes = struct.unpack_from(order + "III", self.buffer, 4)
        start = 16 + field_bytes + -field_bytes % 8
        while len(self.buffer) < start + body_bytes:
            self.receive()
        fields, body = self.buffer[: 16 + field_bytes], self.buffer[start : start + body_bytes]
        self.buffer = self.buffer[start + body_bytes :]
        reply_to, fd_count, error, at = 0, 0, "", 16
        while at < len(fields):
            at += -at % 8
            code, signature = fields[at], fields[at + 2 : at + 3]
            at += 4
            if signature == b"u":
                value = struct.unpack_from(order + "I", fields, at)[0]
                at += 4
            elif signature == b"g":
                value, at = "", at + fields[at] + 2
            else:
                length = struct.unpack_from(order + "I", fields, at)[0]
                value, at = fields[at + 4 : at + 4 + length].decode(), at + length + 5
            if code == 4:
                error = value
            elif code == 5:
                reply_to = value
            elif code == 9:
                fd_count = value
        return kind, order, reply_to, fd_count, error, body


def attach(bus, camera, stream, options):
    """Calls Attach and opens the ring that it returns."""
    escaped = "".join(chr(b) if chr(b).isalnum() and b < 128 else f"_{b:02x}" for b in camera.encode())
    body = Bus.string(b"", stream)
    body = Bus.pad(body, 4)
    length_at = len(body)
    body = Bus.pad(body + bytes(4), 8)
    first = len(body)
    for key, (signature, value) in options.items():
        body = Bus.variant(Bus.string(Bus.pad(body, 8), key), signature, value)
    body = body[:length_at] + struct.pack("<I", len(body) - first) + body[length_at + 4 :]
    path = "/org/portraitd/cameras/" + escaped
    reply, fds = bus.call("org.portraitd", path, "org.portraitd.Camera1", "Attach", "sa{sv}", body)
    # The first two values are indices into the list of descriptors. The layout that follows is
    # also in the header of the ring.
    memory, event = struct.unpack_from("<II", reply)
    return Ring(fds[memory], fds[event])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bus", default="system", help="system, session, or an address")
    parser.add_argument("--camera", default="main")
    parser.add_argument("--frames", type=int, default=1, help="number of frames to read, at least 1; the last one is saved")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds to wait for a frame")
    parser.add_argument("stream", choices=["mask", "view", "composite", "source"])
    parser.add_argument("file")
    arguments = parser.parse_args()
    if arguments.frames < 1:
        parser.error("--frames must be at least 1")
    address = {
        "system": os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/dbus/system_bus_socket"),
        "session": os.environ.get("DBUS_SESSION_BUS_ADDRESS", ""),
    }.get(arguments.bus, arguments.bus)
    options = {} if arguments.stream == "mask" else {"format": ("s", "RGB3")}
    # The connection stays open, because leaving the bus ends the attachment.
    bus = Bus(address)
    ring = attach(bus, arguments.camera, arguments.stream, options)
    frames, frame = 0, None
    while frames < arguments.frames:
        if not ring.wait(arguments.timeout):
            raise TimeoutError("no frame within the timeout")
        newer = ring.read()
        if newer:
            frames, frame = frames + 1, newer
    what, slot = frame
    ring.save(slot, arguments.file)
    summary = {"frames": frames, "torn": ring.torn, "skipped": ring.skipped, "generation": ring.generation}
    print(json.dumps(summary | what))


if __name__ == "__main__":
    try:
        main()
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        print(f"read_frame.py: {error}", file=sys.stderr)
        sys.exit(1)
