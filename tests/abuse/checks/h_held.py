"""H: what held before these attacks, and must still hold."""

import fcntl
import math
import os
import random
import signal
import struct
import sys
import tempfile
import time
import zlib
from pathlib import Path

from checks import check, expect_error
from ring import attach
from wire import CALL, CAMERA, PROPERTIES, ROOT, SERVICE, CallError, Variant, marshal
from world import REPOSITORY, WORK, carol, dave, require

# Values of every type that D-Bus has, at the ends of their ranges and beyond what a setting may be.
ODD = [
    *[("y", value) for value in (0, 1, 255)], *[("b", value) for value in (0, 1)],
    *[("n", value) for value in (-32768, -1, 0, 32767)], *[("q", value) for value in (0, 7, 65535)],
    *[("i", value) for value in (-(2**31), -1, 0, 2**31 - 1)], *[("u", value) for value in (0, 1, 15, 17, 4097, 2**32 - 1)],
    *[("x", value) for value in (-(2**63), 0, 2**63 - 1)], *[("t", value) for value in (0, 2**64 - 1)],
    *[("d", value) for value in (math.nan, math.inf, -math.inf, -0.0, 0.5, 1.0, 1e308, -1e308, 5e-324)],
    *[("s", value) for value in ("", " ", "off", "OFF", "NV12", "../../etc/passwd", "/", "%s%n", "\u202e\U0001f600", "a" * 5000, "\x1b[2J",
                                 "#12345", "#gggggg", "-1", "none\n", "selfie-landscape/../selfie-landscape")],
    ("o", "/"), ("o", CAMERA), ("g", ""), ("g", "a{sv}"), ("ay", b""), ("ay", bytes(3000)), ("as", []), ("as", ["a"] * 40),
    ("(dddd)", (math.nan,) * 4), ("(dddd)", (0.0, 0.0, 0.0, 0.0)), ("(dddd)", (-1.0, 0.0, 1.0, 1.0)), ("(dddd)", (0.5, 0.5, 1.0, 1.0)),
    ("(dddd)", (0.0, 0.0, 1e-300, 1e-300)), ("(dddd)", (0.0, 0.0, math.inf, 1.0)), ("(ddd)", (0.0, 0.0, 1.0)), ("(ssss)", ("0",) * 4),
    ("a(dddd)", []), ("a(dddd)", [(0.1, 0.1, 0.1, 0.1)] * 17), ("a(dddd)", [(math.nan,) * 4]), ("aad", [[0.0] * 4]),
    ("v", Variant("d", 1.0)), ("v", Variant("v", Variant("v", Variant("s", "off")))), ("a{sv}", {}), ("a{sv}", {"x": Variant("u", 1)}),
    ("a{ys}", {1: "a"}), ("(s)", ("off",)), ("(a(a(s)))", ([([("off",)],)],)),
]
PROPERTIES_OF = {
    "Camera1": ["Name", "Device", "State", "Format", "Consumers", "Generation", "LastError", "Stats", "Private", "Rotate", "Mirror"],
    "Framing1": ["Mode", "State", "Crop", "ManualCrop", "MaxZoom", "Speed", "Subject", "Zones", "Limits"],
    "Segmentation1": ["Model", "Models", "Rate", "People", "Present", "Healthy", "Degraded"],
    "Background1": ["Mode", "Color", "Blur", "Strict"],
}
LONGEST_ERROR = 1024
OPTIONS = ["width", "height", "format", "fps", "crop", "inset", "resolution", "colour"]


def tried(action, longest):
    """Calls; an error must have one of the two families of names, and be short."""
    try:
        action()
    except CallError as error:
        require(error.name.startswith(("org.portraitd.Error.", "org.freedesktop.DBus.Error.")), f"an error named {error.name}")
        require(error.size <= LONGEST_ERROR, f"an answer of {error.size} bytes: {error.text[:80]}")
        longest[0] = max(longest[0], error.size)
        return False
    return True


