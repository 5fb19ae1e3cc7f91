"""X: attacks that nobody had reported."""

import os
import select
import signal
import socket
import struct
import time
from pathlib import Path

from checks import check, expect_error
from checks.b_messages import Watch
from checks.c_quotas import served
from checks.f_flooding import attach_call, loop
from checks.h_held import png
from ring import attach, raw_attach
from wire import BUS, CALL, CAMERA, ERROR, INTERACTIVE, NO_REPLY, PROPERTIES, SERVICE, SIGNAL, Bus, CallError, Gone, Variant, marshal, message
from world import Failed, alice, bob, carol, crowd, dave, eve, frank, paul, require, until


@check("X1", "floods of descriptors: 16 in every message, calls and signals that take none")
def descriptors(context):
    daemon = context.daemon()
    watch = Watch(context, daemon)
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(16)]
    before, most = daemon.descriptors, 0
    buses = [context.bus(user) for user in [alice, bob, crowd[0], crowd[1]] * 4]
    for bus in buses:
        bus.socket.setblocking(False)
    end, sent = time.monotonic() + (10 if context.long else 3), 0
    while time.monotonic() < end:
        for number, bus in enumerate(buses):
            body = marshal("ss", "org.portraitd.Camera1", "State")
            data = [bus.encode(SERVICE, CAMERA, PROPERTIES, "Get", "ss", body, 16),
                    bus.encode(daemon.name, CAMERA, "x.y", "Z", "ss", body, 16, kind=SIGNAL)][number % 2]
            try:
                # A message of this size goes out whole or not at all.
                socket.send_fds(bus.socket, [data], files)
                sent += 1
            except BlockingIOError:
                pass
            except ConnectionError:
                pass
            if number % 2 == 0:
                try:
                    bus.poll()
                    bus.replies.clear()
                except (Gone, BlockingIOError):
                    pass
        most = max(most, daemon.descriptors)
        watch.tick()
    for fd in files:
        os.close(fd)
    for bus in buses:
        bus.close()
    until(lambda: daemon.descriptors <= before + 2, "the descriptors are closed", 10)
    verdict = watch.verdict()
    # Afterwards: a camera that is open needs memory too.
    served(context)
    return f"{16 * sent} descriptors sent, {most} open at most; {verdict}"


@check("X2", "700 connections that attach once, leave and stay on the bus")
def watched_names(context):
    daemon = context.daemon()
    before, done = daemon.descriptors, 0
    users = [bob, carol, crowd[5], crowd[6]]
    for number in range(700):
        bus = context.bus(users[number % 4])
        try:
            memory, event = raw_attach(bus, "mask")
        except CallError as error:
            require(error.short == "Busy", f"connection {number}: {error}")
            continue
        os.close(memory)
        os.close(event)
        done += 1
    served(context)
    return f"{done} attached and left; {daemon.descriptors - before} more descriptors, {daemon.resident:.0f} MiB"


@check("X3", "refused calls in such numbers that the service's own questions to polkit could be refused")
def questions(context):
    context.daemon()
    attackers = [context.bus(alice) for _ in range(6)]
    for bus in attackers:
        bus.socket.setblocking(False)
    good, wrong, longest = context.bus(dave), [], 0.0
    body = marshal("sa{sv}", "mask", {})
    for number in range(30):
        for bus in attackers:
            try:
                bus.socket.send(b"".join(bus.encode(SERVICE, CAMERA, "org.portraitd.Camera1", "Attach", "sa{sv}", body) for _ in range(100)))
                bus.poll()
                bus.replies.clear()
            except (BlockingIOError, ConnectionError, Gone):
                pass
        begun = time.monotonic()
        try:
            for fd in raw_attach(good, "mask"):
                os.close(fd)
        except CallError as error:
            wrong.append(str(error))
        longest = max(longest, time.monotonic() - begun)
    require(not wrong, f"{len(wrong)} of 30 attaches of a permitted user failed: {wrong[:1]}")
    return f"30 attaches of a permitted user, the slowest {1000 * longest:.0f} ms"


