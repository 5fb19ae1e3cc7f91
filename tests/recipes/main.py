"""Runs the recipes of docs/recipes/README.md as they are printed there, against the service on a session bus, and looks at what
they make.

Usage: main.py PIPE, from the repository's root, with a session bus and the service on it."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
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


def webrtc():
    """A view goes by WebRTC to another peer, which decodes it: the command of the page, without the plugin."""
    program, [command] = ROOT / "bridges/gstreamer/tests/webrtc.py", re.findall(r"^  \$ (portraitctl .*webrtc\.py .*)$", PAGE.read_text(), re.MULTILINE)
    if subprocess.run(["/usr/bin/python3", program, "--check"]).returncode:
        print("note: recipes: skipped WebRTC")
        return
    with tempfile.TemporaryDirectory() as folder:
        # It ends when the pictures have come, and not after some frames.
        wrapper = pathlib.Path(folder) / "portraitctl"
        wrapper.write_text(f'#!/bin/sh\nexec "{PROGRAM}" --bus session --camera main "$@"\n')
        wrapper.chmod(0o755)
        env = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
        subprocess.run(["bash", "-c", command.replace("python3 ", "/usr/bin/python3 ")], env=env, check=True, timeout=120)


recipes()
ways_in(sys.argv[1])
webrtc()
