"""B: messages of any local user that make the service allocate or work before anybody has been asked."""

import itertools
import struct
import time

from checks import check, expect_error
from wire import BUS, CAMERA, PROPERTIES, RETURN, SERVICE, SIGNAL, Bus, CallError, Gone, Variant, marshal
from world import alice, bob, carol, crowd, dave, require, unit_bytes, until

# What one message may cost in memory, in MiB, while it is refused and afterwards.
WHILE, AFTER = 16, 4


class Watch:
    """The longest time that another user waits for an answer, and the memory, during an attack."""

    def __init__(self, context, daemon):
        self.daemon, self.bus = daemon, context.bus(dave)
        for _ in range(20):
            self.ask()
        if self.bus.get("Camera1", "State") == "running":
            # Its memory is the service's own, and is there from the first person on.
            until(lambda: "detector of heads in use" in daemon.log_text(), "the detector of heads is in use")
        daemon.reset_peak()
        self.before, self.longest = daemon.resident, 0.0

    def ask(self):
        begun = time.monotonic()
        self.bus.call(SERVICE, CAMERA, PROPERTIES, "Get", "ss", "org.portraitd.Camera1", "State")
        return time.monotonic() - begun

    def tick(self):
        self.daemon.check()
        self.longest = max(self.longest, self.ask())

    def verdict(self, allowed=WHILE, kept=AFTER):
        self.daemon.check()
        peak = self.daemon.peak - self.before
        after = self.daemon.back_within(self.before, kept) - self.before
        figures = (f"{self.before:.0f} MiB before, peak +{peak:.0f} MiB, afterwards {after:+.1f} MiB, "
                   f"others waited {1000 * self.longest:.0f} ms at most")
        require(peak <= allowed, f"memory rose by {peak:.0f} MiB: {figures}")
        return figures


def many_options(count):
    """A dictionary of `count` options with keys of four letters and a byte as the value: 16 bytes each."""
    letters = [bytes([code]) for code in range(48, 48 + 40)]
    before, after = struct.pack("<I", 4), b"\0" + b"\1y\0" + b"\0" + bytes(3)
    entries = (before + b"".join(key) + after for key in itertools.product(letters, repeat=4))
    options = b"".join(itertools.islice(entries, count))
    return marshal("s", "mask"), options[:-3]


def big_attach(bus, count):
    head, options = many_options(count)
    body = head + bytes(-len(head) % 4)
    at = len(body) + 4
    body += struct.pack("<I", len(options)) + bytes(-at % 8) + options
    return bus.send(SERVICE, CAMERA, "org.portraitd.Camera1", "Attach", "sa{sv}", body=body), len(body)


def send_big(watch, bus, action):
    """Sends a message and watches what it does to another user until it is answered."""
    serial = action()
    for _ in range(2000):
        bus.poll(0.005)
        watch.tick()
        if serial in bus.replies:
            break
    bus.wait(serial)


@check("B1", "Attach with 1.97 million options, by a user without a group, four times")
def attach_with_options(context):
    daemon = context.daemon()
    watch = Watch(context, daemon)
    size = 0
    for _ in range(4):
        bus = context.bus(alice)

        def send():
            nonlocal size
            serial, size = big_attach(bus, 1_970_000)
            return serial

        error = expect_error(None, lambda: send_big(watch, bus, send), "1.97 million options")
        require(error.size <= 1024, f"the answer has {error.size} bytes")
    return f"{size / 1e6:.0f} MB a message; " + watch.verdict()


