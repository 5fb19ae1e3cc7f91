"""E: who sees what, and for how long."""

import os
import re
import time
from pathlib import Path

from checks import check, expect_error
from ring import attach
from wire import BUS, CAMERA, PROPERTIES, ROOT, SERVICE, Bus, CallError, Variant
from world import REPOSITORY, alice, bob, carol, crowd, dave, eve, frank, paul, portraitd, require, until

TABLE = REPOSITORY / "tests/abuse/permissions.txt"
RULE = Path("/etc/polkit-1/rules.d/10-abuse.rules")
USERS = {"root": None, "own": portraitd, "alice": alice, "bob": bob, "frank": frank, "carol": carol, "eve": eve, "away": eve, "paul": paul}
MEMFD = os.memfd_create("offer", os.MFD_CLOEXEC)
VALUES = {"Mode": ("s", "off"), "ManualCrop": ("(dddd)", (0.0, 0.0, 1.0, 1.0)), "MaxZoom": ("d", 1.5), "Speed": ("s", "calm"),
          "Zones": ("a(dddd)", []), "Model": ("s", "selfie-landscape"), "Color": ("s", "#000000"), "Blur": ("d", 0.05),
          "Private": ("b", 0), "Strict": ("b", 1), "Rotate": ("u", 0), "Mirror": ("b", 0), "Subject": ("u", 0)}


def table():
    """{call: {user: expected}}"""
    rows = [line.split() for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]
    users = rows[0][1:]
    return {row[0]: dict(zip(users, row[1:], strict=True)) for row in rows[1:]}


def outcome(action):
    try:
        action()
    except CallError as error:
        if error.name == "org.freedesktop.DBus.Error.AccessDenied":
            return "bus"
        return "no" if error.short == "NotAuthorized" else "yes"
    return "yes"


def close_received(bus):
    for fd in bus.last.fds:
        os.close(fd)


def attempt(bus, call):
    """Makes a call of the table; returns yes, no or bus."""
    interface, member = call.split(".")
    if interface in ("Introspectable", "Peer", "ObjectManager"):
        path = ROOT if interface == "ObjectManager" else CAMERA
        return outcome(lambda: bus.call(SERVICE, path, f"org.freedesktop.DBus.{interface}", member))
    path = ROOT if interface == "Manager1" else CAMERA
    if found := re.fullmatch(r"(Attach|Snapshot)\((\w+)\)", member):
        method, stream = found.groups()
        def receive():
            if method == "Snapshot":
                bus.camera("Snapshot", "s", stream)
            else:
                options = {"inset": Variant("s", "top-left")} if stream == "inset" else {}
                bus.camera("Attach", "sa{sv}", "view" if stream == "inset" else stream, options)
            close_received(bus)
        return outcome(receive)
    if member.endswith("="):
        signature, value = VALUES[member[:-1]]
        if interface == "Background1" and member == "Mode=":
            value = "color"
        return outcome(lambda: bus.set(interface, member[:-1], signature, value))
    if member == "SetImage":
        return outcome(lambda: bus.camera(member, "h", 0, interface=interface, fds=[0]))
    if interface == "Provider1":
        # The camera of the check is a scene, so whoever gets through is told so.
        return outcome(lambda: bus.camera(member, "ha{sv}", 0, {}, interface=interface, fds=[MEMFD]))
    if interface == "Controls1":
        # A scene has no controls, so whoever gets through is told so.
        arguments = {"List": (), "Set": ("sv", "gain", Variant("i", 1)), "Reset": ("s", "gain")}[member]
        return outcome(lambda: bus.camera(member, *arguments, interface=interface))
    if member in ("Reload", "Reframe", "ClearImage"):
        return outcome(lambda: bus.camera(member, interface=interface, path=path))
    way = {"Get": outcome(lambda: bus.get(interface, member, path=path)),
           "GetAll": "yes" if member in bus.get_all(interface, path=path) else "no",
           "GetManagedObjects": "yes" if member in managed(bus)[path][f"org.portraitd.{interface}"] else "no"}
    require(len(set(way.values())) == 1, f"{call} differs between ways to read it: {way}")
    return way["Get"]


def managed(bus):
    return bus.call(SERVICE, ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")[0] | {
        # A manager does not manage itself.
        ROOT: {"org.portraitd.Manager1": bus.get_all("Manager1", path=ROOT)}}


def unlisted(bus, rows):
    """Members of the interfaces that have no row."""
    missing = []
    for path in (ROOT, CAMERA):
        xml = bus.call(SERVICE, path, "org.freedesktop.DBus.Introspectable", "Introspect")[0]
        for interface, body in re.findall(r'<interface name="org\.portraitd\.(\w+)">(.*?)</interface>', xml, re.S):
            for name in re.findall(r'<method name="(\w+)"', body):
                if not any(row.split("(")[0] == f"{interface}.{name}" for row in rows):
                    missing.append(f"{interface}.{name}")
            for name, access in re.findall(r'<property name="(\w+)" type="[^"]+" access="(\w+)"', body):
                missing += [row for row in [f"{interface}.{name}"] + [f"{interface}.{name}="] * ("write" in access) if row not in rows]
    return missing