@check("H1", "odd values for every property, option and method")
def odd_values(context):
    daemon = context.daemon()
    bus, watcher = context.bus(carol), context.bus(dave)
    count, taken, longest = 0, 0, [0]
    for interface, names in PROPERTIES_OF.items():
        for name in names:
            for signature, value in ODD:
                taken += tried(lambda: bus.set(interface, name, signature, value), longest)
                count += 1
    # One of the odd values has made the camera private, as it may.
    bus.set("Camera1", "Private", "b", 0)
    ring = context.attach(watcher, "view")
    ring.wait(2)
    for option in OPTIONS:
        for signature, value in ODD:
            def attach_and_leave():
                bus.camera("Attach", "sa{sv}", "view", {option: Variant(signature, value)})
                for fd in bus.last.fds:
                    os.close(fd)
            taken += tried(attach_and_leave, longest)
            count += 1
    for interface, member in (("Camera1", "Attach"), ("Camera1", "Snapshot"), ("Framing1", "Reframe"), ("Background1", "SetImage"),
                              ("Background1", "ClearImage"), ("Manager1", "Reload"), ("Camera1", "Detach"), ("Nothing1", "Get")):
        for signature, value in ODD:
            path = ROOT if interface == "Manager1" else CAMERA
            taken += tried(lambda: bus.camera(member, signature, value, interface=interface, path=path), longest)
            count += 1
    for path in ("/", ROOT, CAMERA + "/x", "/org/portraitd/cameras", "/org/portraitd/cameras/_2e_2e_2f"):
        for interface in PROPERTIES_OF:
            taken += tried(lambda: bus.get_all(interface, path=path), longest)
            count += 1
    # A descriptor that is not there, more of them than announced, and numbers that point nowhere.
    with tempfile.TemporaryFile() as file:
        for fds in ([], [file.fileno()], [file.fileno()] * 16):
            for index in (0, 1, 15, 2**32 - 1):
                taken += tried(lambda: bus.camera("SetImage", "h", index, interface="Background1", fds=fds), longest)
                count += 1
    ring.drain()
    ring.follow()
    ring.wait(5)
    return f"{count} calls, {taken} accepted, longest error {longest[0]} bytes"


@check("H2", "damaged rings, read by the Python reader", polkit=False)
def damaged_rings(context):
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(REPOSITORY / "python/src"))
    import portraitd

    good = bytearray(4096 + 4 * 4096)
    struct.pack_into("<8s6I", good, 0, b"PORTRAIT", 1, 4096, 4, 4096, 1, 1)
    struct.pack_into("<4s3I", good, 32, b"GREY", 32, 32, 1)
    struct.pack_into("<12I", good, 48, 512, 0, 0, 0, 64, 0, 0, 0, 32, 0, 0, 0)
    struct.pack_into("<Q", good, 128, 1)
    struct.pack_into("<Q", good, 4096, 2)
    numbers, refused, opened = random.Random(13), 0, 0
    edges = [0, 1, 3, 5, 63, 64, 4095, 4096, 2**16, 2**31 - 1, 2**31, 2**32 - 1]
    cases = [(4 * word, value) for word in range(50) for value in edges]
    cases += [(4 * numbers.randrange(2048), numbers.getrandbits(32)) for _ in range(632)]
    for at, value in cases:
        memory = os.memfd_create("damaged", os.MFD_ALLOW_SEALING)
        os.write(memory, good)
        os.pwrite(memory, struct.pack("<I", value), at)
        fcntl.fcntl(memory, 1033, 2 | 4)  # F_ADD_SEALS: shrink, grow
        reader, writer = os.pipe()
        os.write(writer, b"\1")
        try:
            ring = portraitd.Ring(memory, reader)
        except portraitd.RingError:
            refused += 1
        else:
            frame = ring.read()
            whole = frame is None or len(frame.slot) == ring.layout.slot_bytes
            require(whole, f"a frame of the wrong size, word {at} = {value}")
            opened += 1
            ring.close()
        os.close(writer)
    return f"{len(cases)} rings, {refused} refused, {opened} opened"


