"""The world of the attacks: a mount namespace with its own users, system bus and polkit, and the daemon in a control group.

Nothing of the host is changed: `tests/stages/60-abuse` runs this in a mount namespace, where the folders below are covered.
The bus is a dbus-daemon with the system's own configuration and the shipped policy. polkit is the installed one, with the
shipped actions and rules. Seats and sessions are files of logind's format, which is how libsystemd knows them.
"""

import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from limits import Group
from wire import BUS, Bus, CallError, Gone, identity

REPOSITORY = Path(__file__).resolve().parents[2]
WORK = Path("/run/abuse")
POLICY = REPOSITORY / "systemd/dbus/org.portraitd.conf"


class User:
    """A user of the namespace."""

    def __init__(self, name, uid, groups=()):
        self.name, self.uid, self.gid, self.group_names, self.groups = name, uid, uid, groups, [uid]


CLIENTS, CONTROL = "portraitd-clients", "portraitd-control"
PROVIDERS = "portraitd-providers"
GROUP_IDS = {CLIENTS: 2900, CONTROL: 2901, PROVIDERS: 2902}
portraitd = User("portraitd", 2000)
alice = User("alice", 2001)  # in no group
bob = User("bob", 2002, [CLIENTS])
carol = User("carol", 2003, [CLIENTS, CONTROL])
dave = User("dave", 2004, [CLIENTS])
eve = User("eve", 2005)  # in no group, and may have the active session of seat0
frank = User("frank", 2006, [CONTROL])  # may set and may not look
paul = User("paul", 2007, [PROVIDERS])  # may provide frames and nothing else
crowd = [User(f"crowd{number}", 2100 + number, [CLIENTS]) for number in range(64)]
USERS = [portraitd, alice, bob, carol, dave, eve, frank, paul, *crowd]


def cover(target):
    """Puts an empty folder over a folder of the host. Returns whether the host has such a folder."""
    if not Path(target).is_dir():
        return False
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "abuse", target], check=True)
    return True


def unit_value(key, default):
    """A setting of the shipped unit."""
    found = re.findall(rf"^{key}=(.*)$", (REPOSITORY / "systemd/portraitd.service").read_text(), re.M)
    return found[-1] if found else default


def unit_bytes(key, default):
    text = unit_value(key, default)
    return int(text[:-1]) << {"K": 10, "M": 20, "G": 30}[text[-1]] if text[-1] in "KMG" else int(text)


def copy_over(folder):
    """Puts a copy of a folder of the host over it. A bind mount over one file would be gone as soon as the host replaces the file."""
    place = tempfile.mkdtemp()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "abuse", place], check=True)
    subprocess.run(["cp", "-a", f"{folder}/.", place], check=True)
    subprocess.run(["mount", "--move", place, folder], check=True)
    os.rmdir(place)


