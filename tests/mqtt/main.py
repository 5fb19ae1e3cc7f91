"""The MQTT bridge with Debian's mosquitto: what is published, commands, and each of the three programs ends and comes back.

Everything awaits messages of the broker, and each wait has a limit of its own.
"""

import argparse
import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

PATIENCE = 60
TOPIC = "portraitd/board"
ALL = f"{TOPIC}/#"


def fail(text):
    raise SystemExit(f"mqtt: {text}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """mosquitto on a port of the loopback; it can be stopped and started again."""

    def __init__(self, folder, name, extra=""):
        self.port, self.folder, self.process = free_port(), folder, None
        self.path = folder / f"{name}.conf"
        self.path.write_text(f"listener {self.port} 127.0.0.1\n{extra}log_type error\nuser root\n")

    def start(self):
        self.process = subprocess.Popen(["mosquitto", "-c", str(self.path)], stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            if time.monotonic() > end or self.process.poll() is not None:
                fail("mosquitto does not start")
            time.sleep(0.05)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Subscriber:
    """The messages of a topic, in order; `held` is the newest of each topic."""

    def __init__(self, port, topic=ALL, arguments=()):
        self.messages, self.held = queue.Queue(), {}
        command = ["mosquitto_sub", "-h", "localhost", "-p", str(port), "-t", topic, "-F", "%r %t %p", "-i", f"test-{os.getpid()}-{id(self)}", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            retained, topic, payload = (line.rstrip("\n").split(" ", 2) + [""])[:3]
            self.messages.put((topic, payload, retained == "1"))

    def until(self, condition, what):
        """Waits for a message after which `condition(held, topic, payload)` is true."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                topic, payload, _ = self.messages.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                fail(f"{what}: it did not come within {PATIENCE} s; held: {self.held}")
            self.held[topic] = payload
            if condition(self.held, topic, payload):
                return payload

    def until_held(self, rest, payload, what=None):
        if self.held.get(f"{TOPIC}/{rest}") == payload:
            return payload
        return self.until(lambda held, *_: held.get(f"{TOPIC}/{rest}") == payload, what or f"{rest} = {payload}")

    def close(self):
        self.process.kill()
        self.process.wait()


def publish(port, topic, payload, *arguments):
    subprocess.run(["mosquitto_pub", "-h", "localhost", "-p", str(port), "-t", topic, "-m", payload, *arguments], check=True, timeout=PATIENCE)


class World:
    def __init__(self, arguments, folder):
        self.arguments, self.folder, self.processes = arguments, folder, []
        self.daemon_config = folder / "portraitd.toml"
        self.cameras("main")

    def cameras(self, *names):
        self.daemon_config.write_text("".join(
            f'[[camera]]\nname = "{name}"\ndevice = "scene:walk"\nidle_close_s = 0.5\n' for name in names))

    def start(self, *command, **more):
        process = subprocess.Popen([str(part) for part in command], **more)
        self.processes.append(process)
        return process

    def daemon(self):
        process = self.start(Path(self.arguments.programs) / "portraitd", "run", "--bus", "session", "--config", self.daemon_config, "--log", "warn")
        subprocess.run(["gdbus", "wait", "--session", "--timeout", "30", "org.portraitd"], check=True)
        return process

    def config(self, port, name="mqtt", topic=TOPIC, broker="mqtt://127.0.0.1", **keys):
        keys = {"broker": f"{broker}:{port}", "bus": "session", "topic": topic, "client_id": f"board-{name}", **keys}
        path = self.folder / f"{name}.toml"
        path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()))
        return path

    def bridge(self, path, **more):
        return self.start(self.arguments.bridge, "--config", path, **more)

    def control(self, *arguments):
        return subprocess.run([str(Path(self.arguments.programs) / "portraitctl"), "--bus", "session", *arguments],
                              check=True, capture_output=True, text=True, timeout=PATIENCE).stdout

    def end(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def stop(process, sent=signal.SIGTERM):
    process.send_signal(sent)
    return process.wait(timeout=PATIENCE)


def test_everything(world):
    broker = Broker(world.folder, "plain", "allow_anonymous true\n")
    broker.start()
    subscriber = Subscriber(broker.port)
    path = world.config(broker.port, commands=["reframe", "mode", "private"], home_assistant="homeassistant", interval_s=5)
    discovery = Subscriber(broker.port, "homeassistant/#")

    # The bridge is there before the service.
    bridge = world.bridge(path)
    subscriber.until_held("availability", "online")
    subscriber.until(lambda held, *_: json.loads(held.get(f"{TOPIC}/service", "{}")).get("running") is False, "no service yet")
    daemon = world.daemon()
    subscriber.until(lambda held, *_: json.loads(held.get(f"{TOPIC}/service", "{}")).get("running") is True, "the service")
    subscriber.until_held("main/state", "idle")
    if subscriber.held[f"{TOPIC}/main/present"] != "None":
        fail("a camera that is off knows who is present")
    discovery.until(lambda held, topic, _: topic.endswith("/mode/config"), "the discovery of the framing mode")
    discovery.until(lambda held, topic, _: topic.endswith("/people/config"), "the discovery of the people")
    for topic, payload in discovery.held.items():
        json.loads(payload)
    discovery.close()
    print("mqtt: topics and discovery, with the bridge before the service: ok")

    # Somebody looks: presence and people are known.
    looker = world.start(Path(world.arguments.programs) / "portraitctl", "--bus", "session", "attach", "mask", "--quiet", stdout=subprocess.DEVNULL)
    subscriber.until_held("main/state", "running")
    subscriber.until_held("main/present", "ON")
    subscriber.until(lambda held, *_: json.loads(held.get(f"{TOPIC}/main/people", "{}")).get("count", 0) >= 1, "people are counted")
    if "boxes" in subscriber.held[f"{TOPIC}/main/people"]:
        fail("places of people are published without being asked for")
    stop(looker)
    subscriber.until_held("main/present", "None", "nobody looks any more")
    print("mqtt: presence and people while somebody looks: ok")

    # Commands.
    def answer(command, payload, *arguments):
        publish(broker.port, f"{TOPIC}/main/set/{command}", payload, *arguments)
        result = json.loads(subscriber.until(lambda held, topic, _: topic == f"{TOPIC}/main/result", f"the answer to {command}"))
        return result["ok"], result["error"]

    if answer("mode", "auto")[0] or not answer("mode", "off")[0]:
        fail("a mode that there is not, or one that there is")
    subscriber.until(lambda held, *_: json.loads(held[f"{TOPIC}/main/framing"])["mode"] == "off", "the mode is published")
    if answer("reframe", "PRESS")[0]:
        fail("what the service refuses is reported as done")
    if not answer("mode", "follow")[0] or not answer("reframe", "PRESS")[0] or not answer("private", "ON")[0]:
        fail("mode, reframe or private is refused")
    subscriber.until_held("main/private", "ON")
    subscriber.until_held("main/state", "private")
    answer("private", "OFF")
    subscriber.until_held("main/private", "OFF")
    for command, payload, reason in (("color", "#102030", "does not list it"), ("format", "", "does not list it"), ("mode", "x" * 300, "256 bytes")):
        ok, error = answer(command, payload)
        if ok or reason not in error:
            fail(f"{command} {payload[:20]!r}: {error}")
    print("mqtt: commands that are listed, and those that are not: ok")

    # The service ends and comes back with other cameras.
    stop(daemon, signal.SIGKILL)
    subscriber.until(lambda held, *_: not json.loads(held[f"{TOPIC}/service"])["running"], "the service is gone")
    subscriber.until_held("main/state", "stopped", "its camera")
    world.cameras("main", "door")
    daemon = world.daemon()
    subscriber.until_held("door/state", "idle")
    world.cameras("main")
    world.control("list")
    subprocess.run(["gdbus", "call", "--session", "--dest", "org.portraitd", "--object-path", "/org/portraitd", "--method",
                    "org.portraitd.Manager1.Reload"], check=True, stdout=subprocess.DEVNULL)
    subscriber.until_held("door/state", "", "a camera that is removed")
    print("mqtt: the service and its cameras come and go: ok")

    # The broker ends and comes back, without what it held.
    broker.stop()
    broker.start()
    again = Subscriber(broker.port)
    again.until_held("availability", "online")
    again.until_held("main/state", "idle", "the state after an outage")
    print("mqtt: the broker comes back: ok")

    # The bridge is killed: the will. A camera of an earlier run is removed, and a command that the broker kept is refused.
    publish(broker.port, f"{TOPIC}/attic/state", "running", "-r")
    for mode, arguments in (("manual", ["-r"]), ("follow", [])):
        publish(broker.port, f"{TOPIC}/main/set/mode", mode, *arguments)
        again.until(lambda held, topic, _: topic == f"{TOPIC}/main/result", "the answer")
    stop(bridge, signal.SIGKILL)
    again.until_held("availability", "offline", "the last will")
    bridge = world.bridge(path)
    again.until_held("availability", "online")
    again.until_held("attic/state", "", "a camera of an earlier run")
    again.until(lambda held, *_: "retained" in held.get(f"{TOPIC}/main/result", ""), "the refusal of a retained command")
    if json.loads(again.held[f"{TOPIC}/main/framing"])["mode"] != "follow":
        fail("a retained command was carried out")
    if stop(bridge) != 0:
        fail("the bridge does not end with status 0")
    again.until_held("availability", "offline", "the farewell")
    again.close()

    # With presence = "always" the bridge itself looks.
    bridge = world.bridge(world.config(broker.port, presence="always", boxes=True))
    watching = Subscriber(broker.port)
    watching.until_held("main/present", "ON")
    watching.until(lambda held, *_: len(json.loads(held.get(f"{TOPIC}/main/people", "{}")).get("boxes", [])) >= 1, "places of people")
    stop(bridge)
    watching.close()
    subscriber.close()
    broker.stop()
    stop(daemon)
    print("mqtt: last will, farewell, leftovers, presence always: ok")


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def authority(folder, name):
    openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", f"{name}.key", "-out", f"{name}.pem")


def test_tls(world):
    folder = world.folder
    authority(folder, "ca")
    authority(folder, "other")
    (folder / "names").write_text("subjectAltName = DNS:localhost\nbasicConstraints = CA:FALSE\n")
    openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    openssl(folder, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "server.pem")
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(folder / "users"), "board", "se cret"], check=True)
    broker = Broker(folder, "tls", f"allow_anonymous false\npassword_file {folder}/users\ncafile {folder}/ca.pem\ncertfile {folder}/server.pem\nkeyfile {folder}/server.key\n")
    broker.start()
    for name, secret in (("good", "se cret\n"), ("bad", "wrong")):
        (folder / name).write_text(secret)
        (folder / name).chmod(0o600)
    good = {"broker": "mqtts://localhost", "user": "board", "password_file": str(folder / "good"), "ca_file": str(folder / "ca.pem")}

    def said(what, **changed):
        """The bridge's log until a line has `what`."""
        bridge = world.bridge(world.config(broker.port, name="tls", **{**good, **changed}), stderr=subprocess.PIPE, text=True)
        timer = threading.Timer(PATIENCE, bridge.kill)
        timer.start()
        for line in bridge.stderr:
            if what in line:
                break
        else:
            fail(f"the bridge never said {what!r}")
        timer.cancel()
        return bridge

    bridge = said("connected to the broker")
    subscriber = Subscriber(broker.port, arguments=("--cafile", str(folder / "ca.pem"), "-u", "board", "-P", "se cret"))
    subscriber.until_held("availability", "online")
    stop(bridge)
    subscriber.close()
    stop(said("user or the password", password_file=str(folder / "bad")))
    stop(said("certificate", ca_file=str(folder / "other.pem")))
    (folder / "good").chmod(0o644)
    refused = subprocess.run([world.arguments.bridge, "--check", "--config", str(folder / "tls.toml")], capture_output=True, text=True)
    (folder / "good").chmod(0o600)
    config = world.config(broker.port, name="tls", **good)
    checked = subprocess.run([world.arguments.bridge, "--check", "--config", str(config)], capture_output=True, text=True)
    if checked.returncode != 0 or f"start with {TOPIC}/" not in checked.stdout or refused.returncode == 0:
        fail(f"--check: {checked} {refused}")
    broker.stop()
    print("mqtt: TLS, password, a wrong password, a foreign authority: ok")