@check("B2", "245 connections that ask for all properties and never read the answers")
def connections_of_get_all(context):
    daemon = context.daemon()
    watch = Watch(context, daemon)
    connections = [context.bus(alice) for _ in range(245)]
    for bus in connections:
        bus.socket.setblocking(False)
    request = b"".join(connections[0].encode(SERVICE, "/org/portraitd", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
                       for _ in range(64))
    end, sent = time.monotonic() + (20 if context.long else 6), 0
    while time.monotonic() < end:
        for bus in connections:
            try:
                sent += bus.socket.send(request)
            except (BlockingIOError, ConnectionError):
                pass
        watch.tick()
    for bus in connections:
        bus.close()
    return f"{sent / 1e6:.1f} MB of calls; " + watch.verdict(64, 64)


@check("B3", "Zones with 983,040 rectangles, by a user who may set")
def zones(context):
    daemon = context.daemon()
    watch = Watch(context, daemon)
    bus = context.bus(carol)
    rectangles = marshal("(dddd)", (0.1, 0.1, 0.2, 0.2)) * 983_040
    expect_error(None, lambda: send_big(watch, bus, lambda: bus.send(
        SERVICE, CAMERA, PROPERTIES, "Set", "ssv", "org.portraitd.Framing1", "Zones", Variant("a(dddd)", rectangles))), "983,040 zones")
    # Within the limit of a message, and still too many.
    expect_error(None, lambda: bus.set("Framing1", "Zones", "a(dddd)", rectangles[: 32 * 1900]), "1,900 zones")
    require(bus.get("Framing1", "Zones") == [], "zones were set")
    return watch.verdict()


@check("B4", "options, words and colours of control characters")
def control_characters(context):
    daemon = context.daemon()
    watch = Watch(context, daemon)
    longest = 0
    for size in (100, 60_000, 30_000_000):
        text = b"\x1b\x01" * (size // 2)
        bus, setter = context.bus(bob), context.bus(carol)
        for user, action in (
            (bus, lambda: bus.send(SERVICE, CAMERA, "org.portraitd.Camera1", "Attach", "sa{sv}", "mask", {"format": Variant("s", text)})),
            (bus, lambda: bus.send(SERVICE, CAMERA, "org.portraitd.Camera1", "Attach", "sa{sv}", "mask", {text: Variant("u", 1)})),
            (bus, lambda: bus.send(SERVICE, CAMERA, "org.portraitd.Camera1", "Attach", "sa{sv}", text, {})),
            (bus, lambda: bus.send(SERVICE, CAMERA, "org.portraitd.Camera1", "Snapshot", "s", text)),
            (setter, lambda: setter.send(SERVICE, CAMERA, PROPERTIES, "Set", "ssv", "org.portraitd.Segmentation1", "Model", Variant("s", text))),
            (setter, lambda: setter.send(SERVICE, CAMERA, PROPERTIES, "Set", "ssv", "org.portraitd.Background1", "Color", Variant("s", text))),
            (setter, lambda: setter.send(SERVICE, CAMERA, PROPERTIES, "Set", "ssv", "org.portraitd.Framing1", "Mode", Variant("s", text))),
            (bus, lambda: bus.send(SERVICE, CAMERA, PROPERTIES, "Get", "ss", text, "State")),
        ):
            error = expect_error(None, lambda: send_big(watch, user, action), f"{size} control characters")
            longest = max(longest, error.size)
            require("\x1b" not in error.text and "\x01" not in error.text, f"echoed as they are: {error.text[:80]!r}")
    require(longest <= 1024, f"an answer has {longest} bytes")
    require("\x1b" not in daemon.log_text(), "control characters reach the log")
    return f"longest answer {longest} bytes; " + watch.verdict()


@check("B5", "three attempts to kill in a minute: no safe mode afterwards")
def safe_mode(context):
    daemon = context.daemon()
    for _ in range(3):
        bus = context.bus(alice)
        serial, _ = big_attach(bus, 1_970_000)
        expect_error(None, lambda: bus.wait(serial), "1.97 million options")
        bus.close()
        # What the service manager would do.
        if daemon.process.poll() is not None:
            context.world.wait_name("org.portraitd", False)
            daemon.start()
    starts = daemon.log_text().count("safe mode")
    bus = context.bus(dave)
    ring = context.attach(bus, "mask")
    ring.wait(3)
    require(starts == 0 and bus.get("Segmentation1", "Healthy"), "the service runs without its net")
    return f"masks come, {daemon.group.oom_kills} kills"


@check("B6", "unicast signals, forged signals of the bus, polkit and logind, replies nobody asked for")
def signals(context):
    daemon = context.daemon()
    bus = context.bus(dave)
    ring = context.attach(bus, "mask")
    ring.wait(2)
    watch = Watch(context, daemon)
    attacker = context.bus(alice)
    nowhere = 0
    forged = [
        (BUS, "/org/freedesktop/DBus", "NameOwnerChanged", "sss", (bus.name, bus.name, "")),
        (BUS, "/org/freedesktop/DBus", "NameLost", "s", (SERVICE,)),
        ("org.freedesktop.PolicyKit1.Authority", "/org/freedesktop/PolicyKit1/Authority", "Changed", "", ()),
        ("org.freedesktop.login1.Manager", "/org/freedesktop/login1", "SessionRemoved", "so", ("77", "/org/freedesktop/login1/session/_377")),
        (PROPERTIES, "/org/freedesktop/login1/seat/seat0", "PropertiesChanged", "sa{sv}as", ("org.freedesktop.login1.Seat", {}, ["ActiveSession"])),
        ("org.example.Unknown", "/", "Anything", "", ()),
    ]
    for round in range(2000 if context.long else 500):
        for interface, path, member, signature, values in forged:
            attacker.send(daemon.name, path, interface, member, signature, *values, kind=SIGNAL)
        # Replies that were not asked for are dropped by the bus; that is tried too.
        attacker.send(daemon.name, "/", "x.y", "Z", "s", "reply", kind=RETURN, reply_to=round + 1)
        if round % 50 == 0:
            watch.tick()
            ring.drain()
            ring.follow()
    for _ in range(3):
        big = context.bus(alice)
        big.send(daemon.name, "/", "x.y", "Z", "ay", bytes(30_000_000), kind=SIGNAL)
        watch.tick()
        big.close()
    nowhere = ring.frames
    ring.wait(5)
    require(not ring.closed and ring.frames > nowhere, "a forged signal ended an attachment")
    require(context.world.owner(SERVICE) == daemon.name, "the name was given up")
    return watch.verdict()