class World:
    """Users, bus and polkit."""

    def __init__(self, program):
        self.program, self.processes, self.has_polkit, self.homes = program, [], False, {}
        self._cover()
        self._users()
        self._files()
        self._start_bus()
        self._start_polkit()

    def _cover(self):
        copy_over("/etc")
        policies = {}
        for folder in ("/usr/share/dbus-1/system.d", "/etc/dbus-1/system.d"):
            file = Path(folder, "org.freedesktop.PolicyKit1.conf")
            if file.exists():
                policies[file.name] = file.read_bytes()
        actions = Path("/usr/share/polkit-1/actions/org.freedesktop.policykit.policy")
        own_action = actions.read_bytes() if actions.exists() else None
        cover("/run")
        cover("/dev/shm")
        for folder in ("/usr/share/dbus-1/system.d", "/etc/dbus-1/system.d", "/usr/share/dbus-1/system-services",
                       "/usr/share/polkit-1", "/etc/polkit-1", "/usr/local/share/dbus-1", "/etc/portraitd",
                       "/usr/lib/portraitd", "/usr/share/portraitd"):
            cover(folder)
        policy_folder = Path("/usr/share/dbus-1/system.d")
        for name, text in policies.items():
            (policy_folder / name).write_bytes(text)
        shutil.copy(POLICY, policy_folder)
        # The harness answers for logind.
        (policy_folder / "abuse-logind.conf").write_text(
            '<busconfig><policy user="root"><allow own="org.freedesktop.login1"/></policy><policy context="default">'
            '<allow send_destination="org.freedesktop.login1"/></policy></busconfig>')
        shares = Path("/usr/share/polkit-1")
        if shares.is_dir():
            for folder in ("actions", "rules.d"):
                (shares / folder).mkdir()
            if own_action:
                (shares / "actions" / actions.name).write_bytes(own_action)
            shutil.copy(REPOSITORY / "systemd/polkit/org.portraitd.policy", shares / "actions")
            shutil.copy(REPOSITORY / "systemd/polkit/50-portraitd.rules", shares / "rules.d")
        if Path("/etc/polkit-1").is_dir():
            Path("/etc/polkit-1/rules.d").mkdir()

    def _users(self):
        passwd, group = Path("/etc/passwd").read_text(), Path("/etc/group").read_text()
        ours = {user.name for user in USERS} | set(GROUP_IDS)
        keep = lambda text: "".join(line + "\n" for line in text.splitlines() if line.split(":")[0] not in ours)
        passwd, group = keep(passwd), keep(group)
        for user in USERS:
            passwd += f"{user.name}:x:{user.uid}:{user.gid}::/nonexistent:/usr/sbin/nologin\n"
            group += f"{user.name}:x:{user.gid}:\n"
            user.groups = [user.gid, *(GROUP_IDS[name] for name in user.group_names)]
        for name, number in GROUP_IDS.items():
            members = ",".join(user.name for user in USERS if name in user.group_names)
            group += f"{name}:x:{number}:{members}\n"
        WORK.mkdir(mode=0o755)
        for name, text in (("passwd", passwd), ("group", group)):
            Path("/etc", name).write_text(text)

    def _files(self):
        for folder in ("/run/dbus", "/run/systemd", "/run/systemd/seats", "/run/systemd/sessions", "/run/systemd/users",
                       "/run/systemd/machines", "/run/portraitd", WORK / "models", WORK / "own"):
            Path(folder).mkdir(mode=0o755)
        for folder in ("/run/portraitd", WORK / "own"):
            os.chown(folder, portraitd.uid, portraitd.gid)
        # A clone under a home folder cannot be read by the users of this namespace.
        shutil.copy(self.program, WORK / "portraitd")
        for folder in (".", "heads"):
            (WORK / "models" / folder).mkdir(mode=0o755, exist_ok=True)
            for file in (REPOSITORY / "models" / folder).iterdir():
                if file.suffix in (".onnx", ".toml", ".md"):
                    shutil.copy(file, WORK / "models" / folder)

    def run(self, arguments, **more):
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, **more)
        self.processes.append(process)
        return process

    def _start_bus(self):
        log = (WORK / "bus.log").open("wb")
        self.bus = self.run(["dbus-daemon", "--config-file=/usr/share/dbus-1/system.conf", "--nofork", "--nopidfile", "--nosyslog"],
                            stdout=log, stderr=log)
        until(lambda: Path(Bus.address).exists(), "the bus")
        self.root = Bus()

    def restart_bus(self):
        """Ends the bus, and polkit with it, and starts both again. Every connection is gone."""
        self.bus.kill()
        self.bus.wait()
        self.root.close()
        if self.has_polkit:
            self.polkit.kill()
            self.polkit.wait()
        Path(Bus.address).unlink()
        self._start_bus()
        if self.has_polkit:
            self.start_polkit()

    def _start_polkit(self):
        program = next((path for path in ("/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd") if Path(path).exists()), None)
        if program is None:
            return
        self.polkit_program = program
        self.start_polkit()
        self.has_polkit = True

    def start_polkit(self):
        self.polkit = self.run([self.polkit_program, "--no-debug"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={"PATH": "/usr/bin:/bin", "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={Bus.address}"})
        self.wait_name("org.freedesktop.PolicyKit1")

    def stop_polkit(self):
        self.polkit.kill()
        self.polkit.wait()
        self.wait_name("org.freedesktop.PolicyKit1", False)

    def owner(self, name):
        try:
            return self.root.call(BUS, "/org/freedesktop/DBus", BUS, "GetNameOwner", "s", name)[0]
        except CallError:
            return None

    def wait_name(self, name, there=True, timeout=30):
        until(lambda: (self.owner(name) is not None) == there, f"{name} {'on' if there else 'off'} the bus", timeout)

    def session(self, user, active=True):
        """Writes what logind would: `user` has session 77, active on seat0 or not. None: nobody has."""
        files = {"sessions/77": None, f"users/{eve.uid}": None, "seats/seat0": "IS_SEAT0=1\nCAN_MULTI_SESSION=1\nCAN_TTY=1\nCAN_GRAPHICAL=1\n"}
        if user:
            state, flag = ("active", 1) if active else ("online", 0)
            files["sessions/77"] = (f"UID={user.uid}\nUSER={user.name}\nACTIVE={flag}\nIS_DISPLAY=1\nSTATE={state}\nREMOTE=0\nTYPE=tty\n"
                                    "CLASS=user\nSCOPE=session-77.scope\nSEAT=seat0\nTTY=tty1\nVTNR=1\nPOSITION=1\nLEADER=1\n")
            current = "77" if active else ""
            files[f"users/{user.uid}"] = (f"NAME={user.name}\nSTATE={state}\nSTOPPING=no\nDISPLAY=77\nSESSIONS=77\nACTIVE_SESSIONS={current}\n"
                                          f"ONLINE_SESSIONS=77\nSEATS=seat0\nACTIVE_SEATS={'seat0' if active else ''}\nONLINE_SEATS=seat0\n")
            files["seats/seat0"] += f"ACTIVE={current}\nACTIVE_UID={user.uid if active else ''}\nSESSIONS=77\nUIDS={user.uid}\n"
        for name, text in files.items():
            path = Path("/run/systemd", name)
            if text is None:
                path.unlink(missing_ok=True)
                continue
            new = path.with_name("." + path.name)
            new.write_text(text)
            new.rename(path)

    def enter_session(self, enter=True):
        """Moves this process into the scope of session 77, or out of it: libsystemd knows a session by the control group."""
        for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup"):
            if not Path(root, "cgroup.procs").exists():
                continue
            folder = Path(root, f"user.slice/user-{eve.uid}.slice/session-77.scope")
            if enter:
                self.homes[root] = own_group(root)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "cgroup.procs").write_text(str(os.getpid()))
            elif root in self.homes:
                Path(root, self.homes.pop(root).lstrip("/"), "cgroup.procs").write_text(str(os.getpid()))
                folder.rmdir()
                folder.parent.rmdir()

    def end(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.kill()
                process.wait()


def own_group(root):
    """The control group of this process below the mount `root`."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if (number == "0" and not root.endswith("/systemd")) or (controllers == "name=systemd" and root.endswith("/systemd")):
            return path
    return "/"


def until(condition, what, timeout=30):
    """Waits until a condition holds, for things that announce themselves in no other way."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout:.0f} s")
        time.sleep(0.01)