def png(width, height, rows=b"", colour=2):
    """A PNG whose header promises a picture of this size."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, colour, 0, 0, 0))
            + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


@check("H3", "pictures that promise more than they hold, and files that never end")
def picture_bombs(context):
    daemon = context.daemon()
    bus = context.bus(carol)
    daemon.reset_peak()
    before, count = daemon.resident, 0
    zeros = zlib.compress(bytes(100_000_000), 9)
    bombs = [png(*size, zeros) for size in ((65535, 65535), (2**31 - 1, 2**31 - 1), (0, 0), (1, 2**31 - 1), (30000, 30000), (6000, 6000))]
    bombs += [png(4000, 3000, zlib.compress(b"\0")), b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", os.urandom(100_000),
              b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\3\1\x22\0\2\x11\1\3\x11\1" + os.urandom(5000), bytes(33 << 20)]
    for bomb in bombs:
        fd = os.memfd_create("bomb")
        os.write(fd, bomb)
        expect_error(None, lambda: bus.camera("SetImage", "h", 0, interface="Background1", fds=[fd]), f"a picture of {len(bomb)} bytes")
        os.close(fd)
        count += 1
    # A small picture with a hundred megabytes behind it is a picture; what follows it must not be unpacked.
    fd = os.memfd_create("surplus")
    os.write(fd, png(100, 100, zeros))
    tried(lambda: bus.camera("SetImage", "h", 0, interface="Background1", fds=[fd]), [0])
    os.close(fd)
    for path in ("/dev/zero", "/dev/null", "/proc/self/mem", "/"):
        fd = os.open(path, os.O_RDONLY)
        expect_error(None, lambda: bus.camera("SetImage", "h", 0, interface="Background1", fds=[fd]), path)
        os.close(fd)
        count += 1
    daemon.check()
    figures = f"{count} pictures, peak +{daemon.peak - before:.0f} MiB, afterwards {daemon.resident - before:+.1f} MiB"
    require(daemon.group.oom_kills == 0 and daemon.peak - before < 160, figures)
    return figures


@check("H4", "paths as names of models and cameras", polkit=False)
def paths(context):
    daemon = context.daemon()
    bus = context.bus(carol)
    names = ["../models/selfie-landscape", "/etc/passwd", "../../etc/passwd", "selfie-landscape\0", "./selfie-landscape", "..", ".",
             "selfie-landscape.toml", "%2e%2e/x", "con", "a" * 300]
    for name in names:
        try:
            bus.set("Segmentation1", "Model", "s", name)
        except CallError as error:
            require("root:" not in error.text, f"{name!r}: {error.text}")
        except Exception as error:  # a name with a zero byte: the bus itself ends the connection
            require("\0" in name, f"{name!r}: {error}")
            bus = context.bus(carol)
        else:
            require(False, f"the model {name!r} was accepted")
    for element in ("_2e_2e", "main_2f_2e_2e", "_2e_2e_2f_2e_2e_2fetc", "main_00"):
        expect_error(None, lambda: bus.get("Camera1", "Name", path=f"/org/portraitd/cameras/{element}"), element)
    require(bus.get("Segmentation1", "Model") == "selfie-landscape", "the model has changed")
    return f"{len(names) + 4} names"


@check("H5", "a storm of SIGHUP, with a client that reads meanwhile")
def hangups(context):
    daemon = context.daemon()
    bus = context.bus(dave)
    ring = context.attach(bus, "mask")
    ring.wait(5)
    before, sent = daemon.resident, 0
    end = time.monotonic() + (20 if context.long else 3)
    while time.monotonic() < end:
        for _ in range(50):
            os.kill(daemon.pid, signal.SIGHUP)
            sent += 1
        ring.wait(1)
        daemon.check()
    ring.wait(10)
    require(not ring.closed, "the ring was closed")
    threads = daemon.threads
    require(threads < 20, f"{threads} threads")
    return f"{sent} signals, {ring.frames} frames read, {ring.lost} lost, memory {daemon.resident - before:+.1f} MiB, {threads} threads"
