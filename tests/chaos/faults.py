"""The faults. Each is a function that plays it and returns how much of it there was, in words; it runs in a child process.

`uses` names what two faults at once must not share. `restarts`: the service ends by it, and is started again.
"""

import ctypes
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from checks.w_crowd import flood
from ring import attach, raw_attach
from wire import Bus, CallError, Gone
from world import alice, bob, carol, crowd, portraitd, unit_bytes, until

STEADY = "/org/portraitd/cameras/steady"
MAIN = "/org/portraitd/cameras/main"
CONFIG = """
[[camera]]
name = "main"
device = "file:/dev/video77?loop"
idle_close_s = 1.0
framing.mode = "off"

[[camera]]
name = "steady"
device = "scene:walk"
"""
STREAMS = ("mask", "view", "composite")


@dataclass
class Fault:
    name: str
    run: object
    uses: frozenset
    restarts: bool = False
    # How often the witness of `main` has to attach again.
    rings: int = 0


@dataclass
class Scene:
    """What a fault works with: `seconds` is how long it should last."""

    daemon: object
    camera: object
    numbers: random.Random
    seconds: float
    children: list = field(default_factory=list)

    def bus(self, user=None):
        return Bus(user)

    def fork(self, body):
        """A child of this fault, which has its ring when this returns. 0: it was refused."""
        ready, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                body(lambda: os.write(tell, b"x"))
            except (CallError, Gone, OSError, EOFError, TimeoutError):
                pass
            finally:
                os._exit(0)
        os.close(tell)
        got = os.read(ready, 1)
        os.close(ready)
        self.children.append(pid)
        return pid if got else 0

    def kill_children(self):
        for pid in self.children:
            for action in (lambda: os.kill(pid, signal.SIGKILL), lambda: os.waitpid(pid, 0)):
                try:
                    action()
                except (ProcessLookupError, ChildProcessError):
                    pass
        self.children.clear()


FAULTS = []


def fault(name, uses="", **more):
    def register(run):
        FAULTS.append(Fault(name, run, frozenset(uses.split()), **more))
        return run

    return register


def some(scene):
    """A user, a camera and a stream by chance."""
    numbers = scene.numbers
    return numbers.choice(crowd), {"path": numbers.choice([MAIN, STEADY])}, numbers.choice(STREAMS)


@fault("unplug", "camera")
def unplug(scene):
    """The video is cut and removed, and comes back. It stands for a cable that is pulled."""
    scene.camera.unplug(scene.numbers)
    time.sleep(scene.seconds)
    scene.camera.plug()
    return f"{scene.seconds:.1f} s"


def threads(pid, name):
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if (task / "comm").read_text().strip().startswith(name)]


def hold(pid, seconds):
    """Stops a thread of the service as a debugger does, for a time. Returns whether that could be done."""
    libc = ctypes.CDLL(None, use_errno=True)
    seize, interrupt, detach = 0x4206, 0x4207, 17
    if libc.ptrace(seize, pid, None, None) != 0 or libc.ptrace(interrupt, pid, None, None) != 0:
        return False
    wall = 0x40000000
    os.waitpid(pid, wall)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        # It ends while it is held: the watchdog has struck.
        if os.waitpid(pid, wall | os.WNOHANG)[0] == pid:
            return True
        time.sleep(0.05)
    libc.ptrace(detach, pid, None, None)
    return True


@fault("stall", "camera")
def stall(scene):
    """The capture thread is held, and goes on. It stands for a driver whose call takes seconds."""
    captures = threads(scene.daemon.pid, "capture")
    if not captures or not hold(scene.numbers.choice(captures), min(scene.seconds, 4)):
        return "not possible here"
    return f"{min(scene.seconds, 4):.1f} s"


@fault("storm", "clients")
def storm(scene):
    """Clients that attach, take a frame or none, and leave."""
    end, had, refused, buses = time.monotonic() + scene.seconds, 0, {}, {}
    while time.monotonic() < end:
        user, options, stream = some(scene)
        bus = buses.setdefault(user.name, None) or Bus(user)
        buses[user.name] = bus
        try:
            ring = attach(bus, stream, **options)
            had += 1
            if scene.numbers.random() < 0.2:
                ring.wait(1)
            ring.close()
        except CallError as error:
            refused[error.short] = refused.get(error.short, 0) + 1
        if scene.numbers.random() < 0.1:
            buses.pop(user.name).close()
    return f"{had} attached" + "".join(f", {count} {name}" for name, count in refused.items())