@check("X4", "polkit hangs: the service goes on, and catches up when polkit does")
def hung_polkit(context):
    daemon = context.daemon()
    ring = context.attach(context.bus(dave), "mask")
    ring.wait(3)
    watch = Watch(context, daemon)
    waiting = context.bus(crowd[1])
    os.kill(context.world.polkit.pid, signal.SIGSTOP)
    try:
        serial = waiting.send(SERVICE, CAMERA, "org.portraitd.Camera1", "Attach", "sa{sv}", "mask", {})
        attackers = [context.bus(user) for user in (alice, alice, bob, crowd[0])]
        answers, errors = loop(attackers, 3, attach_call, watch.tick)
        # polkit itself answers nobody for fifteen seconds while a rule hangs: callers wait longer than that.
        end = time.monotonic() + 3
        while time.monotonic() < end:
            waiting.poll(max(0.0, end - time.monotonic()))
            require(serial not in waiting.replies, "a permitted user's attach was answered without polkit")
        ring.drain()
        ring.follow()
        ring.wait(10)
        for bus in attackers:
            bus.close()
    finally:
        os.kill(context.world.polkit.pid, signal.SIGCONT)
    waiting.wait(serial)
    for fd in waiting.last.fds:
        os.close(fd)
    served(context, crowd[1])
    return f"{answers} answers meanwhile {errors or ''}; {watch.verdict(32, 8)}"


@check("X5", "snapshots and attaches that ask for no answer, or whose caller is gone before it comes")
def nobody_waits(context):
    daemon = context.daemon()
    watcher = context.bus(dave)
    for number in range(150):
        bus = context.bus([bob, carol][number % 2])
        flags = NO_REPLY if number % 3 else 0
        for member, signature, values in (("Attach", "sa{sv}", ("view", {})), ("Attach", "sa{sv}", ("mask", {})), ("Snapshot", "s", ("mask",))):
            bus.send(SERVICE, CAMERA, "org.portraitd.Camera1", member, signature, *values, flags=flags)
        if number % 2:
            bus.close()
    for bus in context.buses[1:]:
        bus.close()
    context.buses = context.buses[:1]

    def consumers():
        # While others have half of all places, the first call of a new connection is refused.
        try:
            return watcher.get("Camera1", "Consumers")
        except CallError as error:
            require(error.short == "LimitsExceeded", str(error))
            return None

    until(lambda: consumers() == 0, "attachments of clients that are gone end", 20)
    begun = time.monotonic()
    until(lambda: watcher.get("Camera1", "State") == "idle", "the camera is closed", 30)
    served(context)
    return f"idle after {time.monotonic() - begun:.1f} s; {daemon.threads} threads, {daemon.descriptors} descriptors, {daemon.resident:.0f} MiB"


