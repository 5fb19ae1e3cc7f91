"""Runs the recipes of docs/recipes/README.md as they are printed there, against the service on a session bus, and looks at what
they make. `measure` instead prints what the ways out cost.

Usage: main.py recipes PIPE | measure [FRAMES], from the repository's root, with a session bus and the service on it."""

import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path.cwd()
PAGE = ROOT / "docs/recipes/README.md"
WAYS_IN = ROOT / "docs/recipes/in.md"
PROGRAM = ROOT / "target/release/portraitctl"
FRAMES = 45


def blocks(page):
    """The shell commands of a page."""
    return re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def probe(path):
    """Size, pixel format and frames of a video, which is decoded as a whole."""
    entries = "stream=codec_name,width,height,pix_fmt,nb_read_frames"
    command = ["ffprobe", "-v", "error", "-count_frames", "-of", "json", "-show_entries", entries, str(path)]
    [stream] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["streams"]
    return stream


def environment(work):
    """Where `portraitctl` uses our bus and ends by itself, and players need neither screen nor sound."""
    wrapper = work / "bin/portraitctl"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec "{PROGRAM}" --bus session --camera main "$@" --frames {FRAMES}\n')
    wrapper.chmod(0o755)
    (work / "mpv").mkdir()
    (work / "mpv/mpv.conf").write_text("vo=null\nao=null\n")
    return os.environ | {
        "PATH": f"{wrapper.parent}:{os.environ['PATH']}",
        "SDL_VIDEODRIVER": "dummy",
        "SDL_AUDIODRIVER": "dummy",
        "MPV_HOME": str(work / "mpv"),
    }


def listens(port):
    """Whether somebody listens at a TCP port of this machine."""
    lines = (line.split() for name in ("tcp", "tcp6") for line in pathlib.Path(f"/proc/net/{name}").read_text().splitlines()[1:])
    return any(int(line[1].split(":")[1], 16) == port and line[3] == "0A" for line in lines)