@check("E1", "who may do what: every method, property and setter for nine kinds of user")
def permission_table(context):
    daemon = context.daemon("[[camera]]\nname = \"main\"\nallow_source = true\n")
    rows, wrong, count = table(), [], 0
    missing = unlisted(context.bus(alice), rows)
    require(not missing, f"not in permissions.txt: {' '.join(missing)}")
    for column, user in USERS.items():
        if column in ("eve", "away"):
            context.world.session(eve, active=column == "eve")
            context.world.enter_session()
        try:
            bus = context.bus(user)
            if column == "eve":
                until(lambda: attempt(bus, "Camera1.Attach(mask)") == "yes", "polkit knows the session", 5)
            if column == "away":
                until(lambda: attempt(bus, "Camera1.Attach(mask)") == "no", "polkit knows the session", 5)
            for call, expected in rows.items():
                got = attempt(bus, call)
                count += 1
                if got != expected[column]:
                    wrong.append(f"{call} by {column}: {got} instead of {expected[column]}")
            bus.close()
        finally:
            if column in ("eve", "away"):
                context.world.enter_session(False)
                context.world.session(None)
    daemon.check()
    require(not wrong, f"{len(wrong)} of {count}: {'; '.join(wrong[:12])}")
    return f"{count} calls"


@check("E2", "a forked child keeps the mapping after its client has left")
def kept_mapping(context):
    context.daemon("[[camera]]\nname = \"main\"\nallow_source = false\n")
    other = context.attach(context.bus(dave), "view")
    other.wait(5)
    report, tell = os.pipe()
    bus = context.bus(bob)
    ring = context.attach(bus, "view")
    ring.wait(3)
    begin = ring.latest
    # The child has the mapping and not the pipe; its parent leaves.
    go, start = os.pipe()
    other_pid = os.getpid()

    def child():
        ring.leave()
        os.close(start)
        os.read(go, 1)
        frames, pictures, at, end = 0, 0, ring.latest, time.monotonic() + 2
        while time.monotonic() < end:
            if ring.latest != at:
                frames, at = frames + 1, ring.latest
            time.sleep(0.002)
        os.write(tell, f"{frames} {int(ring.closed or ring.map[:8] != b'PORTRAIT')} {int(ring.is_blank())}".encode())

    context.fork(child)
    ring.leave()
    until(lambda: bus.get("Camera1", "Consumers") == 1, "the client has left")
    os.close(start)
    frames, closed, blank = map(int, os.read(report, 100).decode().split())
    other.wait(5)
    for fd in (report, tell, go):
        os.close(fd)
    # A ring that nobody is attached to is emptied with its header, so the header may not say that it is closed.
    text = f"{frames} frames seen in 2 s after leaving, header {'closed' if closed else 'empty'}, slots {'wiped' if blank else 'hold pictures'}"
    require(frames == 0 and blank, text)
    return f"{text}; the other user's ring goes on"


@check("E3", "polkit takes a permission back, and gives it again")
def withdrawn(context):
    context.daemon()
    bus, others = context.bus(bob), context.attach(context.bus(dave), "view")
    ring = context.attach(bus, "view")
    ring.wait(3)
    others.wait(3)
    context.at_end(lambda: RULE.unlink(missing_ok=True))
    RULE.write_text('polkit.addRule(function (action, subject) { if (action.id.indexOf("org.portraitd.") == 0 && subject.user == "bob") '
                    "return polkit.Result.NO; });\n")
    begun = time.monotonic()
    before = ring.latest
    until(lambda: outcome(lambda: attach(bus, "mask").close()) == "no", "polkit's answer", 10)
    until(lambda: ring.closed, "the attachment ends with its permission", 3)
    after = ring.latest
    others.drain()
    others.follow()
    others.wait(10)
    require(ring.latest == after, "frames are published after the permission ended")
    require(ring.is_blank(), "the slots hold pictures after the permission ended")
    require(outcome(lambda: attach(bus, "view").close()) == "no", "attaching again was allowed")
    require(outcome(lambda: bus.camera("Snapshot", "s", "view")) == "no", "a snapshot was allowed")
    took = time.monotonic() - begun
    RULE.unlink()
    until(lambda: outcome(lambda: attach(bus, "view").close()) == "yes", "polkit allows it again", 10)
    return f"{after - before} frames until polkit's answer took effect ({1000 * took:.0f} ms with the wait), {others.frames} for the other user"


@check("E4", "another session becomes the active one")
def session_switch(context):
    context.daemon()
    context.world.session(eve)
    context.world.enter_session()
    try:
        bus = context.bus(eve)
        until(lambda: attempt(bus, "Camera1.Attach(mask)") == "yes", "polkit knows the session", 5)
        ring = context.attach(bus, "mask")
        ring.wait(3)
        context.world.session(eve, active=False)
        until(lambda: ring.closed, "the attachment ends with the session", 5)
    finally:
        context.world.enter_session(False)
        context.world.session(None)