class Daemon:
    """The service under the unit's limits, as the user `portraitd`."""

    count = 0
    # More variables of its environment.
    variables = {}

    def __init__(self, world, config="", source="scene:walk", wait=True, log="info", keep_runtime=False, session=False):
        self.world, self.ended = world, False
        self.log_path = WORK / "log"
        self.config_path = WORK / "portraitd.toml"
        self.config_path.write_text(config)
        if not keep_runtime:
            # The record of crashes, and which cameras are private, outlast the service.
            for file in Path("/run/portraitd").iterdir():
                file.unlink()
        Daemon.count += 1
        self.group = Group(f"portraitd-abuse-{os.getpid()}-{Daemon.count}", unit_bytes("MemoryMax", "256M"), int(unit_value("TasksMax", "64")))
        self.source, self.level = source, log
        self.bus_path = Path("/run/abuse/own/session_bus") if session else Path(Bus.address)
        if session:
            self.session_bus = world.run(["dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address=unix:path={self.bus_path}"],
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                         user=portraitd.uid, group=portraitd.gid, extra_groups=[])
            until(self.bus_path.exists, "the session bus")
        self.log = self.log_path.open("wb")
        self.start(wait)

    def start(self, wait=True):
        files = int(unit_value("LimitNOFILE", "1024"))

        def become():
            self.group.enter()
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
            os.setgroups([])
            os.setresgid(portraitd.gid, portraitd.gid, portraitd.gid)
            os.setresuid(portraitd.uid, portraitd.uid, portraitd.uid)
            os.umask(0o077)

        kind = "system" if self.bus_path == Path(Bus.address) else "session"
        arguments = [WORK / "portraitd", "run", "--bus", kind, "--config", self.config_path, "--log", self.level, "--models-dir", WORK / "models"]
        if self.source:
            arguments += ["--source", self.source]
        environment = {"PATH": "/usr/bin:/bin", f"DBUS_{kind.upper()}_BUS_ADDRESS": f"unix:path={self.bus_path}",
                       "RUNTIME_DIRECTORY": "/run/portraitd", **self.variables}
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        preexec_fn=become, env=environment, cwd="/")
        self.pid = self.process.pid
        if wait:
            until(lambda: self.process.poll() is not None or self.world.owner("org.portraitd"), "the service")
            self.check()
            self.name = self.world.owner("org.portraitd")

    def use_session_bus(self):
        """From now on new connections are to the session bus of the service's user."""
        Bus.address = str(self.bus_path)
        probe = Bus(portraitd)
        until(lambda: probe.call(BUS, "/org/freedesktop/DBus", BUS, "NameHasOwner", "s", "org.portraitd")[0], "the service")
        probe.close()

    def leave_session_bus(self):
        """Stops the service, if it runs, before its bus: without a bus it ends with an error, which would look like a failed check."""
        Bus.address = "/run/dbus/system_bus_socket"
        if self.process.poll() is None:
            self.stop()
        self.session_bus.kill()
        self.session_bus.wait()
        self.bus_path.unlink(missing_ok=True)

    def status(self, key):
        """A figure of /proc/PID/status: KiB, or a count."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{key}:\s+(\d+)", text, re.M).group(1))

    @property
    def resident(self):
        """MiB of resident memory: rings too, as they are mapped."""
        return self.status("VmRSS") / 1024

    @property
    def peak(self):
        """MiB: the highest resident memory since the start or the last `reset_peak`."""
        return self.status("VmHWM") / 1024

    def back_within(self, before, allowed):
        """Waits at most the ten seconds of the promise until no more than `allowed` MiB stay. Returns the resident memory."""
        end = time.monotonic() + 10
        while (now := self.resident) > before + allowed:
            require(time.monotonic() < end, f"{now - before:.1f} MiB stay after ten seconds: {before:.1f} MiB before, {now:.1f} now")
            time.sleep(0.1)
        return now

    def housekeeping(self, metrics):
        """Waits until the service has given back what it holds without need: it writes its metrics right afterwards."""
        written = lambda: metrics.stat().st_ino if metrics.exists() else 0
        last = written()
        until(lambda: written() != last, "the metrics")

    def reset_peak(self):
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    @property
    def threads(self):
        return self.status("Threads")

    @property
    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def rings(self):
        """MiB of rings and pictures in memfds that the service has mapped."""
        total = 0
        for line in Path(f"/proc/{self.pid}/maps").read_text().splitlines():
            if "/memfd:" in line:
                begin, end = line.split()[0].split("-")
                total += int(end, 16) - int(begin, 16)
        return total / (1 << 20)

    def log_text(self):
        self.log.flush()
        return self.log_path.read_text(errors="replace")

    def check(self):
        """Raises if the service has ended."""
        status = self.process.poll()
        if status is None:
            return
        tail = " | ".join(self.log_text().splitlines()[-3:])
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        oom = f", {self.group.oom_kills} out-of-memory kills, memory's peak {self.group.peak:.0f} MiB" if self.group.oom_kills else ""
        raise Failed(f"the service is gone: {how}{oom}: {tail[-400:]}")

    def stop(self, timeout=10):
        """SIGTERM. Returns the seconds that the service took."""
        begun, self.ended = time.monotonic(), True
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed(f"the service did not end within {timeout} s of SIGTERM") from None
        finally:
            self.world.wait_name("org.portraitd", False)
        return time.monotonic() - begun

    def discard(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.world.wait_name("org.portraitd", False)
        self.log.close()
        self.group.remove()


class Failed(Exception):
    """A check does not hold; the text has the figures."""


class Missing(Exception):
    """This machine lacks what a check needs."""


def require(condition, text):
    if not condition:
        raise Failed(text)