def recipes():
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        env = environment(work)
        for command in blocks(PAGE):
            program = re.search(r"\|\s*(\S+)", command)[1]
            url = re.search(r"rtsp://\S+", command)
            if shutil.which(program) is None:
                print(f"note: recipes: skipped {program}, which is not installed: {command.splitlines()[0][:60]}...")
                continue
            print("==", command.strip())
            receiver = None
            if url:
                receive = ["ffmpeg", "-nostdin", "-v", "error", "-rtsp_flags", "listen", "-i", url[0], "-c", "copy", "rtsp.mkv"]
                receiver = subprocess.Popen(receive, cwd=work)
                while not listens(int(re.search(r":(\d+)/", url[0])[1])):
                    assert receiver.poll() is None, "the receiver does not listen"
                    time.sleep(0.05)
            done = subprocess.run(
                ["bash", "-c", "set -o pipefail\n" + command], cwd=work, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
            if receiver:
                receiver.wait(60)
            assert done.returncode == 0, done.stderr
            summary = re.search(r"(\d+) pictures written, (\d+) of them repeated, (\d+) frames dropped", done.stderr)
            assert summary, done.stderr
            written, repeated, dropped = map(int, summary.groups())
            assert written - repeated + dropped == FRAMES, summary[0]
            name = "rtsp.mkv" if url else re.search(r"(\S+\.(?:mp4|mkv))\s*$", command)
            if not name:
                print(f"{program}: {summary[0]}")
                continue
            stream = probe(work / (name if url else name[1]))
            print(f"{program}: {summary[0]}; {stream}")
            assert (stream["width"], stream["height"]) == (1280, 720), stream
            # A receiver of RTSP does not get what its probing has consumed at the end.
            least = written // 2 if url else written
            assert least <= int(stream["nb_read_frames"]) <= written, stream


def ways_in(pipe):
    """A video file that ffmpeg writes to the pipe is a camera, twice. ffmpeg waits until somebody looks."""
    [command] = [command for command in blocks(WAYS_IN) if "talk.mp4" in command]
    assert "/run/camera.y4m" in command, command
    with tempfile.TemporaryDirectory() as folder:
        make = ["-f", "lavfi", "-i", "testsrc=size=320x180:rate=30:duration=60", "-c:v", "mpeg4", "talk.mp4"]
        subprocess.run(["ffmpeg", "-v", "error", *make], cwd=folder, check=True)
        for _ in range(2):
            writer = subprocess.Popen(
                ["bash", "-c", "exec " + command.replace("/run/camera.y4m", pipe)], cwd=folder, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            attach = [str(PROGRAM), "--bus", "session", "--camera", "pipe", "attach", "view", "--wait", "--frames", str(FRAMES), "--json"]
            summary = json.loads(subprocess.run(attach, capture_output=True, check=True, timeout=60).stdout.splitlines()[-1])
            assert summary["frames"] == FRAMES, summary
            # Nobody looks any more: ffmpeg has nobody to write to.
            text = writer.communicate(timeout=60)[1].decode(errors="replace")
            assert "Broken pipe" in text or writer.returncode < 0, text[-500:]
        print(f"ffmpeg: {FRAMES} frames by a named pipe, twice; it ended when nobody looked")


def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) - 1, len(values) * percent // 100)]


def measure_readers(frames):
    """The same for programs that read the ring themselves: portraitctl for Rust, and the Python package."""
    command = [str(PROGRAM), "--bus", "session", "--camera", "main", "attach", "view", "--frames", str(frames), "--verbose", "--json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    lines = [json.loads(line) for line in child.stdout][:-1]
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    latency = [(line["received_ns"] - line["capture_ns"]) / 1e6 for line in lines]
    report("the ring in Rust", usage, latency, len(lines))

    sys.path.insert(0, str(ROOT / "python/src"))
    sys.dont_write_bytecode = True
    import portraitd

    with portraitd.connect("session") as bus, bus.camera("main").attach("view") as view:
        before, latency = resource.getrusage(resource.RUSAGE_SELF), []
        for _ in range(frames):
            frame = next(view)
            latency.append((time.monotonic_ns() - frame.capture_ns) / 1e6)
        after = resource.getrusage(resource.RUSAGE_SELF)
    report("the ring in Python", after, latency, frames, before)


def report(what, usage, latency, pictures, before=None):
    spent = usage.ru_utime + usage.ru_stime - (before.ru_utime + before.ru_stime if before else 0)
    print(
        f"note: recipes: {what} at 720p: {1000 * spent / pictures:.2f} CPU ms a picture; capture to reader "
        f"p50 {percentile(latency, 50):.1f} ms, p99 {percentile(latency, 99):.1f} ms"
    )


def measure(frames):
    """CPU time of portraitctl for each frame, and from the capture stamp until the reader has the whole picture."""
    for option, picture in (("--raw", None), ("--y4m", b"FRAME\n"), ("--mjpeg", b"\xff\xd8\xff\xe0")):
        command = [str(PROGRAM), "--bus", "session", "--camera", "main", "attach", "view", option, "-", "--frames", str(frames), "--verbose", "--json"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(child.stderr))
        reader.start()
        out, arrived, total = child.stdout.fileno(), [], 0
        size = 1280 * 720 * 3 // 2 + (len(picture) if picture == b"FRAME\n" else 0)
        tail = b""
        while option == "--y4m" and os.read(out, 1) != b"\n":
            pass
        while data := os.read(out, 1 << 20):
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            if option == "--mjpeg":
                # The end of a picture.
                ends = (tail + data).count(b"\xff\xd9")
                tail = data[-1:]
                arrived.extend([now] * ends)
            else:
                before, total = total // size, total + len(data)
                arrived.extend([now] * (total // size - before))
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        reader.join()
        lines = [json.loads(line) for line in lines if line.startswith(b"{")]
        described, summary = lines[:-1], lines[-1]
        latency = []
        for place, line in enumerate(described):
            place = line.get("picture", place if option == "--raw" else None)
            if place is not None and place < len(arrived):
                latency.append((arrived[place] - line["capture_ns"]) / 1e6)
        report(option, usage, latency, summary.get("written", summary["frames"]))
        published = [(line["publish_ns"] - line["capture_ns"]) / 1e6 for line in described]
        print(
            f"note: recipes:     of which until it is published p50 {percentile(published, 50):.1f} ms, "
            f"p99 {percentile(published, 99):.1f} ms; {summary}"
        )


if sys.argv[1] == "measure":
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    measure_readers(count)
    measure(count)
else:
    recipes()
    ways_in(sys.argv[2])
