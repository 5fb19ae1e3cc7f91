"""What each way in and way out costs. `benches/doors/run` explains it.

Usage: doors.py --work FOLDER --json FILE [--seconds N] [--only NAME,...] [--write], from the repository's root, with a session bus."""

import argparse
import contextlib
import datetime
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path.cwd()
HERE = ROOT / "benches/doors"
PROGRAMS = ROOT / "target/release"
PLUGIN = ROOT / "target/gst/release"
MQTT = ROOT / "target/mqtt/release/portraitd-mqtt"
PAGE = ROOT / "docs/recipes/README.md"
WIDTH, HEIGHT, RATE = 1280, 720, 30
PICTURE = WIDTH * HEIGHT * 3 // 2
# Pictures that the providers repeat: a person walks for two seconds.
PICTURES = 60
# Whatever is waited for comes within this time on a busy machine.
PATIENCE_S = 60

sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "python/src"))
import portraitd  # noqa: E402
from portraitd import _names  # noqa: E402


class Absent(Exception):
    """Something is not installed, so a way is left out."""


class Unmeasured(Exception):
    """What there is in place of figures."""


def need(*programs):
    for program in programs:
        if shutil.which(str(program)) is None:
            raise Absent(f"no {pathlib.Path(program).name}")


def cpu_ns(pids):
    """The CPU time of processes, all their threads, in nanoseconds."""
    total = 0
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
            # A thread that ends meanwhile takes its time with it.
            with contextlib.suppress(OSError):
                total += int(task.read_text().split()[0])
    return total


def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) - 1, len(values) * percent // 100)]


