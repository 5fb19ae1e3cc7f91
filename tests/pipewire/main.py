"""portraitd-pipewire with Debian's PipeWire and WirePlumber on a session bus and in a folder of their own, without a screen.

The nodes are read by pipewiresrc of GStreamer. Everything awaits an event (a line, a frame, a change that pw-dump or portraitctl
reports), and each wait has a limit of its own.
"""

import argparse
import json
import os
import queue
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

PATIENCE = 60
SIZE = (640, 360)
# The sizes of raw pictures of 640x360, in bytes.
BYTES = {"NV12": 640 * 360 * 3 // 2, "RGB": 640 * 360 * 3, "GRAY8": 640 * 360}
PERIOD_NS = 1_000_000_000 // 30


def fail(text):
    raise SystemExit(f"pipewire: {text}")


class Events:
    """What a thread reads from a process, in order."""

    def __init__(self, read):
        self.queue, self.seen = queue.Queue(), []
        threading.Thread(target=self._run, args=(read,), daemon=True).start()

    def _run(self, read):
        for event in read():
            self.queue.put(event)
        self.queue.put(None)

    def until(self, condition, what):
        """The first event from now on for which `condition` is true."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                event = self.queue.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                fail(f"{what}: it did not happen within {PATIENCE} s; the last events: {self.seen[-5:]}")
            if event is None:
                fail(f"{what}: the process has ended; the last events: {self.seen[-5:]}")
            self.seen.append(event)
            if condition(event):
                return event


class World:
    def __init__(self, arguments, folder):
        self.arguments, self.folder, self.processes = arguments, folder, []
        self.config = folder / "portraitd.toml"
        os.environ["XDG_RUNTIME_DIR"] = str(folder)
        for name in ("PIPEWIRE_REMOTE", "PIPEWIRE_RUNTIME_DIR", "DISPLAY", "WAYLAND_DISPLAY"):
            os.environ.pop(name, None)
        os.environ.update(HOME=str(folder), XDG_CONFIG_HOME=str(folder), XDG_STATE_HOME=str(folder), GST_REGISTRY=str(folder / "gst"))
        # WirePlumber 0.4 watches logind for Bluetooth, and ends where there is none.
        settings = folder / "wireplumber/bluetooth.lua.d/51-no-bluetooth.lua"
        settings.parent.mkdir(parents=True)
        settings.write_text("bluez_monitor.enabled = false\n")

    def start(self, *command, **more):
        process = subprocess.Popen([str(part) for part in command], **more)
        self.processes.append(process)
        return process

    def lines(self, *command, where="stdout"):
        """A process, and its lines as events."""
        process = self.start(*command, **{where: subprocess.PIPE}, text=True)
        stream = getattr(process, where)
        return process, Events(lambda: (line.rstrip("\n") for line in stream))

    def cameras(self, **devices):
        self.config.write_text("".join(f'[[camera]]\nname = "{name}"\ndevice = "{device}"\nidle_close_s = 0.5\n' for name, device in devices.items()))

    def program(self, name, *arguments):
        return [str(Path(self.arguments.programs) / name), *arguments]

    def daemon(self):
        process = self.start(*self.program("portraitd", "run", "--bus", "session", "--config", str(self.config), "--log", "warn"))
        subprocess.run(["gdbus", "wait", "--session", "--timeout", "30", "org.portraitd"], check=True)
        return process

    def control(self, *arguments, text=True):
        return subprocess.run(self.program("portraitctl", "--bus", "session", *arguments), check=True, capture_output=True, text=text, timeout=PATIENCE).stdout

    def bridge(self, *arguments):
        return self.lines(self.arguments.bridge, "--bus", "session", *arguments, where="stderr")

    def pipewire(self):
        """PipeWire and its session manager. Nothing but the socket tells that PipeWire listens."""
        server = self.start("pipewire")
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(self.folder / "pipewire-0"))
                break
            except OSError:
                if time.monotonic() > end or server.poll() is not None:
                    fail("PipeWire does not start")
                time.sleep(0.05)
        return server, self.start("wireplumber")

    def end(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.kill()
            process.wait()


class Graph:
    """PipeWire's objects, as pw-dump reports them."""

    def __init__(self, world):
        self.objects = {}
        process = world.start("pw-dump", "--monitor", "--no-colors", stdout=subprocess.PIPE, text=True)
        self.process, self.events = process, Events(lambda: self._read(process.stdout))

    @staticmethod
    def _read(stream):
        text, decoder = "", json.JSONDecoder()
        for line in stream:
            text += line
            if line.startswith("]"):
                yield from decoder.raw_decode(text.lstrip())[0]
                text = ""

    def nodes(self):
        """The nodes of the bridge, by name."""
        found = {}
        for number, info in self.objects.items():
            name = info.get("props", {}).get("node.name", "")
            if name.startswith("portraitd."):
                found[name] = {"id": number, **info}
        return found

    def until(self, condition, what):
        while not condition(self.nodes()):
            event = self.events.until(lambda _: True, f"{what}; nodes: {sorted((name, node.get('state')) for name, node in self.nodes().items())}")
            if event.get("info") is None:
                self.objects.pop(event["id"], None)
            elif event.get("type", "").endswith(":Node"):
                self.objects.setdefault(event["id"], {}).update(event["info"])
        return self.nodes()

    def until_state(self, name, *states):
        return self.until(lambda nodes: nodes.get(name, {}).get("state") in states, f"{name} is {' or '.join(states)}")[name]


class Consumer:
    """Frames that pipewiresrc gets from a node."""

    def __init__(self, world, node, format="NV12", frames=None, size=SIZE):
        self.bytes = BYTES[format] if size == SIZE else size[0] * size[1] * 3 // 2
        count = [] if frames is None else [f"num-buffers={frames}"]
        caps = f"video/x-raw,format={format},width={size[0]},height={size[1]}"
        read, write = os.pipe()
        self.process = world.start("gst-launch-1.0", "-v", "pipewiresrc", f"target-object={node}", *count, "!", caps, "!", "identity", "name=seen", "silent=false",
                                   "!", "fdsink", f"fd={write}", "sync=false", pass_fds=[write], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        os.close(write)
        self.file, self.log = os.fdopen(read, "rb"), []
        self.frames = Events(self._frames)
        self.output = Events(lambda: (line.rstrip("\n") for line in self.process.stdout))

    def _frames(self):
        with self.file:
            while len(frame := self.file.read(self.bytes)) == self.bytes:
                yield frame

    def next(self, what="a frame"):
        return self.frames.until(lambda _: True, what)

    def time_ns(self):
        """The time stamp of the next frame in the output of GStreamer."""
        pattern = re.compile(r"chain .*pts: (\d+):(\d+):(\d+)\.(\d+),")
        found = pattern.search(self.output.until(pattern.search, "a time stamp"))
        hours, minutes, seconds, nanoseconds = (int(part) for part in found.groups())
        return ((hours * 60 + minutes) * 60 + seconds) * 1_000_000_000 + nanoseconds

    def close(self):
        self.process.kill()
        self.process.wait()


def stop(process, sent=signal.SIGTERM):
    process.send_signal(sent)
    return process.wait(timeout=PATIENCE)


def difference(a, b):
    """The mean difference of bytes."""
    if len(a) != len(b):
        fail(f"pictures of {len(a)} and {len(b)} bytes")
    return sum(abs(x - y) for x, y in zip(a, b)) / len(a)


class Camera:
    """The states of a camera and its number of clients, as portraitctl reports them."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.process, self.events = world.lines(*world.program("portraitctl", "--bus", "session", "--camera", name, "--json", "watch"))

    def until(self, state):
        """The state may have come before it was watched."""
        self.events.until(lambda line: json.loads(line).get("property") == "State" and json.loads(line)["value"] == state, f"the camera {self.name} is {state}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", required=True, help="the folder of portraitd and portraitctl")
    parser.add_argument("--bridge", required=True)
    parser.add_argument("--photo", required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = World(arguments, Path(folder))
        try:
            test(world)
        finally:
            world.end()


VIEW, COMPOSITE, STILL = "portraitd.main.view", "portraitd.main.composite", "portraitd.still.view"


def test(world):
    world.cameras(main="scene:walk", still=f"file:{Path(world.arguments.photo).resolve()}?fps=30&loop")
    daemon = world.daemon()
    camera = Camera(world, "main")

    # Without PipeWire, the bridge says where it looks, and waits.
    bridge, said = world.bridge()
    said.until(lambda line: f"{world.folder}/pipewire-0" in line and "systemctl --user start pipewire" in line, "the bridge names the socket")
    server, manager = world.pipewire()
    said.until(lambda line: line.endswith("main (view): on the list"), "the node")
    graph = Graph(world)
    nodes = graph.until(lambda nodes: len(nodes) == 4, "a node for each camera and stream")
    if set(nodes) != {VIEW, COMPOSITE, STILL, "portraitd.still.composite"}:
        fail(f"view and composite are shown by default, and not {sorted(nodes)}")
    properties = nodes[VIEW]["props"]
    for key, value in (("media.class", "Video/Source"), ("media.role", "Camera"), ("node.description", "main (view)")):
        if properties.get(key) != value:
            fail(f"{key} is {properties.get(key)!r} and not {value!r}")
    formats = nodes[VIEW]["params"]["EnumFormat"]
    if formats[0]["format"] != "NV12" or formats[0]["size"] != {"width": 1280, "height": 720}:
        fail(f"the first format is {formats[0]}")
    if not any(found["format"] == "RGB" for found in formats):
        fail("RGB is not offered")
    print("pipewire: PipeWire that comes later; nodes and formats: ok", flush=True)

    # Off when nobody is linked, on when somebody is.
    listed = json.loads(world.control("list", "--json"))
    if listed.get("cameras", []) == [] or any(entry["state"] != "idle" for entry in listed["cameras"]):
        fail(f"a camera is on while nobody is linked: {listed}")
    first = Consumer(world, VIEW)
    camera.until("running")
    graph.until_state(VIEW, "running")
    frame = first.next("the first frame")
    if len(set(frame[: 640 * 360])) < 50:
        fail("the first frame shows next to nothing")
    times = [first.time_ns() for _ in range(40)]
    gaps = [(late - early) / PERIOD_NS for early, late in zip(times, times[1:])]
    # The scene captures at exact times, and leaves some out on a busy machine. Times of arrival are never so exact.
    whole = sum(gap > 0.9 and abs(gap - round(gap)) < 0.001 for gap in gaps)
    if whole < 0.7 * len(gaps):
        fail(f"time stamps are not capture times: gaps in periods of the scene: {gaps}")
    print(f"pipewire: a consumer, the camera, capture times ({whole} of {len(gaps)} gaps are whole periods): ok", flush=True)

    # Another consumer, and each leaves.
    second = Consumer(world, VIEW)
    second.next("a frame for the second consumer")
    first.next("a frame for the first consumer, beside the second")
    first.close()
    for _ in range(10):
        second.next("a frame for the second consumer, after the first has left")
    second.close()
    camera.until("idle")
    graph.until_state(VIEW, "idle", "suspended")
    print("pipewire: two consumers, and a camera that is off when they have left: ok", flush=True)

    # The pictures are those of the service.
    with_width = ("--width", "640", "--height", "360", "--quiet", "--raw", "-")
    for format, fourcc in (("NV12", "NV12"), ("RGB", "RGB3")):
        still = Consumer(world, STILL, format)
        for _ in range(60):
            seen = still.next("the photograph")
        taken = world.control("--camera", "still", "attach", "view", "--frames", "2", "--format", fourcc, *with_width, text=False)[-BYTES[format]:]
        mean = difference(seen, taken)
        if mean > 1.0:
            fail(f"{format}: the picture differs by {mean} from that of portraitctl")
        still.close()
    odd = Consumer(world, STILL, size=(322, 182))
    odd.next("a size that is not listed")
    odd.close()
    print("pipewire: pictures in NV12 and RGB as portraitctl gets them, and a size that is not listed: ok", flush=True)

    # The service is killed and comes back; the node stays.
    third = Consumer(world, VIEW)
    third.next()
    number = graph.until_state(VIEW, "running")["id"]
    stop(daemon, signal.SIGKILL)
    daemon = world.daemon()
    camera = Camera(world, "main")
    while not third.frames.queue.empty():
        third.frames.queue.get()
    for _ in range(5):
        third.next("a frame after a restart of the service")
    if graph.until_state(VIEW, "running")["id"] != number:
        fail("a restart of the service makes another node")
    # A private camera gives black pictures.
    world.control("--camera", "main", "set", "camera.private=true")
    third.frames.until(lambda frame: max(frame[: 640 * 360]) <= 16, "a black picture of a private camera")
    world.control("--camera", "main", "set", "camera.private=false")
    third.frames.until(lambda frame: max(frame[: 640 * 360]) > 100, "a picture of a camera that is not private any more")
    print("pipewire: the service is killed; private: ok", flush=True)

    # PipeWire is killed and comes back.
    for process in (server, manager):
        stop(process, signal.SIGKILL)
    third.close()
    said.until(lambda line: "the connection to PipeWire has ended" in line, "the bridge notices that PipeWire has gone")
    camera.until("idle")
    server, manager = world.pipewire()
    graph = Graph(world)
    graph.until(lambda nodes: len(nodes) == 4, "the nodes after a restart of PipeWire")
    again = Consumer(world, COMPOSITE)
    again.next("a frame after a restart of PipeWire")
    again.close()
    print("pipewire: PipeWire is killed: ok", flush=True)

    # A camera is removed and added; the service ends for good.
    reload = ["gdbus", "call", "--session", "--dest", "org.portraitd", "--object-path", "/org/portraitd", "--method", "org.portraitd.Manager1.Reload"]
    world.cameras(main="scene:walk")
    subprocess.run(reload, check=True, stdout=subprocess.DEVNULL)
    graph.until(lambda nodes: set(nodes) == {VIEW, COMPOSITE}, "a removed camera leaves the list")
    world.cameras(main="scene:walk", door="scene:walk")
    subprocess.run(reload, check=True, stdout=subprocess.DEVNULL)
    graph.until(lambda nodes: "portraitd.door.view" in nodes, "an added camera is on the list")
    stop(daemon)
    graph.until(lambda nodes: not nodes, "a service that has ended has no nodes")
    daemon = world.daemon()
    graph.until(lambda nodes: len(nodes) == 4, "the nodes of a service that has come back")
    if stop(bridge) != 0:
        fail("the bridge does not end with status 0")
    graph.until(lambda nodes: not nodes, "the nodes go with the bridge")
    print("pipewire: cameras and the service come and go: ok", flush=True)

    # Streams by request: the mask, and the source, which the configuration does not allow.
    bridge, said = world.bridge("--stream", "mask,source", "--camera", "main", "--size", "640x360")
    graph.until(lambda nodes: set(nodes) == {"portraitd.main.mask", "portraitd.main.source"}, "the nodes that were asked for")
    mask = Consumer(world, "portraitd.main.mask", "GRAY8")
    mask.frames.until(lambda frame: 0.01 < sum(value > 128 for value in frame) / len(frame) < 0.9, "a mask with somebody in it")
    mask.close()
    refused = Consumer(world, "portraitd.main.source")
    said.until(lambda line: "main (source)" in line and "allow_source" in line, "the bridge says why there is no source")
    graph.until(lambda nodes: "portraitd.main.source" not in nodes, "a refused stream leaves the list")
    refused.close()
    stop(bridge)
    print("pipewire: mask and source: ok", flush=True)


if __name__ == "__main__":
    main()
