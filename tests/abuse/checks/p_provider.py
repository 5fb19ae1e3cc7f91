"""P: programs that provide the frames of a camera, and die, stall, change and lie."""

import ctypes
import errno
import fcntl
import mmap
import os
import random
import signal
import socket
import struct
import time

from checks import check, expect_error
from checks.e_permissions import RULE
from wire import SERVICE, CallError, Variant
from world import bob, dave, paul, require, until

F_ADD_SEALS, SHRINK, GROW, FUTURE_WRITE = 1033, 2, 4, 16
SEALS = SHRINK | GROW | FUTURE_WRITE
HEADER, SLOT_HEADER, SLOTS = 4096, 512, 4
# The second camera has nothing to do with the first, and must notice nothing.
CONFIG = '[[camera]]\nname = "main"\ndevice = "provider"\nidle_close_s = 1.0\n[[camera]]\nname = "other"\ndevice = "scene:walk"\n'
OTHER = "/org/portraitd/cameras/other"


def padded(number):
    return -(-number // 64) * 64


def header(width=320, height=180, **fields):
    """The header of a ring of NV12 pictures, and the bytes of the ring. `fields` are offsets `at_N` and values of lies."""
    stride = padded(width)
    planes = ((SLOT_HEADER, stride, height), (SLOT_HEADER + stride * height, stride, (height + 1) // 2))
    slot = planes[1][0] + planes[1][1] * planes[1][2]
    data = bytearray(HEADER)
    data[:8] = b"PORTRAIT"
    struct.pack_into("<6I4s3I", data, 8, 1, HEADER, SLOTS, slot, 1, 4, b"NV12", width, height, 2)
    for index, plane in enumerate(planes):
        for at, value in zip((48, 64, 80), plane):
            struct.pack_into("<I", data, at + 4 * index, value)
    struct.pack_into("<2I", data, 96, 1, 1)
    for at, value in fields.items():
        struct.pack_into("<I", data, int(at[3:]), value)
    return bytes(data), HEADER + SLOTS * slot


def memory(head, size, seals=SEALS, allocate=True, flags=0):
    """A memfd with this header, and its mapping."""
    fd = os.memfd_create("provider", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | flags)
    os.ftruncate(fd, size)
    if allocate:
        os.posix_fallocate(fd, 0, size)
    mapped = mmap.mmap(fd, size, mmap.MAP_SHARED)
    mapped[: len(head)] = head[:size]
    if seals:
        fcntl.fcntl(fd, F_ADD_SEALS, seals)
    return fd, mapped


def offer(bus, fd):
    """Offers memory; returns the eventfd and the socket."""
    event, demand = bus.camera("Offer", "ha{sv}", 0, {"fps": Variant("u", 30)}, interface="Provider1", fds=[fd])
    return bus.last.fds[event], bus.last.fds[demand]


class Provider:
    """An offer with memory of its own."""

    def __init__(self, bus, width=320, height=180):
        head, size = header(width, height)
        self.slot = (size - HEADER) // SLOTS
        fd, self.map = memory(head, size)
        try:
            self.event, self.demand = offer(bus, fd)
        finally:
            os.close(fd)
        self.index = 0

    def told(self, timeout=10):
        """The last byte that the service has sent; None at the end."""
        peer = socket.socket(fileno=os.dup(self.demand))
        with peer:
            peer.settimeout(timeout)
            data = peer.recv(64)
        return data[-1] if data else None

    def publish(self):
        self.index += 1
        start = HEADER + (self.index - 1) % SLOTS * self.slot
        struct.pack_into("<Q", self.map, start, 2 * self.index - 1)
        struct.pack_into("<3Q", self.map, start + 8, self.index, time.monotonic_ns(), time.monotonic_ns())
        at = start + SLOT_HEADER + self.index * 64 % (self.slot - SLOT_HEADER - 64)
        self.map[at : at + 64] = os.urandom(64)
        struct.pack_into("<Q", self.map, start, 2 * self.index)
        struct.pack_into("<Q", self.map, 128, self.index)
        self.announce()

    def announce(self):
        os.write(self.event, struct.pack("=Q", 1))

    def close(self):
        os.close(self.event)
        os.close(self.demand)
        self.map.close()


def child_provides(context):
    """Forks a provider that publishes until it is killed."""

    def body():
        from wire import Bus
        # An offer ends with the connection that made it, so that must not be collected.
        bus = Bus(paul)
        provider = Provider(bus)
        while True:
            provider.publish()
            time.sleep(0.02)

    return context.fork(body)


def look(context, user=bob):
    bus = context.bus(user)
    end = time.monotonic() + 15
    while True:
        try:
            return context.attach(bus, "view")
        except CallError as error:
            # Nobody provides yet, or not any more.
            if time.monotonic() > end or error.short not in ("CameraAbsent", "Busy", "Failed"):
                raise
            time.sleep(0.05)


class Neighbour:
    """Somebody who watches the other camera all the time. `rest` says how regularly its frames came."""

    def __init__(self, context):
        from ring import Ring
        self.bus = context.bus(dave)
        memory_at, event_at, _ = self.bus.call(SERVICE, OTHER, "org.portraitd.Camera1", "Attach", "sa{sv}", "view", {})
        self.ring = Ring(self.bus.last.fds[memory_at], self.bus.last.fds[event_at])
        context.rings.append(self.ring)
        self.ring.wait(10)
        self.begun, self.before = time.monotonic(), self.ring.latest

    def rate(self):
        now = time.monotonic()
        rate = (self.ring.latest - self.before) / (now - self.begun)
        require(not self.ring.closed, "the other camera's ring was closed")
        self.begun, self.before = now, self.ring.latest
        return rate


def settled(daemon, before, what):
    """Descriptors and threads are what they were."""
    def has():
        return daemon.descriptors, daemon.threads

    try:
        until(lambda: all(now <= then for now, then in zip(has(), before)), what, 15)
    except TimeoutError:
        require(False, f"{what}: descriptors and threads are {has()} instead of {before}")


@check("P1", "providers are killed, stopped and replaced, 100 formats, 1,000 offers: everything comes back, another camera notices nothing")
def deaths(context):
    daemon = context.daemon(CONFIG, source=None)
    neighbour = Neighbour(context)
    state = lambda: neighbour.bus.get("Camera1", "State")
    # Once, so that what stays for good is there.
    warm = Provider(context.bus(paul))
    warm_ring = look(context)
    require(warm.told() == 1, "the provider was not told that somebody looks")
    warm.publish()
    until(lambda: state() == "running", "the camera runs")
    warm.close()
    warm_ring.leave()
    until(lambda: state() in ("absent", "idle"), "the camera is absent")
    until(lambda: state() == "idle", "the camera is idle")
    before, resident, calm = (daemon.descriptors, daemon.threads), daemon.resident, neighbour.rate()

    for _ in range(5):
        pid = child_provides(context)
        ring = look(context)
        ring.wait(3)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        until(lambda: state() != "running", "the camera does not run without its provider", 10)
        ring.leave()

    pid = child_provides(context)
    ring = look(context)
    ring.wait(3)
    os.kill(pid, signal.SIGSTOP)
    until(lambda: state() == "stalled", "a provider that stands still is noticed")
    if context.long:
        time.sleep(10)
    os.kill(pid, signal.SIGCONT)
    until(lambda: state() == "running", "it goes on")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    ring.leave()

    bus = context.bus(paul)
    provider = Provider(bus)
    ring = look(context)
    generation = neighbour.bus.get("Camera1", "Generation")
    for step in range(100):
        new = Provider(bus, 320 + 2 * (step % 50), 180)
        provider.close()
        provider = new
        provider.publish()
    def goes_on():
        provider.publish()
        return state() == "running"
    until(goes_on, "the last format runs")
    require(neighbour.bus.get("Camera1", "Generation") > generation, "another format is another generation")
    require(ring.closed, "a ring of an old format stays")
    ring.leave()
    expect_error(("Busy",), lambda: offer(context.bus(paul), memory(*header())[0]), "a second provider")
    provider.close()

    worst = 0
    for _ in range(1000):
        other = Provider(bus)
        worst = max(worst, daemon.descriptors)
        other.close()
    bus.close()
    until(lambda: state() == "idle", "the camera is idle")
    settled(daemon, before, "after all of it")
    stays = daemon.back_within(resident, 8) - resident
    return (f"{before[0]} descriptors, {worst} at most; {stays:+.1f} MiB; other camera {calm:.1f} frames/s before and {neighbour.rate():.1f} meanwhile")


@check("P2", "memory of a provider that could change under the service, or is none: it is refused")
def wrong_memory(context):
    daemon = context.daemon(CONFIG, source=None)
    bus = context.bus(paul)
    head, size = header()
    refused = {
        "no seals": memory(head, size, 0), "may shrink": memory(head, size, GROW | FUTURE_WRITE), "may grow": memory(head, size, SHRINK | FUTURE_WRITE),
        "may have holes": memory(head, size, SHRINK | GROW), "has holes": memory(head, size, SEALS, allocate=False),
        "65 MiB": memory(head, 65 << 20, SEALS, allocate=False), "too short": memory(head, size - 4096), "no ring": memory(b"", size),
        "a view": memory(header(at_28=2)[0], size), "64 slots": memory(header(at_16=64)[0], size), "0 slots": memory(header(at_16=0)[0], size),
        "a plane outside": memory(header(at_52=1 << 31)[0], size), "a huge stride": memory(header(at_64=0xFFFFFFC0)[0], size),
        "16384 wide": memory(header(at_36=16384)[0], size), "no width": memory(header(at_36=0)[0], size), "4 planes": memory(header(at_44=4)[0], size),
    }
    numbers = random.Random(7)
    for number in range(400 if context.long else 60):
        damaged = bytearray(head)
        for _ in range(numbers.choice([1, 2, 8])):
            struct.pack_into("<I", damaged, numbers.randrange(0, 104, 4), numbers.choice([0, 1, 64, 4096, 1 << 16, 0xFFFFFFC0, numbers.getrandbits(32)]))
        if damaged[:104] != head[:104]:
            refused[f"damaged {number}"] = memory(bytes(damaged), size)
    try:
        huge = os.memfd_create("provider", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | os.MFD_HUGETLB)
        os.ftruncate(huge, 2 << 20)
        fcntl.fcntl(huge, F_ADD_SEALS, SEALS)
        refused["huge pages"] = (huge, None)
    except OSError:
        pass
    pair = socket.socketpair()
    refused |= {"a socket": (os.dup(pair[0].fileno()), None), "a pipe": (os.pipe()[0], None), "a device": (os.open("/dev/zero", os.O_RDWR), None)}
    before, accepted = daemon.descriptors, []
    for what, (fd, mapped) in refused.items():
        # A damaged field may still be a good one, such as another generation.
        if what.startswith("damaged"):
            try:
                for got in offer(bus, fd):
                    os.close(got)
                accepted.append(what)
            except CallError as error:
                require(error.short in ("InvalidArgument", "Busy"), f"{what}: {error}")
        else:
            expect_error(("InvalidArgument",), lambda: offer(bus, fd), what)
        os.close(fd)
        if mapped:
            mapped.close()
    fd, mapped = memory(head, size)
    for what, change in {"shrinking": lambda: os.ftruncate(fd, 4096), "growing": lambda: os.ftruncate(fd, 2 * size),
                         "writing": lambda: os.pwrite(fd, b"x", 0)}.items():
        try:
            change()
            require(False, f"{what} a sealed file works")
        except OSError as error:
            require(error.errno == errno.EPERM, f"{what}: {error}")
    event, demand = offer(bus, fd)
    try:
        # A hole through the mapping that was there before the seal.
        mapped.madvise(mmap.MADV_REMOVE, 0, size - size % 4096)
        require(False, "a hole in a sealed file works")
    except OSError:
        pass
    for number in (event, demand, fd):
        os.close(number)
    until(lambda: daemon.descriptors <= before, f"descriptors come back: {daemon.descriptors} instead of {before}", 10)
    return f"{len(refused)} memories, {len(accepted)} of the damaged ones are still rings"


@check("P3", "a provider that lies about its frames and announces them without end")
def lies(context):
    daemon = context.daemon(CONFIG, source=None)
    neighbour = Neighbour(context)
    bus = context.bus(paul)
    provider = Provider(bus)
    ring = look(context)
    require(provider.told() == 1, "the provider was not told that somebody looks")
    provider.publish()
    until(lambda: neighbour.bus.get("Camera1", "State") == "running", "the camera runs")
    calm = neighbour.rate()
    numbers, end, rounds = random.Random(5), time.monotonic() + (20 if context.long else 4), 0
    cpu = lambda: sum(map(int, open(f"/proc/{daemon.pid}/stat").read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")
    begun, used = time.monotonic(), cpu()
    while time.monotonic() < end:
        rounds += 1
        for _ in range(50):
            start = HEADER + numbers.randrange(SLOTS) * provider.slot
            what = numbers.randrange(5)
            if what == 0:
                struct.pack_into("<Q", provider.map, 128, numbers.choice([0, 1, 1 << 40, 2**64 - 1, numbers.getrandbits(64)]))
            elif what == 1:
                struct.pack_into("<Q", provider.map, start, numbers.getrandbits(64))
            elif what == 2:
                # An honest index and lock, with everything else made up.
                index = numbers.getrandbits(62) + 1
                provider.map[start + 8 : start + SLOT_HEADER] = numbers.randbytes(SLOT_HEADER - 8)
                struct.pack_into("<Q", provider.map, HEADER + (index - 1) % SLOTS * provider.slot, 2 * index)
                struct.pack_into("<Q", provider.map, 128, index)
            elif what == 3:
                at = numbers.randrange(0, 104)
                provider.map[at : at + 4] = numbers.randbytes(4)
            provider.announce()
    spent = (cpu() - used) / (time.monotonic() - begun)
    meanwhile = neighbour.rate()
    daemon.check()
    # What floods is looked at a thousand times a second, which is a part of one core.
    require(meanwhile > calm / 2, f"the other camera has {meanwhile:.1f} frames/s instead of {calm:.1f}")
    provider.close()
    honest = Provider(bus)
    def goes_on():
        honest.publish()
        return neighbour.bus.get("Camera1", "State") == "running"
    until(goes_on, "an honest provider runs after it")
    honest.close()
    ring.leave()
    return f"{rounds * 50} lies; the service used {spent:.2f} cores; other camera {calm:.1f} frames/s before and {meanwhile:.1f} meanwhile"


@check("P4", "polkit takes the permission to provide back, and the client leaves the bus and keeps its descriptors")
def withdrawn(context):
    daemon = context.daemon(CONFIG, source=None)
    bus = context.bus(paul)
    provider = Provider(bus)
    ring = look(context)
    require(provider.told() == 1, "the provider was not told that somebody looks")
    context.at_end(lambda: RULE.unlink(missing_ok=True))
    RULE.write_text('polkit.addRule(function (action, subject) { if (action.id == "org.portraitd.provide" && subject.user == "paul") '
                    "return polkit.Result.NO; });\n")
    said = []
    until(lambda: said.append(provider.told()) or said[-1] is None, "the offer ends with its permission", 15)
    expect_error(("NotAuthorized",), lambda: Provider(bus), "an offer without the permission")
    RULE.unlink()
    again = []

    def allowed():
        try:
            again.append(Provider(bus))
        except CallError as error:
            require(error.short == "NotAuthorized", str(error))
        return bool(again)

    until(allowed, "polkit allows it again", 15)
    require(again[0].told() == 1, "the provider was not told that somebody looks")
    bus.close()
    until(lambda: again[0].told() is None, "the offer ends when its client has left the bus", 15)
    ring.leave()
    daemon.check()
    return "the offer ends with the permission, and with the client's connection"


@check("P5", "memory of a provider that is all holes, with as many pages beyond its end")
def pages_beyond_the_end(context):
    context.daemon(CONFIG, source=None)
    bus = context.bus(paul)
    head, size = header(320, 180)
    fd = os.memfd_create("holes", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    end = -(-size // 4096) * 4096
    keep_size = 1
    if ctypes.CDLL(None, use_errno=True).fallocate(fd, keep_size, ctypes.c_long(end), ctypes.c_long(end)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")
    mapped = mmap.mmap(fd, size, mmap.MAP_SHARED)
    mapped[: len(head)] = head
    fcntl.fcntl(fd, F_ADD_SEALS, SEALS)
    require(os.fstat(fd).st_blocks * 512 >= size, "the file does not look whole")
    expect_error(["InvalidArgument"], lambda: offer(bus, fd), "an offer of holes")
    honest, also_mapped = memory(head, size)
    reader = os.open(f"/proc/self/fd/{honest}", os.O_RDONLY)
    expect_error(["InvalidArgument"], lambda: offer(bus, reader), "memory that cannot be checked")
    offer(bus, honest)
    for fd in (fd, honest, reader):
        os.close(fd)
    mapped.close()
    also_mapped.close()