class World:
    """The service, and the programs that are measured beside it."""

    def __init__(self, work):
        self.work, self.running = work, []
        self.pipe = work / "camera.y4m"
        os.mkfifo(self.pipe)
        cameras = {"main": "scene:walk", "door": "provider", "pipe": f"file:{self.pipe}"}
        size = f"width = {WIDTH}\nheight = {HEIGHT}\nfps = {RATE}\nidle_close_s = 0.5\n"
        configuration = work / "portraitd.toml"
        configuration.write_text("".join(f'[[camera]]\nname = "{name}"\ndevice = "{device}"\n{size}' for name, device in cameras.items()))
        self.environment = os.environ | {
            "PYTHONPATH": str(ROOT / "python/src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "GST_PLUGIN_PATH": str(PLUGIN),
            "GST_REGISTRY": str(work / "registry"),
        }
        daemon = subprocess.Popen([PROGRAMS / "portraitd", "run", "--config", configuration, "--bus", "session", "--log", "warn"])
        self.daemon = daemon
        subprocess.run(["gdbus", "wait", "--session", "--timeout", "60", "org.portraitd"], check=True)
        self.bus = portraitd.connect("session")

    def ctl(self, *arguments):
        return [str(PROGRAMS / "portraitctl"), "--bus", "session", *map(str, arguments)]

    def start(self, command, **more):
        process = subprocess.Popen([str(part) for part in command], env=self.environment, **more)
        self.running.append(process)
        return process

    def stop(self):
        """Ends what was started since the last time, and waits until nobody uses a camera."""
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    with contextlib.suppress(OSError):
                        stream.close()
        self.running = []
        end = time.monotonic() + PATIENCE_S
        for name in ("main", "door", "pipe"):
            while self.bus.camera(name).get("Camera1", "Consumers") and time.monotonic() < end:
                time.sleep(0.05)

    def close(self):
        self.stop()
        self.daemon.kill()
        self.daemon.wait()


class Arrivals:
    """When each picture was captured and when it was there, as (capture_ns, arrival_ns)."""

    def __init__(self):
        self.pairs = []

    def lines(self, stream, parse=lambda line: tuple(map(int, line.split()))):
        """Takes a line for each picture, on a thread."""

        def read():
            for line in stream:
                pair = parse(line)
                if pair:
                    self.pairs.append(pair)

        threading.Thread(target=read, daemon=True).start()
        return self

    @staticmethod
    def of_json(line):
        """What `portraitctl attach --verbose --json` says."""
        if b"received_ns" not in line:
            return None
        line = json.loads(line)
        return line["capture_ns"], line["received_ns"]


def ring_in_rust(world, camera="main"):
    reader = world.start(world.ctl("--camera", camera, "attach", "view", "--wait", "--verbose", "--json"), stdout=subprocess.PIPE)
    return [reader], Arrivals().lines(reader.stdout, Arrivals.of_json)


def ring_in_c(world):
    need("cc")
    reply = world.bus.call(*_names.attach(world.bus.camera("main").path, "view", {}))
    memory, event = reply[:2]

    def descriptors():
        # High ones first: 3 and 4 may be among ours.
        high = [os.dup2(fd, 60 + i) for i, fd in enumerate((memory, event))]
        for target, fd in zip((3, 4), high):
            os.dup2(fd, target, inheritable=True)

    reader = world.start([world.work / "door", "reader"], stdout=subprocess.PIPE, preexec_fn=descriptors, close_fds=False)
    os.close(memory)
    os.close(event)
    return [reader], Arrivals().lines(reader.stdout)


def ring_in_python(world):
    reader = world.start([sys.executable, HERE / "client.py", "reader"], stdout=subprocess.PIPE)
    return [reader], Arrivals().lines(reader.stdout)


def gstreamer(world, pipeline):
    if not (PLUGIN / "libgstportraitd.so").exists():
        raise Absent("the GStreamer elements are not built: libgstreamer1.0-dev, libgstreamer-plugins-base1.0-dev")
    if subprocess.run(["/usr/bin/python3", "-c", "import gi"], stderr=subprocess.DEVNULL).returncode:
        raise Absent("no python3-gi")
    return world.start(["/usr/bin/python3", HERE / "gstreamer.py", pipeline], stdout=subprocess.PIPE)


def gstreamer_out(world):
    reader = gstreamer(world, "portraitdsrc bus=session camera=main ! fakesink name=reader sync=false")
    return [reader], Arrivals().lines(reader.stdout)


class Pipe(Arrivals):
    """Matches the pictures that come out of a pipe with what `portraitctl --verbose` says about them."""

    def __init__(self, writer):
        super().__init__()
        self.captured, self.arrived = {}, {}
        self.written, self.lock = 0, threading.Lock()
        threading.Thread(target=self._listen, args=(writer.stderr,), daemon=True).start()

    def _listen(self, stream):
        for line in stream:
            if b"capture_ns" in line:
                line = json.loads(line)
                # `--raw` writes each frame once.
                self._take(self.captured, line.get("picture", len(self.captured)), line["capture_ns"])

    def picture(self):
        """One more picture has come whole."""
        self._take(self.arrived, self.written, time.monotonic_ns())
        self.written += 1

    def _take(self, notes, number, ns):
        with self.lock:
            notes[number] = ns
            if number in self.captured and number in self.arrived:
                self.pairs.append((self.captured[number], self.arrived[number]))

    def read(self, stream, picture_bytes):
        """Reads pictures of this size, or JPEG pictures if it is None, on a thread."""

        def run():
            fd, total, tail = stream.fileno(), 0, b""
            if picture_bytes and picture_bytes != PICTURE:
                while os.read(fd, 1) not in (b"\n", b""):
                    pass
            while data := os.read(fd, 1 << 20):
                if picture_bytes is None:
                    count = (tail + data).count(b"\xff\xd9")
                    tail = data[-1:]
                else:
                    count = (total + len(data)) // picture_bytes - total // picture_bytes
                    total += len(data)
                for _ in range(count):
                    self.picture()

        threading.Thread(target=run, daemon=True).start()
        return self


def piped(option, picture_bytes):
    def start(world):
        command = world.ctl("--camera", "main", "attach", "view", option, "-", "--verbose", "--json")
        writer = world.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        return [writer], Pipe(writer).read(writer.stdout, picture_bytes)

    return start


def ffmpeg_out(world):
    need("ffmpeg")
    writer = world.start(
        world.ctl("--camera", "main", "attach", "view", "--y4m", "-", "--verbose", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    # A line for each frame that comes out of the decoder.
    says = "metadata=mode=add:key=door:value=1,metadata=mode=print:file=-:direct=1"
    quick = ["-fflags", "nobuffer", "-probesize", "32", "-analyzeduration", "0"]
    command = ["ffmpeg", "-nostdin", "-v", "error", *quick, "-f", "yuv4mpegpipe", "-i", "-", "-vf", says, "-vsync", "passthrough", "-f", "null", "-"]
    reader = world.start(command, stdin=writer.stdout, stdout=subprocess.PIPE)
    writer.stdout.close()
    arrivals = Pipe(writer)

    def read():
        for line in reader.stdout:
            if line.startswith(b"frame:"):
                arrivals.picture()

    threading.Thread(target=read, daemon=True).start()
    return [writer, reader], arrivals


def preview(world):
    server = world.start(world.ctl("preview", "--listen", "127.0.0.1:0"), stdout=subprocess.PIPE)
    address, port, token = re.match(rb"http://([\d.]+):(\d+)/#(\w+)", server.stdout.readline()).groups()
    arrivals = Arrivals()

    def look():
        # The connection of a browser lives for two minutes at most.
        connection, after = http.client.HTTPConnection(address.decode(), int(port)), 0
        with contextlib.suppress(OSError, http.client.HTTPException):
            while True:
                connection.request("GET", f"/api/camera/main/frame/view/{after}", headers={"Authorization": f"Bearer {token.decode()}"})
                response = connection.getresponse()
                begun = time.monotonic_ns()
                response.read()
                if response.status != 200:
                    continue
                facts = json.loads(response.getheader("portraitd-frame"))
                after = facts["number"]
                arrivals.pairs.append((begun - int(facts["age_ms"] * 1e6), time.monotonic_ns()))

    threading.Thread(target=look, daemon=True).start()
    return [server], arrivals


def mqtt(world):
    need("mosquitto")
    if not MQTT.exists():
        raise Absent("the bridge is not built")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (world.work / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_type error\n")
    world.start(["mosquitto", "-c", world.work / "mosquitto.conf"], stderr=subprocess.DEVNULL)
    (world.work / "mqtt.toml").write_text(f'broker = "mqtt://127.0.0.1:{port}"\nbus = "session"\ntopic = "doors"\npresence = "always"\n')
    return [world.start([MQTT, "--config", world.work / "mqtt.toml"], stderr=subprocess.DEVNULL)], None


def loopback(_):
    nodes = pathlib.Path("/sys/class/video4linux").glob("*/name")
    found = any("loopback" in node.read_text().lower() for node in nodes)
    raise Absent("a v4l2loopback node is left out" if found else "this kernel has no v4l2loopback")


def unmeasured(text):
    """A way whose costs this program does not measure."""

    def start(_):
        raise Unmeasured(text)

    return start


def provided(provider, camera="door"):
    """A way in: what it costs until a reader in Rust has the view."""

    def start(world):
        processes = provider(world)
        return processes, ring_in_rust(world, camera)[1]

    return start


def provider_in_rust(world):
    return [world.start(world.ctl("--camera", "door", "provide", "--repeat", world.work / "walk.y4m", "--quiet"))]


def provider_in_c(world):
    need("cc")
    memory = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    ours, theirs = socket.socketpair()

    def descriptors():
        high = [os.dup2(fd, 60 + i) for i, fd in enumerate((memory, theirs.fileno()))]
        for target, fd in zip((3, 4), high):
            os.dup2(fd, target, inheritable=True)

    command = [world.work / "door", "provider", WIDTH, HEIGHT, world.work / "walk.yuv"]
    process = world.start(command, stdout=subprocess.PIPE, preexec_fn=descriptors, close_fds=False)
    theirs.close()
    assert process.stdout.readline() == b"ready\n", "the provider in C does not start"
    fds = world.bus.call(*_names.offer(world.bus.camera("door").path, memory, RATE))
    socket.send_fds(ours, [b"x"], fds)
    for fd in [memory, *fds]:
        os.close(fd)
    ours.close()
    return [process]


def provider_in_python(world):
    return [world.start([sys.executable, HERE / "client.py", "provider", world.work / "walk.yuv"])]


def gstreamer_in(world):
    for number in range(PICTURES):
        with open(world.work / "walk.yuv", "rb") as pictures:
            pictures.seek(number * PICTURE)
            (world.work / f"{number:02}.yuv").write_bytes(pictures.read(PICTURE))
    caps = f"video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={RATE}/1"
    source = f"multifilesrc location={world.work}/%02d.yuv stop-index={PICTURES - 1} loop=true caps={caps}"
    return [gstreamer(world, f"{source} ! portraitdsink bus=session camera=door sync=true")]


def y4m_in(world):
    need("ffmpeg")
    quick = ["-nostdin", "-v", "quiet", "-re", "-stream_loop", "-1"]
    return [world.start(["ffmpeg", *quick, "-i", world.work / "walk.y4m", "-f", "yuv4mpegpipe", "-y", world.pipe])]


# name, way, how, tried by, what starts it
OUT = [
    ("ring-rust", "a program of your own, in Rust", "`portraitctl attach view`, [`portraitd_client`](../../README.md#as-a-client)", "session", ring_in_rust),
    ("ring-c", "... in C", "[`portraitd.h`](../../README.md#as-a-client)", "test", ring_in_c),
    ("ring-python", "... in Python", "[`portraitd`](../../python/README.md)", "python", ring_in_python),
    ("gstreamer-out", "GStreamer", "[`portraitdsrc ! fakesink`](gstreamer.md)", "gstreamer", gstreamer_out),
    ("raw", "any program: raw planes", "[`portraitctl attach view --raw -`](#pipes)", "recipes", piped("--raw", PICTURE)),
    ("y4m-out", "any program: y4m", "[`portraitctl attach view --y4m -`](#pipes)", "recipes", piped("--y4m", PICTURE + len(b"FRAME\n"))),
    ("ffmpeg", "ffmpeg: video files, RTSP", "[`portraitctl attach view --y4m - \\| ffmpeg -f yuv4mpegpipe -i - ...`](#a-video-file)", "recipes", ffmpeg_out),
    ("rtsp", "RTSP", "[y4m, ffmpeg and a server](#rtsp)", "recipes", unmeasured("those of ffmpeg and its encoder")),
    ("window", "window on the screen", "[y4m and ffplay or mpv](#a-window)", "recipes", unmeasured("those of y4m and the player")),
    ("mjpeg", "go2rtc, any program: JPEG", "[`portraitctl attach view --mjpeg -`](#pipes)", "recipes", piped("--mjpeg", None)),
    ("preview", "browser", "[`portraitctl preview`](#a-browser)", "preview", preview),
    ("webrtc", "WebRTC", "[MediaMTX, go2rtc, `webrtcbin`](#webrtc)", "recipes", unmeasured("those of the pipe and its encoder")),
    ("pipewire", "PipeWire: browsers, OBS, GNOME", "[`portraitd-pipewire`](pipewire.md)", "pipewire", unmeasured("not measured yet")),
    ("mqtt", "MQTT, Home Assistant: presence, no pictures", "[`portraitd-mqtt`](../fleet.md#mqtt-and-home-assistant)", "mqtt", mqtt),
    ("webcam", "a program that expects a webcam", "[`[[camera.output]]`](#obs-and-other-programs-for-webcams)", "vm", loopback),
]
IN = [
    ("provide-rust", "a program of your own, in Rust", "`portraitctl provide`, [`portraitd_client::provide`](../design/provider.md)", "test", provided(provider_in_rust)),
    ("provide-c", "... in C", "[`portraitd_offer_open`](../design/provider.md)", "test", provided(provider_in_c)),
    ("provide-python", "... in Python", "[`camera.provide`](../../python/README.md)", "python", provided(provider_in_python)),
    ("gstreamer-in", "GStreamer", "[`... ! portraitdsink`](gstreamer.md#frames-into-the-service)", "gstreamer", provided(gstreamer_in)),
    ("y4m-in", "any program: y4m on a named pipe", "[`ffmpeg ... -f yuv4mpegpipe -y PIPE`](in.md#the-pipe)", "recipes", provided(y4m_in, "pipe")),
]


def make_pictures(world):
    """What the providers show: the synthetic person, as y4m and as bare planes."""
    path = world.work / "walk.y4m"
    command = world.ctl("--camera", "main", "attach", "view", "--y4m", path, "--frames", PICTURES, "--quiet")
    subprocess.run(command, check=True, env=world.environment)
    video = path.read_bytes()
    start = video.index(b"\n") + 1
    with open(world.work / "walk.yuv", "wb") as planes:
        for at in range(start, len(video) - PICTURE, PICTURE + len(b"FRAME\n")):
            planes.write(video[at + len(b"FRAME\n") : at + len(b"FRAME\n") + PICTURE])


def measure(world, start, seconds):
    """The row of a way: milliseconds of CPU time for a frame, and of latency."""
    processes, arrivals = start(world)
    end = time.monotonic() + PATIENCE_S
    # The first pictures pay for the start.
    while arrivals is not None and len(arrivals.pairs) < RATE:
        for process in processes:
            assert process.poll() is None, f"{process.args} has ended with {process.returncode}"
        assert time.monotonic() < end, f"{processes[0].args}: no pictures"
        time.sleep(0.05)
    if arrivals is None:
        time.sleep(1.5)
    pids = [process.pid for process in processes]
    begun_ns, daemon, door = time.monotonic_ns(), cpu_ns([world.daemon.pid]), cpu_ns(pids)
    time.sleep(seconds)
    ended_ns, daemon, door = time.monotonic_ns(), cpu_ns([world.daemon.pid]) - daemon, cpu_ns(pids) - door
    frames = (ended_ns - begun_ns) / 1e9 * RATE
    row = {"seconds": (ended_ns - begun_ns) / 1e9, "service_cpu_ms": daemon / frames / 1e6, "program_cpu_ms": door / frames / 1e6}
    if arrivals is not None:
        latency = [(arrived - captured) / 1e6 for captured, arrived in list(arrivals.pairs) if begun_ns <= arrived <= ended_ns]
        # Of the pictures that it has had: a program that repeats or drops pictures is paid for those.
        row |= {
            "pictures": len(latency),
            "program_cpu_ms": door / len(latency) / 1e6,
            "latency_p50_ms": percentile(latency, 50),
            "latency_p99_ms": percentile(latency, 99),
        }
    return row


def table(title, ways, rows):
    yield f"| {title} | how | tried by | CPU, service | CPU, program | latency, median | 99 % |"
    yield "|---|---|---|---:|---:|---:|---:|"
    for name, way, how, stage, _ in ways:
        row = rows.get(name)
        if row is None:
            continue
        cells = [f"{row[key]:.{digits}f} ms" if key in row else "-" for key, digits in
                 (("service_cpu_ms", 1), ("program_cpu_ms", 2), ("latency_p50_ms", 1), ("latency_p99_ms", 1))]
        if "text" in row:
            cells[0] = row["text"]
        yield f"| {way} | {how} | `tests/run {stage}` | " + " | ".join(cells) + " |"


def processor():
    found = re.search(r"^model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else os.uname().machine


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--json", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--only", default="")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    only = set(filter(None, arguments.only.split(",")))
    unknown = only - {way[0] for way in OUT + IN}
    if unknown:
        parser.error(f"unknown ways: {', '.join(sorted(unknown))}; there are {', '.join(way[0] for way in OUT + IN)}")
    world, rows, loads = World(arguments.work), {}, []
    try:
        make_pictures(world)
        for name, _, _, _, start in OUT + IN:
            if only and name not in only:
                continue
            try:
                rows[name] = measure(world, start, arguments.seconds)
            except Unmeasured as text:
                rows[name] = {"text": str(text)}
                continue
            except Absent as reason:
                rows[name] = {"text": f"left out: {reason}"}
                print(f"note: doors: skipped {name}: {reason}", file=sys.stderr)
            finally:
                world.stop()
            loads.append(os.getloadavg()[0])
            print(f"{name}: {rows[name]}", file=sys.stderr)
    finally:
        world.close()
    load = sum(loads) / len(loads)
    day = datetime.date.today().isoformat()
    facts = {"date": day, "processor": processor(), "cores": os.cpu_count(), "load_average": load, "size": [WIDTH, HEIGHT], "rate": RATE}
    arguments.json.write_text(json.dumps(facts | {"ways": rows}, indent=2) + "\n")
    note = f"Measured by `benches/doors/run` on {day}: {os.cpu_count()} cores ({processor()}), load average {load:.1f}, {arguments.seconds:g} s each."
    text = "\n".join([*table("way out", OUT, rows), "", *table("way in", IN, rows), "", note])
    print(text)
    if arguments.write:
        page = PAGE.read_text()
        marks = r"(?<=<!-- benches/doors/run --write -->\n)(.*?)(?=<!-- end -->\n)"
        assert re.search(marks, page, re.DOTALL), f"{PAGE} has no place for the table"
        PAGE.write_text(re.sub(marks, lambda _: text + "\n", page, flags=re.DOTALL))


main()
