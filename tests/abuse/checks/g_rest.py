"""G: the rest of what was found, from outside: shutdown, files and models that are not what they should be."""

import hashlib
import os
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import onnx
from checks import check, expect_error
from wire import CAMERA, SERVICE, CallError
from world import REPOSITORY, WORK, bob, carol, dave, frank, portraitd, require, until


def command(context, arguments, timeout=30, variables=None, files=()):
    """Runs the program as the service's user; returns (exit status, text, seconds)."""
    begun = time.monotonic()
    try:
        done = subprocess.run([WORK / "portraitd", *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout,
                              user=portraitd.uid, group=portraitd.gid, extra_groups=[], cwd="/",
                              env={"PATH": "/usr/bin:/bin", **(variables or {})})
    except subprocess.TimeoutExpired:
        return None, f"not within {timeout} s", timeout
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace"), time.monotonic() - begun


def open_writer(fifo):
    """A descriptor to write to the pipe; None while nobody has it open for reading."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


@check("G1", "SIGTERM while a source is stuck in open()")
def stuck_source(context):
    fifo = WORK / "stuck.y4m"
    fifo.unlink(missing_ok=True)
    os.mkfifo(fifo, 0o644)
    daemon = context.daemon(source=f"file:{fifo}")
    bus = context.bus(bob)
    serial = bus.send(SERVICE, CAMERA, "org.portraitd.Camera1", "Attach", "sa{sv}", "mask", {})
    until(lambda: bus.poll(0.05) or bus.get("Camera1", "State") != "idle", "the source is opened")
    # A writer that does not finish its header.
    tries = []
    until(lambda: tries.append(open_writer(fifo)) or tries[-1] is not None, "the source has opened the pipe")
    writer = tries[-1]
    os.write(writer, b"YUV4MPEG2 W640 ")
    require(bus.get("Camera1", "State") in ("starting", "absent", "failed"), "the camera waits for the header")
    took = daemon.stop()
    require(took <= 3 and "left behind" not in daemon.log_text(), f"it took {took:.1f} s: {daemon.log_text()[-300:]}")
    os.close(writer)
    return f"ended after {took:.1f} s"


@check("G2", "hostile models: truncated, bytes changed, endless; at the start and by the property")
def hostile_models(context):
    numbers = random.Random(13)
    folder = WORK / "hostile"
    folder.mkdir(exist_ok=True)
    net, manifest = (WORK / "models/selfie-landscape.onnx").read_bytes(), (WORK / "models/selfie-landscape.toml").read_text()
    cases = {"empty": b"", "half": net[: len(net) // 2], "zeros": bytes(1 << 20), "random": numbers.randbytes(1 << 16),
             "nested": b"\x3a" + b"\xff\xff\xff\xff\x07" * 1000}
    cases |= onnx.hostile()
    for number in range(40 if context.long else 12):
        damaged = bytearray(net)
        for _ in range(numbers.choice([1, 8, 200])):
            damaged[numbers.randrange(len(damaged) if number % 2 else 4000)] = numbers.randrange(256)
        cases[f"bytes{number}"] = bytes(damaged)
    slowest, loaded, refused, wrong = (0.0, ""), 0, 0, []
    for name, data in cases.items():
        (folder / f"{name}.onnx").write_bytes(data)
        text = re.sub(r"^(name|file) = .*$", lambda key: f'{key[1]} = "{name}{".onnx" * (key[1] == "file")}"', manifest, flags=re.M)
        (folder / f"{name}.toml").write_text(re.sub(r"^sha256 = .*$", f'sha256 = "{hashlib.sha256(data).hexdigest()}"', text, flags=re.M))
        for source in (WORK / "models").glob("*.md"):
            shutil.copy(source, folder)
        config = WORK / "hostile.toml"
        config.write_text(f'models_dir = "{folder}"\nbus = "none"\n[[camera]]\nname = "main"\n[camera.segmentation]\nmodel = "{name}"\n')
        begun = time.monotonic()
        process = subprocess.Popen([WORK / "portraitd", "run", "--config", config, "--source", "scene:walk", "--log", "info"],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   user=portraitd.uid, group=portraitd.gid, extra_groups=[], cwd="/", env={"PATH": "/usr/bin:/bin"})
        os.set_blocking(process.stdout.fileno(), False)
        text = b""
        while process.poll() is None and b"ready cameras" not in text and time.monotonic() - begun < 20:
            text += process.stdout.read() or b""
            time.sleep(0.005)
        took = time.monotonic() - begun
        slowest = max(slowest, (took, name))
        if process.poll() is None:
            if b"ready cameras" not in text:
                wrong.append(f"{name}: neither ready nor refused after {took:.0f} s")
            process.kill()
            process.wait()
            loaded += 1
        else:
            text += process.stdout.read() or b""
            lines = text.decode(errors="replace").splitlines()
            if process.returncode != 1 or any("panicked" in line for line in lines):
                wrong.append(f"{name}: exit status {process.returncode}: {' | '.join(lines)[-200:]}")
            refused += 1
        process.stdout.close()
    require(not wrong, f"{len(wrong)} of {len(cases)}: {'; '.join(wrong)}")
    return f"{len(cases)} models, {refused} refused, {loaded} loaded, slowest {slowest[0]:.1f} s ({slowest[1]})"


@check("G3", "configurations without end: a FIFO, /dev/zero, 10,000 cameras, 3,000 variables", polkit=False)
def endless_configuration(context):
    fifo, many = WORK / "fifo.toml", WORK / "many.toml"
    fifo.unlink(missing_ok=True)
    os.mkfifo(fifo, 0o644)
    many.write_text("".join(f'[[camera]]\nname = "c{number}"\ndevice = "/dev/video{number}"\n' for number in range(10_000)))
    variables = {f"PORTRAITD_CAMERA__C{number}__FRAMING__MAX_ZOOM": "1.5" for number in range(3_000)}
    (WORK / "empty.toml").write_text("")
    figures = []
    for what, file, more in (("a FIFO", fifo, {}), ("/dev/zero", "/dev/zero", {}), ("a folder", WORK, {}), ("10,000 cameras", many, {}),
                             ("3,000 variables", WORK / "empty.toml", variables)):
        status, text, took = command(context, ["check-config", "--config", file], 10, more)
        require(status == 1 and "panicked" not in text, f"{what}: exit status {status}: {text[-200:]}")
        figures.append(f"{what} {took:.1f} s")
    return ", ".join(figures)


@check("G4", "a metrics file whose name, or whose temporary name, is a link", polkit=False)
def metrics_link(context):
    folder = WORK / "metrics"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    victim = WORK / "own/victim"
    victim.write_text("precious\n")
    os.chown(victim, portraitd.uid, portraitd.gid)
    victim.chmod(0o600)
    target = folder / "portraitd.prom"
    daemon = context.daemon(f'metrics_file = "{target}"\n', wait=False)
    # The name is known as soon as the process is: everybody may write to this folder.
    for name in (f".portraitd.prom.{daemon.pid}.new", "portraitd.prom.new", ".portraitd.prom.new", "portraitd.prom.tmp"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(victim)
    until(lambda: target.exists() or "metrics" in daemon.log_text(), "the metrics", 15)
    time.sleep(0)
    mode = victim.stat().st_mode & 0o777
    require(victim.read_text() == "precious\n" and mode == 0o600, f"the link's target was overwritten, its mode is {mode:o}")
    if target.exists():
        text = target.read_text()
        told = [line for line in text.splitlines() if not line.startswith("#") and any(word in line for word in ("present", "people", "person", "crop"))]
        require(not told, f"metrics that everybody reads say who is there: {told[:3]}")
    return "the target is untouched"


@check("G5", "a background image from a pipe that stays silent")
def silent_pipe(context):
    context.daemon()
    reader, writer = os.pipe()
    silent, other = context.bus(carol), context.bus(frank)
    serial = silent.send(SERVICE, CAMERA, "org.portraitd.Background1", "SetImage", "h", 0, fds=[reader])
    begun = time.monotonic()
    picture = os.memfd_create("picture")
    os.write(picture, (REPOSITORY / "tests/fixtures/models/red.png").read_bytes())
    while True:
        try:
            other.camera("SetImage", "h", 0, interface="Background1", fds=[picture])
            break
        except CallError as error:
            require(error.short == "Busy" and time.monotonic() - begun < 5, f"another user's image after {time.monotonic() - begun:.1f} s: {error}")
    took = time.monotonic() - begun
    for fd in (reader, writer, picture):
        os.close(fd)
    try:
        silent.wait(serial)
    except CallError:
        pass
    return f"another user's image is set after {took:.2f} s"


@check("G6", "the position of a ring's descriptor belongs to one client")
def file_offset(context):
    from ring import raw_attach
    context.daemon()
    fds = []
    bus = context.bus(bob)
    for client in (bus, bus, context.bus(dave)):
        fds.append(raw_attach(client, "mask"))
    os.lseek(fds[0][0], 12345, os.SEEK_SET)
    positions = [os.lseek(memory, 0, os.SEEK_CUR) for memory, _ in fds[1:]]
    for pair in fds:
        for fd in pair:
            os.close(fd)
    require(positions == [0, 0], f"the others' positions are {positions}")


@check("G7", "memory of the service is not readable by its own user, and rings are left out of core dumps")
def dumps(context):
    daemon = context.daemon()
    ring = context.attach(context.bus(bob), "view")
    ring.wait(2)
    owner = os.stat(f"/proc/{daemon.pid}/environ").st_uid
    require(owner == 0, "the process is dumpable: /proc/PID belongs to its user")
    flags, inside, maps = None, False, 0
    for line in Path(f"/proc/{daemon.pid}/smaps").read_text().splitlines():
        if "-" in line.split()[0] and ":" not in line.split()[0]:
            inside = "/memfd:" in line
        elif inside and line.startswith("VmFlags:"):
            maps += 1
            require("dd" in line.split(), "a ring would be in a core dump")
    require(maps > 0, "no ring is mapped")
    return f"{maps} rings"