@fault("flood", "clients")
def calls(scene):
    """Calls as fast as the bus carries them."""
    answers, sent = flood(scene, scene.seconds, [alice, bob, carol, crowd[1]])
    return f"{sent} calls, {answers} answers"


def reader(scene):
    user, options, stream = some(scene)

    def body(ready):
        ring = attach(Bus(user), stream, **options)
        ready()
        while True:
            ring.wait(1)

    return scene.fork(body)


@fault("kill", "clients")
def killed_clients(scene):
    """Clients that are killed while they read."""
    end, kills = time.monotonic() + scene.seconds, 0
    while time.monotonic() < end:
        pids = [reader(scene) for _ in range(scene.numbers.randint(1, 4))]
        time.sleep(scene.numbers.random() * 0.1)
        kills += len([pid for pid in pids if pid])
        scene.kill_children()
    return f"{kills} killed"


@fault("stop", "clients")
def stopped_clients(scene):
    """Clients that are stopped while they read; half of them go on, and all are killed in the end."""
    pids = [pid for pid in (reader(scene) for _ in range(8)) if pid]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(scene.seconds)
    for pid in pids[::2]:
        os.kill(pid, signal.SIGCONT)
    time.sleep(0.2)
    scene.kill_children()
    return f"{len(pids)} stopped"


@fault("snapshots", "clients")
def snapshots(scene):
    end, had, refused = time.monotonic() + scene.seconds, 0, 0
    buses = [Bus(user) for user in scene.numbers.sample(crowd, 4)]
    while time.monotonic() < end:
        bus = scene.numbers.choice(buses)
        try:
            bus.camera("Snapshot", "s", scene.numbers.choice(STREAMS), path=STEADY)
            for fd in bus.last.fds:
                os.close(fd)
            had += 1
        except CallError:
            refused += 1
    return f"{had} taken, {refused} refused"


def reload(scene, text, by_signal=False):
    scene.daemon.config_path.write_text(text)
    if by_signal:
        os.kill(scene.daemon.pid, signal.SIGHUP)
        return
    bus = Bus()
    try:
        bus.camera("Reload", interface="Manager1", path="/org/portraitd")
    finally:
        bus.close()


@fault("reload", "config")
def good_reload(scene):
    """A third camera is added and read, settings change, and the old configuration comes back."""
    extra = f'\n[[camera]]\nname = "extra"\ndevice = "scene:{scene.numbers.choice(["empty", "two"])}?size=320x240"\n'
    changed = CONFIG.replace("idle_close_s = 1.0", f"idle_close_s = {scene.numbers.randint(2, 9)}.5") + extra
    reload(scene, changed, scene.numbers.random() < 0.5)
    bus, path = Bus(bob), "/org/portraitd/cameras/extra"
    until(lambda: path in bus.get("Manager1", "Cameras", path="/org/portraitd"), "the new camera")
    ring = attach(bus, "view", path=path)
    ring.wait(5)
    ring.close()
    reload(scene, CONFIG)
    return "a camera was added and removed"


BAD = ("[[camera]\n", "colour = 1\n", '[[camera]]\nname = "main"\nfps = 100000\n', '[[camera]]\nname = "a b"\n', "\0", "x" * 100_000)


@fault("bad-reload", "config")
def bad_reload(scene):
    """Configurations that are refused: the old one stays in force."""
    try:
        for text in BAD:
            try:
                reload(scene, text)
            except CallError:
                continue
            raise AssertionError(f"a bad configuration was taken: {text[:40]!r}")
    finally:
        scene.daemon.config_path.write_text(CONFIG)
    os.kill(scene.daemon.pid, signal.SIGHUP)
    return f"{len(BAD)} refused"