@check("X6", "object paths, members and header fields of any length, and nested containers")
def long_headers(context):
    daemon = context.daemon()
    watch = Watch(context, daemon)
    longest, ended = 0, 0
    for size in (1_000, 30_000, 30_000_000):
        path = "/a" * (size // 2)
        for interface, member in ((PROPERTIES, "Get"), ("org.freedesktop.DBus.Introspectable", "Introspect"), ("org.portraitd.Camera1", "Attach")):
            bus = context.bus(bob)
            signature, values = {"Get": ("ss", ("org.portraitd.Camera1", "State")), "Introspect": ("", ()), "Attach": ("sa{sv}", ("mask", {}))}[member]
            try:
                expect_error(None, lambda: bus.call(SERVICE, path, interface, member, signature, *values), "a path that does not exist")
            except Gone:
                ended += 1
                continue
            finally:
                watch.tick()
            bus.close()
    bus = context.bus(bob)
    for size in (1_000, 30_000, 30_000_000):
        try:
            serial = bus.send(SERVICE, "/a" * (size // 2), PROPERTIES, "Get", "ss", "org.portraitd.Camera1", "State")
            error = expect_error(None, lambda: bus.wait(serial), "a path that does not exist")
            longest = max(longest, error.size)
        except Gone:
            ended += 1
            bus = context.bus(bob)
    nested = Variant("s", "deep")
    for _ in range(60):
        nested = Variant("v", nested)
    for signature, value in (("v", nested), ("a" * 30 + "y", []), ("aay", [b""] * 15_000), ("(" * 30 + "y" + ")" * 30, None)):
        if value is None:
            value = 1
            for _ in range(30):
                value = (value,)
        for user in (bob, carol):
            bus = context.bus(user)
            try:
                bus.camera("Attach", "sa{sv}", "mask", {"width": Variant(signature, value)})
            except (CallError, Gone) as error:
                longest = max(longest, getattr(error, "size", 0))
    # A field that no version of the protocol has, of 30 MB.
    bus = context.bus(alice)
    fields = [(1, "o", CAMERA), (2, "s", PROPERTIES), (3, "s", "Get"), (6, "s", SERVICE), (8, "g", "ss"), (200, "s", "x" * 30_000_000)]
    try:
        bus.socket.sendall(message(CALL, bus.next_serial(), fields, marshal("ss", "org.portraitd.Camera1", "State")))
        bus.wait(bus.serial)
    except (CallError, Gone, ConnectionError):
        ended += 1
    require(longest <= 1024, f"an answer has {longest} bytes")
    return f"longest answer {longest} bytes, {ended} connections ended by the bus; {watch.verdict()}"


@check("X7", "images of 12 megapixels for four cameras at once, beside large composites")
def images_at_once(context):
    import zlib
    names = [f"c{number}" for number in range(4)]
    config = "".join(f'[[camera]]\nname = "{name}"\ndevice = "scene:walk"\n' for name in names)
    daemon = context.daemon(config, source=None)
    paths = [f"/org/portraitd/cameras/{name}" for name in names]
    fd = os.memfd_create("large")
    rows = b"".join(b"\0" + os.urandom(3) * 4000 for _ in range(16)) * 187
    os.write(fd, png(4000, 2992, zlib.compress(rows, 1)))
    buses = [context.bus(carol), context.bus(frank), context.bus(carol), context.bus(frank)]
    outcome = {}
    clients = context.bus(bob)
    for path in paths[:2]:
        try:
            context.rings.append(attach_at(clients, path, "composite", width=1920, height=1080))
        except CallError as error:
            outcome[error.short] = outcome.get(error.short, 0) + 1
    for _ in range(3 if context.long else 1):
        serials = [bus.send(SERVICE, path, "org.portraitd.Background1", "SetImage", "h", 0, fds=[fd]) for bus, path in zip(buses, paths)]
        for bus, serial in zip(buses, serials):
            try:
                bus.wait(serial, 60)
                outcome["set"] = outcome.get("set", 0) + 1
            except CallError as error:
                outcome[error.short] = outcome.get(error.short, 0) + 1
    for path in paths:
        try:
            buses[0].set("Background1", "Mode", "s", "image", path=path)
            ring = attach_at(context.bus(dave), path, "composite", width=1280, height=720)
            context.rings.append(ring)
            ring.wait(3)
        except CallError as error:
            outcome[error.short] = outcome.get(error.short, 0) + 1
    os.close(fd)
    daemon.check()
    return f"{outcome}; charged at most {daemon.group.peak:.0f} MiB, peak resident {daemon.peak:.0f} MiB"


def attach_at(bus, path, stream, **options):
    from ring import Ring
    return Ring(*raw_attach(bus, stream, path=path, **options))


@check("X8", "ten users one after the other: each gets a mask and a view, and then takes all that there is")
def large_composites(context):
    daemon = context.daemon()
    setter, outcome = context.bus(carol), {}
    sizes = [(4096, 4096), (4096, 2304), (3840, 2160), (1920, 1080), (1280, 720), (64, 64), (66, 64), (68, 64)]
    users = [bob, *crowd[3:12]]
    for number, user in enumerate(users):
        setter.set("Background1", "Mode", "s", ["blur", "color"][number % 2])
        served(context, user)
        bus = context.bus(user)
        for width, height in sizes:
            for format in ("RGB3", "NV12"):
                for stream in ("composite", "mask"):
                    options = {"format": format} if stream == "composite" else {}
                    try:
                        context.attach(bus, stream, width=width, height=height, **options)
                        outcome["had"] = outcome.get("had", 0) + 1
                    except CallError as error:
                        outcome[error.short] = outcome.get(error.short, 0) + 1
        daemon.check()
    ended = sum(ring.closed for ring in context.rings)
    require(ended > 0, "nobody had to give way: the check takes too little")
    return (f"{len(users)} users, then {outcome}; {ended} rings ended for others; charged at most {daemon.group.peak:.0f} MiB, "
            f"peak resident {daemon.peak:.0f} MiB")


@check("X9", "a client whose name is a line of the log")
def process_name(context):
    daemon = context.daemon(log="debug")
    own = Path("/proc/self/comm").read_text()
    try:
        Path("/proc/self/comm").write_bytes(b"x\n\x1b[2J WARN f\x01")
        bus = context.bus(bob)
        context.attach(bus, "mask").wait(2)
    finally:
        Path("/proc/self/comm").write_text(own)
    text = daemon.log_text()
    require("\x1b[2J" not in text and "\x01" not in text and not any(line.startswith("\x1b") for line in text.splitlines()),
            "the name of a process reaches the log as it is")


@check("X10", "the bus name, and calls in the name of others")
def names(context):
    daemon = context.daemon()
    for user in (alice, bob, carol, frank):
        bus = context.bus(user)
        for flags in (0, 1, 2, 3, 7):
            error = expect_error(["AccessDenied"], lambda: bus.call(BUS, "/org/freedesktop/DBus", BUS, "RequestName", "su", SERVICE, flags), "the name")
        # A forged sender field is replaced by the bus.
        fields = [(1, "o", CAMERA), (2, "s", "org.portraitd.Camera1"), (3, "s", "Attach"), (6, "s", SERVICE), (7, "s", context.world.root.name),
                  (8, "g", "sa{sv}")]
        if user is alice:
            bus.socket.sendall(message(CALL, bus.next_serial(), fields, marshal("sa{sv}", "mask", {})))
            try:
                bus.wait(bus.serial)
                require(False, "a forged sender was believed")
            except (CallError, Gone):
                pass
    require(context.world.owner(SERVICE) == daemon.name, "the name has moved")


@check("X11", "root calls as carelessly as anybody")
def root(context):
    from checks.b_messages import big_attach
    daemon = context.daemon()
    watch = Watch(context, daemon)
    bus = context.bus(None)
    serial, _ = big_attach(bus, 1_970_000)
    expect_error(None, lambda: bus.wait(serial), "1.97 million options")
    bus = context.bus(None)
    for _ in range(20):
        serials = [bus.send(SERVICE, "/org/portraitd", "org.portraitd.Manager1", "Reload") for _ in range(50)]
        done = 0
        for serial in serials:
            try:
                bus.wait(serial)
                done += 1
            except CallError:
                pass
        watch.tick()
    verdict = watch.verdict()
    served(context)
    return f"{done} of the last 50 reloads done; {verdict}"


POLKIT, AUTHORITY = "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority"


def dead_agent(user, seconds, tell):
    """In a process of its own: an agent that never answers, attaches that wait for it, and forged signals of polkit. Tells how
    often the agent was asked and how many questions were cancelled once the callers had left."""
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    start = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    process = {"pid": Variant("u", os.getpid()), "start-time": Variant("t", start), "uid": Variant("i", user.uid)}
    agent = Bus(user)
    agent.call(POLKIT, AUTHORITY, f"{POLKIT}.Authority", "RegisterAuthenticationAgent", "(sa{sv})ss", ("unix-process", process), "C", "/agent")
    held = {Bus(user): set() for _ in range(6)}
    begun, last, refused = time.monotonic(), 0.0, 0
    while time.monotonic() - begun < seconds:
        agent.poll(0.02)
        again = time.monotonic() - last > 0.5
        last = time.monotonic() if again else last
        for bus, serials in held.items():
            bus.poll()
            for serial in [serial for serial in serials if serial in bus.replies]:
                serials.discard(serial)
                refused += bus.replies.pop(serial).kind == ERROR
            while again and len(serials) < 16:
                serials.add(bus.send(SERVICE, CAMERA, "org.portraitd.Camera1", "Attach", "sa{sv}", "mask", {}, flags=INTERACTIVE))
        if again and last - begun > 4:
            agent.send(SERVICE, AUTHORITY, f"{POLKIT}.Authority", "Changed", kind=SIGNAL, flags=NO_REPLY)
    for bus in held:
        bus.close()
    end = time.monotonic() + 10
    while time.monotonic() < end and agent.calls.count("CancelAuthentication") < agent.calls.count("BeginAuthentication"):
        agent.poll(0.1)
    os.write(tell, f"{agent.calls.count('BeginAuthentication')} {agent.calls.count('CancelAuthentication')} {refused}\n".encode())


@check("X12", "two users without a permission: agents that never answer polkit's question, and forged signals of polkit")
def dead_agents(context):
    context.daemon()
    watcher = context.attach(context.bus(dave), "view")
    watcher.wait(3)
    report, tell = os.pipe()
    seconds, wrong, done, bus = (200 if context.long else 22), [], 0, context.bus(crowd[0])
    for user in (alice, eve):
        context.fork(lambda user=user: dead_agent(user, seconds, tell))
    begun, closed = time.monotonic(), None
    while time.monotonic() - begun < seconds - 1:
        watcher.drain()
        watcher.follow()
        if watcher.closed and closed is None:
            closed = time.monotonic() - begun
        try:
            for fd in raw_attach(bus, "mask"):
                os.close(fd)
            done += 1
        except CallError as error:
            wrong.append(str(error))
        time.sleep(0.5)
    answers = b""
    while answers.count(b"\n") < 2:
        require(select.select([report], [], [], 30)[0], "the agents do not report")
        answers += os.read(report, 1000)
    os.close(report)
    os.close(tell)
    counts = [[int(word) for word in line.split()] for line in answers.splitlines()]
    asked, cancelled, refused = (sum(column) for column in zip(*counts))
    figures = (f"attached {done} times, refused {len(wrong)}{': ' if wrong else ''}{wrong[0] if wrong else ''}; the agents were asked "
               f"{asked} times, and told {cancelled} times that a question is cancelled; {refused} calls refused")
    require(closed is None, f"another user's stream ended after {closed or 0:.0f} s; {figures}")
    require(not wrong, figures)
    # polkit tells an agent more than once of some.
    require(all(0 < asked <= cancelled for asked, cancelled, _ in counts), figures)
    served(context, crowd[1])
    return figures


def jpeg(width, height, progressive):
    """A grey JPEG of three components: one bit for each coefficient that it must have."""
    def segment(marker, data):
        return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data
    parts = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    scan = b"\3" + b"".join(bytes([number, 0]) for number in (1, 2, 3))
    blocks = -(-width // 8) * -(-height // 8) * 3
    return (b"\xff\xd8" + segment(0xDB, bytes([0]) + bytes([1] * 64))
            + segment(0xC2 if progressive else 0xC0, struct.pack(">BHHB", 8, height, width, 3) + parts)
            + segment(0xC4, bytes([0x00, 1]) + bytes(16)) + segment(0xC4, bytes([0x10, 1]) + bytes(16))
            + segment(0xDA, scan + bytes([0, 0 if progressive else 63, 0]))
            + bytes(-(-blocks * (1 if progressive else 2) // 8)) + b"\xff\xd9")


@check("X13", "small files that are large pictures: progressive, baseline and RGBA, beside as many composites as there is room for")
def costly_pictures(context):
    import zlib
    daemon = context.daemon()
    setter, bus, rings = context.bus(carol), context.bus(frank), 0
    setter.set("Background1", "Mode", "s", "image")
    pictures = [jpeg(6000, 4200, True), jpeg(8192, 2900, False), jpeg(3840, 2160, True), png(6000, 4200, zlib.compress(bytes(4200 * 24001), 9), 6)]
    for fit in (jpeg(4000, 3000, False), jpeg(2500, 2400, True)):
        require(set_image(bus, fit) == "set", "a picture of 12 megapixels, or a progressive one of 6, is refused")
    daemon.check()
    alone = daemon.group.peak
    for user in (bob, dave, crowd[0]):
        for size in ((1920, 1080), (1600, 900), (1280, 720), (1276, 720), (1270, 720), (640, 480)):
            try:
                context.rings.append(attach(context.bus(user), "composite", width=size[0], height=size[1]))
                rings += 1
            except CallError as error:
                require(error.short == "Busy", f"a composite: {error}")
    outcome = {}
    for picture in pictures * (3 if context.long else 1):
        answer = set_image(bus, picture)
        require(answer.startswith("InvalidArgument") and "MiB" in answer, f"a picture of {len(picture)} bytes: {answer}")
        outcome["refused"] = outcome.get("refused", 0) + 1
    answer = set_image(bus, jpeg(4000, 3000, False))
    require(answer == "set" or answer.startswith("Busy"), f"12 megapixels beside the composites: {answer}")
    daemon.check()
    require(daemon.group.oom_kills == 0, "killed for memory")
    return f"{rings} composites, {outcome}, 12 megapixels: {answer[:4]}; charged at most {alone:.0f} MiB alone, {daemon.group.peak:.0f} MiB beside them"


def set_image(bus, data):
    fd = os.memfd_create("picture")
    os.write(fd, data)
    try:
        bus.camera("SetImage", "h", 0, interface="Background1", fds=[fd], timeout=60)
        return "set"
    except CallError as error:
        return f"{error.short}: {error.text}"
    finally:
        os.close(fd)


@check("X14", "an image from a socket whose low-water mark is more than what comes")
def low_water(context):
    daemon = context.daemon()
    bus, other = context.bus(frank), context.bus(carol)
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 65536)
    ours.send(b"x")
    begun = time.monotonic()
    expect_error(["Failed"], lambda: bus.camera("SetImage", "h", 0, interface="Background1", fds=[theirs.fileno()], timeout=10), "one byte")
    took = time.monotonic() - begun
    reader, writer = os.pipe()
    os.write(writer, b"nothing")
    os.close(writer)
    expect_error(["InvalidArgument"], lambda: other.camera("SetImage", "h", 0, interface="Background1", fds=[reader]), "another user's pipe")
    os.close(reader)
    ours.close()
    theirs.close()
    daemon.check()
    return f"refused after {took:.2f} s; another user's pipe is read at once"


@check("X15", "descriptors, whose closing could hold the service up, with every call and signal that takes none")
def descriptors_that_wait(context):
    daemon = context.daemon()
    attempts = [(alice, CAMERA, "org.portraitd.Camera1", "Attach", "sa{sv}", ("mask", {})),
                (alice, CAMERA, "org.portraitd.Camera1", "Snapshot", "s", ("view",)),
                (alice, CAMERA, PROPERTIES, "Get", "ss", ("org.portraitd.Camera1", "State")),
                (alice, CAMERA, "org.freedesktop.DBus.Peer", "Ping", "", ()),
                (frank, CAMERA, PROPERTIES, "Set", "ssv", ("org.portraitd.Camera1", "Private", Variant("b", 0)))]
    for user, path, interface, member, signature, values in attempts:
        ours, theirs = socket.socketpair()
        bus = context.bus(user)
        serial = bus.send(SERVICE, path, interface, member, signature, *values, fds=[theirs.fileno()])
        expect_error(["AccessDenied"], lambda: bus.wait(serial), f"{member} with a descriptor")
        theirs.close()
        ours.settimeout(10)
        require(ours.recv(1) == b"", f"{member}: the descriptor is kept")
    bus = context.bus(alice)
    ours, theirs = socket.socketpair()
    socket.send_fds(bus.socket, [bus.encode(daemon.name, CAMERA, "x.y", "Z", fds=1, kind=SIGNAL)], [theirs.fileno()])
    theirs.close()
    ours.settimeout(10)
    require(ours.recv(1) == b"", "the descriptor of a signal is kept")
    served(context)
    return f"{len(attempts)} calls and a signal refused by the bus"


def lingering(seconds=3600):
    """A TCP socket whose closing waits, because it has unsent data, and the end that does not read."""
    listener = socket.create_server(("127.0.0.1", 0))
    sending, receiving = socket.create_connection(listener.getsockname()), listener.accept()[0]
    listener.close()
    sending.setblocking(False)
    try:
        while sending.send(bytes(1 << 16)):
            pass
    except BlockingIOError:
        pass
    sending.setblocking(True)
    sending.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))
    return sending, receiving


@check("X16", "descriptors whose closing waits for the client, with the calls that take one")
def descriptors_that_linger(context):
    daemon = context.daemon('[[camera]]\nname = "main"\ndevice = "provider"\n', source=None)
    other, slowest = context.bus(dave), 0
    attempts = [(frank, CAMERA, "org.portraitd.Background1", "SetImage", "h", (0,)),
                (frank, CAMERA, "org.portraitd.Background1", "SetImage", "h", (1,)),
                (carol, CAMERA, "org.portraitd.Background1", "SetImage", "h", (0,)),
                (paul, CAMERA, "org.portraitd.Provider1", "Offer", "ha{sv}", (0, {}))]
    held = []
    for user, path, interface, member, signature, values in attempts:
        sending, receiving = lingering()
        bus = context.bus(user)
        serial = bus.send(SERVICE, path, interface, member, signature, *values, fds=[sending.fileno()])
        # The last descriptor is the service's: closing this one does not wait.
        sending.close()
        held.append(receiving)
        try:
            bus.wait(serial, 10)
            raise Failed(f"{member} took a socket")
        except CallError:
            pass
        begun = time.monotonic()
        other.get("Camera1", "State", timeout=10)
        slowest = max(slowest, time.monotonic() - begun)
    daemon.check()
    for receiving in held:
        receiving.close()
    return f"{len(attempts)} calls refused; another user's call took {1000 * slowest:.0f} ms at most"


class Pins:
    """Sockets that nobody reads, into which pages of a file are sent: the kernel keeps the pages, and copies nothing."""

    def __init__(self):
        self.pairs = []

    def pin(self, fd, size):
        at = 0
        while at < size:
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            self.pairs += [ours, theirs]
            try:
                while at < size:
                    at += os.sendfile(ours.fileno(), fd, at, min(size - at, 1 << 16))
            except BlockingIOError:
                pass

    def close(self):
        for end in self.pairs:
            end.close()
        self.pairs = []


@check("X17", "a client keeps the pages of its rings in sockets, and leaves: new rings are refused before memory ends")
def pinned_pages(context):
    daemon = context.daemon()
    other = context.attach(context.bus(dave), "mask")
    other.wait(10)
    pins, most, refused, rings = Pins(), 0, None, 0
    context.at_end(pins.close)
    while refused is None and rings < 200:
        bus = context.bus(bob)
        try:
            memory, event = raw_attach(bus, "view", width=1920, height=1080)
        except CallError as error:
            refused = error
            break
        select.select([event], [], [], 10)
        pins.pin(memory, os.fstat(memory).st_size)
        os.close(memory)
        os.close(event)
        bus.close()
        rings += 1
        most = max(most, daemon.group.used)
        daemon.check()
    require(refused is not None and refused.short == "Busy", f"{rings} rings, {refused}")
    other.frames = 0
    other.wait(10)
    pins.close()
    served(context)
    return f"{rings} rings, then {refused.short}; {most:.0f} MiB of the group at most; served when the pages were let go of"


@check("X18", "a client moves the bytes of its event pipes to sockets that nobody reads")
def moved_bytes(context):
    daemon = context.daemon()
    other = context.attach(context.bus(dave), "mask")
    other.wait(10)
    bus, poller, moved = context.bus(bob), select.epoll(), 0
    events = []
    for _ in range(12):
        memory, event = raw_attach(bus, "mask")
        os.close(memory)
        os.set_blocking(event, False)
        poller.register(event, select.EPOLLIN)
        events.append(event)
    sinks = [socket.socketpair()]
    sinks[-1][0].setblocking(False)
    before, end = daemon.group.used, time.monotonic() + (30 if context.long else 6)
    while time.monotonic() < end:
        for fd, _ in poller.poll(0.2):
            try:
                moved += os.splice(fd, sinks[-1][0].fileno(), 1, flags=2)
            except BlockingIOError:
                sinks.append(socket.socketpair())
                sinks[-1][0].setblocking(False)
    grown = daemon.group.used - before
    for fd in events:
        os.close(fd)
    for pair in sinks:
        pair[0].close()
        pair[1].close()
    # A page for each would be 4 KiB.
    require(moved > 200 and grown < moved * 4096 / 4 / (1 << 20), f"{moved} bytes moved, {grown:.1f} MiB more")
    return f"{moved} bytes moved, {grown:+.1f} MiB"