@check("E5", "signals tell nobody without a permission who is there")
def signals(context):
    daemon = context.daemon()
    listeners = [context.bus(alice), context.bus(frank)]
    for bus in listeners:
        for rule in ("type='signal'", f"type='signal',sender='{SERVICE}'", f"type='signal',path_namespace='{ROOT}'"):
            bus.match(rule)
        try:
            bus.match("eavesdrop=true")
        except CallError:
            pass
    client = context.bus(bob)
    ring = context.attach(client, "mask")
    until(lambda: client.get("Segmentation1", "Present") == 1, "somebody is seen")
    ring.wait(10)
    ring.close()
    until(lambda: client.get("Camera1", "State") == "idle", "the camera is closed")
    told = set()
    for bus in listeners:
        bus.call(BUS, "/org/freedesktop/DBus", BUS, "GetId")
        for signal in bus.signals:
            if signal.member == "PropertiesChanged":
                interface, changed, gone = signal.values()
                told |= {f"{interface.rsplit('.', 1)[-1]}.{name}" for name in [*changed, *gone]}
    secret = sorted(told & {"Segmentation1.Present", "Segmentation1.People", "Framing1.Crop", "Framing1.State", "Framing1.Subject"})
    require(not secret, f"told to users without the permission: {' '.join(secret)}")
    require("Camera1.State" in told, f"no signals came at all: {told}")
    return f"{len(told)} properties announced to them"


@check("E6", "min_zoom holds with framing off, manual, and the whole frame as the crop")
def least_zoom(context):
    context.daemon("[[camera]]\nname = \"main\"\n[camera.framing]\nmin_zoom = 1.5\nmax_zoom = 2.0\n")
    setter, bus = context.bus(carol), context.bus(bob)
    ring = context.attach(bus, "view", width=640, height=360)
    widest = 0.0
    for mode, crop in (("follow", None), ("off", None), ("manual", (0.0, 0.0, 1.0, 1.0)), ("manual", (0.2, 0.2, 0.6, 0.6)), ("once", None), ("off", None)):
        if crop:
            setter.set("Framing1", "ManualCrop", "(dddd)", crop)
        setter.set("Framing1", "Mode", "s", mode)
        for _ in range(15):
            ring.wait(1)
            slot = ring.slot()
            if slot:
                import struct
                x, y, width, height = struct.unpack_from("<4f", slot, 48)
                widest = max(widest, width / 1280, height / 720)
    expect_error(None, lambda: setter.set("Framing1", "MaxZoom", "d", 1.0), "MaxZoom below min_zoom")
    require(widest <= 1 / 1.5 + 0.002, f"{widest:.3f} of the frame was shown")
    return f"{widest:.3f} of the frame at most"


@check("E7", "private: any controller may set it, and only a controller may end it")
def private(context):
    context.daemon()
    client, controller = context.bus(bob), context.bus(frank)
    ring = context.attach(client, "view")
    ring.wait(3)
    expect_error(["AccessDenied"], lambda: client.set("Camera1", "Private", "b", 1), "Private set by a client")
    controller.set("Camera1", "Private", "b", 1)
    until(lambda: client.get("Camera1", "State") == "private", "the state")
    require(ring.is_blank(), "the slots hold pictures")
    expect_error(["AccessDenied"], lambda: client.set("Camera1", "Private", "b", 0), "Private ended by a client")
    try:
        second = context.attach(client, "view")
        require(second.is_blank(), "a picture of a private camera")
    except CallError:
        pass
    controller.set("Camera1", "Private", "b", 0)
    until(lambda: client.get("Camera1", "State") != "private", "the end of private")
    served = context.attach(client, "view")
    served.wait(3)
    require(not served.is_blank(), "no pictures after the end of private")


@check("E8", "snapshots that are in flight when the camera becomes private")
def snapshot_private(context):
    context.daemon()
    client, controller = context.bus(bob), context.bus(frank)
    watcher = context.attach(context.bus(dave), "view")
    watcher.wait(5)
    late = answered = 0
    for number in range(20):
        controller.set("Camera1", "Private", "b", 0)
        until(lambda: client.get("Camera1", "State") in ("idle", "running", "starting"), "not private")
        ring = context.attach(client, "view")
        ring.wait(2)
        serials = [client.send(SERVICE, CAMERA, "org.portraitd.Camera1", "Snapshot", "s", "view") for _ in range(2)]
        time.sleep(0.02 * (number % 10))
        controller.set("Camera1", "Private", "b", 1)
        # What the service has sent before its answer to the controller has arrived before this answer of the bus.
        client.call(BUS, "/org/freedesktop/DBus", BUS, "GetId")
        before = [serial for serial in serials if serial in client.replies]
        for serial in serials:
            try:
                client.wait(serial, 12)
            except CallError:
                continue
            answered += 1
            # A black picture has some hundred bytes as PNG.
            late += serial not in before and any(os.fstat(fd).st_size > 20000 for fd in client.last.fds)
            close_received(client)
        ring.close()
    require(late == 0, f"{late} of {answered} snapshots show the room, and came after Private had returned")
    return f"{answered} snapshots, none of the room after Private had returned"
