"""F: loops that make the service write logs, try devices or send signals without end."""

import ctypes
import os
import stat
import struct
import time

from checks import check
from wire import CAMERA, PROPERTIES, SERVICE, CallError, Variant
from world import Path, alice, bob, carol, dave, frank, require

IN_OPEN = 0x20


class Opens:
    """Counts how often a file is opened."""

    def __init__(self, path):
        libc = ctypes.CDLL(None)
        self.fd = libc.inotify_init1(os.O_NONBLOCK)
        libc.inotify_add_watch(self.fd, str(path).encode(), IN_OPEN)
        self.count = 0

    def read(self):
        """Returns the count so far. Two equal events in a row are one for inotify, so it is read often."""
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return self.count
        at = 0
        while at < len(data):
            self.count += 1
            at += 16 + struct.unpack_from("<I", data, at + 12)[0]
        return self.count

    def close(self):
        os.close(self.fd)


def loop(buses, seconds, send, also=lambda: None, most=32):
    """Keeps `most` calls in flight on each connection; returns (answers, {error: number})."""
    flying, answers, errors = {bus: set() for bus in buses}, 0, {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for bus in buses:
            while len(flying[bus]) < most:
                flying[bus].add(send(bus))
            bus.poll(0.001)
            for serial in flying[bus] & bus.replies.keys():
                flying[bus].discard(serial)
                answers += 1
                try:
                    bus.wait(serial)
                    for fd in bus.last.fds:
                        os.close(fd)
                except CallError as error:
                    errors[error.short] = errors.get(error.short, 0) + 1
        also()
    return answers, errors


def attach_call(bus):
    return bus.send(SERVICE, CAMERA, "org.portraitd.Camera1", "Attach", "sa{sv}", "mask", {})


@check("F1", "attach in a loop while the device is absent, and while it is no camera")
def absent_device(context):
    figures, tries, log = [], 0, 0
    seconds = 5 if context.long else 3
    # A name that does not exist, and a device that is no camera (that of /dev/null), whose opening can be counted.
    stand_in = Path("/dev/shm/portraitd-abuse")
    os.mknod(stand_in, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    context.at_end(lambda: stand_in.unlink(missing_ok=True))
    stand_in.chmod(0o666)
    for device in ("/dev/portraitd-abuse-absent", str(stand_in)):
        daemon = context.daemon(f'[[camera]]\nname = "main"\ndevice = "{device}"\n', source=None)
        opens = Opens(stand_in)
        context.at_end(opens.close)
        answers, errors = loop([context.bus(bob) for _ in range(4)], seconds, attach_call, opens.read, 1)
        text = daemon.log_text()
        lines = len(text.splitlines())
        figures.append(f"{device.rsplit('/', 1)[1]}: {answers} calls, {errors}, {opens.read()} times opened, {lines} log lines, {len(text)} bytes")
        tries, log = max(tries, opens.read()), max(log, lines)
        for bus in context.buses:
            bus.close()
        context.buses = []
        daemon.stop()
    text = "; ".join(figures)
    require(log <= 60 and tries <= 20, text)
    return text


@check("F2", "refusals without polkit")
def refusals(context):
    daemon = context.daemon()
    context.world.stop_polkit()
    try:
        seconds = 8 if context.long else 3
        answers, errors = loop([context.bus(alice), context.bus(bob)], seconds, attach_call)
        text = daemon.log_text()
        figures = f"{answers} refusals in {seconds} s, {errors}, log of {len(text)} bytes in {len(text.splitlines())} lines"
        require(set(errors) <= {"NotAuthorized", "Busy", "LimitsExceeded"}, figures)
        # Root needs no polkit.
        ring = context.attach(context.bus(None), "mask")
        ring.wait(2)
    finally:
        context.world.start_polkit()
    # And polkit that comes back is asked again.
    ring = context.attach(context.bus(bob), "mask")
    ring.wait(2)
    require(len(text) <= 16_384, figures)
    return figures


@check("F3", "refusals by polkit, and settings that are refused: the log stays small")
def refused_calls(context):
    daemon = context.daemon()
    seconds = 4 if context.long else 2
    answers, errors = loop([context.bus(alice), context.bus(alice)], seconds, attach_call)
    more, wrong = loop([context.bus(frank)], seconds, lambda bus: bus.send(
        SERVICE, CAMERA, PROPERTIES, "Set", "ssv", "org.portraitd.Framing1", "MaxZoom", Variant("d", 99.0)))
    text = daemon.log_text()
    figures = f"{answers} refusals by polkit, {more} by range, log of {len(text)} bytes"
    require(len(text) <= 16_384, figures)
    return figures


@check("F4", "settings changed without end, with a listener that never reads")
def setting_storm(context):
    daemon = context.daemon()
    deaf, reading = context.bus(alice), context.bus(dave)
    for bus in (deaf, reading):
        bus.match(f"type='signal',sender='{SERVICE}'")
    ring = context.attach(reading, "mask")
    ring.wait(3)
    daemon.reset_peak()
    before, number = daemon.resident, 0

    def change(bus):
        nonlocal number
        number += 1
        return bus.send(SERVICE, CAMERA, PROPERTIES, "Set", "ssv", "org.portraitd.Framing1", "MaxZoom", Variant("d", 1.0 + number % 100 / 100))

    def read():
        ring.drain()
        ring.follow()
        reading.poll()

    answers, errors = loop([context.bus(frank), context.bus(carol)], 10 if context.long else 3, change, read)
    daemon.check()
    figures = (f"{answers} changes, {errors}, {len(reading.signals)} signals to a listener; {ring.lost} frames lost; "
               f"peak +{daemon.peak - before:.0f} MiB, log of {len(daemon.log_text())} bytes")
    require(daemon.peak - before <= 32 and ring.lost == 0, figures)
    return figures


@check("F5", "properties that are toggled without end: what that may write to the log has a limit")
def toggling(context):
    daemon = context.daemon()
    buses = [context.bus(frank) for _ in range(2)]
    watcher = context.attach(context.bus(dave), "view")
    watcher.wait(5)
    before, toggled = len(daemon.log_text()), [0]

    def toggle(bus):
        toggled[0] += 1
        return bus.send(SERVICE, CAMERA, PROPERTIES, "Set", "ssv", "org.portraitd.Camera1", "Private", Variant("b", toggled[0] % 2))

    seconds = 20 if context.long else 5
    answers, errors = loop(buses, seconds, toggle, daemon.check, most=8)
    written = daemon.log_text()[before:]
    text = f"{answers} answers in {seconds} s, {len(written.splitlines())} lines and {len(written)} bytes of log, errors {errors}"
    # Five places write a line each time; each may write 256 and then two a second.
    require(answers > 500 and len(written.splitlines()) < 2000, text)
    return text