def test_fleet(world, boards):
    broker = Broker(world.folder, "fleet", "allow_anonymous true\nmax_connections -1\n")
    daemon = world.daemon()
    broker.start()
    subscriber = Subscriber(broker.port, "portraitd/+/main/state")
    bridges = [world.bridge(world.config(broker.port, name=f"b{number}", topic=f"portraitd/b{number}"), stderr=subprocess.DEVNULL) for number in range(boards)]
    present = lambda held, *_: len(held) == boards
    subscriber.until(present, f"{boards} boards")
    resident = sum(int(next(line for line in Path(f"/proc/{bridge.pid}/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1]) for bridge in bridges)
    broker.stop()
    subscriber.close()
    broker.start()
    subscriber = Subscriber(broker.port, "portraitd/+/main/state")
    subscriber.until(present, f"{boards} boards after an outage")
    subscriber.close()
    for bridge in bridges:
        bridge.send_signal(signal.SIGTERM)
    for bridge in bridges:
        bridge.wait(timeout=PATIENCE)
    stop(daemon)
    broker.stop()
    print(f"mqtt: {boards} boards lose their broker and come back: ok ({resident / 1024 / boards:.1f} MiB resident each)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", required=True, help="the folder of portraitd and portraitctl")
    parser.add_argument("--bridge", required=True)
    parser.add_argument("--boards", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = World(arguments, Path(folder))
        try:
            test_everything(world)
            test_tls(world)
            test_fleet(world, arguments.boards)
        finally:
            world.end()


if __name__ == "__main__":
    main()