@fault("cpu", "cpu")
def starved(scene):
    """The service gets a tenth to a quarter of one CPU."""
    share = scene.numbers.choice([0.1, 0.15, 0.25])
    group = scene.daemon.group
    if group.cpu is None:
        return "not possible here"
    group.limit_cpu(share)
    time.sleep(scene.seconds)
    group.limit_cpu()
    return f"{share:.0%} for {scene.seconds:.1f} s"


@fault("burners", "cpu")
def burners(scene):
    """Programs that take all the CPU there is, at the same priority."""
    def burn(ready):
        ready()
        while True:
            pass

    count = 2 * (os.cpu_count() or 1)
    for _ in range(count):
        scene.fork(burn)
    time.sleep(scene.seconds)
    scene.kill_children()
    return f"{count} for {scene.seconds:.1f} s"


@fault("memory", "clients memory")
def pressure(scene):
    """Large rings until they are refused, and then a limit close above what is used: the kernel takes back what it can."""
    group, rings, limit = scene.daemon.group, [], unit_bytes("MemoryHigh", "224M")
    try:
        for user in crowd[:3]:
            bus = Bus(user)
            try:
                while True:
                    rings.append(attach(bus, "view", width=1920, height=1440 - 2 * len(rings), format="RGB3", path=STEADY))
                    rings[-1].wait(1)
            except CallError:
                pass
        used = group.used
        limit = min(limit, (int(used) + 12) << 20)
        group.limit_memory(limit)
        time.sleep(scene.seconds)
    finally:
        group.limit_memory(unit_bytes("MemoryMax", "256M"))
    for ring in rings:
        ring.close()
    return f"{len(rings)} large rings, {used:.0f} of {limit >> 20} MiB used"


@fault("private", "camera", rings=2)
def private(scene):
    """The camera is muted in software, and comes back."""
    bus = Bus(carol)
    bus.set("Camera1", "Private", "b", True, path=MAIN)
    time.sleep(scene.seconds)
    bus.set("Camera1", "Private", "b", False, path=MAIN)
    return f"{scene.seconds:.1f} s"


@fault("model", "model")
def model(scene):
    """Another net is loaded while masks are made, and the first one again."""
    bus, changes = Bus(carol), 0
    names = bus.get("Segmentation1", "Models", path=STEADY)
    for name in [scene.numbers.choice(names) for _ in range(4)] + [bus.get("Segmentation1", "Model", path=STEADY)]:
        try:
            bus.set("Segmentation1", "Model", "s", name, path=STEADY)
            changes += 1
        except CallError:
            pass
    return f"{changes} changes"


@fault("settings", "settings")
def settings(scene):
    """Framing and background change all the time, while somebody looks at the composite."""
    bus, changes, end = Bus(carol), 0, time.monotonic() + scene.seconds
    ring = attach(bus, "composite", path=STEADY)
    pick = scene.numbers.choice
    while time.monotonic() < end:
        bus.set("Framing1", "Mode", "s", pick(["off", "once", "follow"]), path=STEADY)
        bus.set("Framing1", "MaxZoom", "d", pick([1.0, 1.2, 1.5]), path=STEADY)
        bus.set("Background1", "Color", "s", pick(["#102030", "#ffffff"]), path=STEADY)
        bus.set("Background1", "Mode", "s", pick(["none", "color", "blur"]), path=STEADY)
        changes += 4
        ring.wait(1)
    bus.set("Framing1", "Mode", "s", "follow", path=STEADY)
    bus.set("Background1", "Mode", "s", "none", path=STEADY)
    ring.close()
    return f"{changes} changes"


@fault("bus", "everything", restarts=True)
def bus_restart(scene):
    """The bus ends: the service ends with an error, and the manager starts it again. Played by the harness, whose bus it is."""
    raise NotImplementedError


@fault("crash", "everything", restarts=True)
def crash(scene):
    os.kill(scene.daemon.pid, scene.numbers.choice([signal.SIGKILL, signal.SIGABRT]))
    return "killed"


@fault("hang", "everything", restarts=True)
def hang(scene):
    """The capture thread never returns: the watchdog ends the service."""
    captures = threads(scene.daemon.pid, "capture")
    if not captures or not hold(captures[0], 60):
        os.kill(scene.daemon.pid, signal.SIGABRT)
        return "not possible here: aborted"
    return "ended by the watchdog"
