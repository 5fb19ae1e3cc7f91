"""The checks. Each is a function with a name, a title and a context; it returns its figures or raises `Failed`."""

import importlib
import os
import signal
from dataclasses import dataclass

import ring
import world
from wire import Bus, CallError

MODULES = ["a_room", "b_messages", "c_quotas", "e_permissions", "f_flooding", "g_rest", "h_held", "p_provider", "w_crowd", "x_more"]
_known = []


@dataclass
class Check:
    name: str
    title: str
    run: object
    polkit: bool
    pending: bool


def check(name, title, polkit=True, pending=False):
    """Registers a check. `pending`: the finding is not mended yet, so the check runs only when it is asked for."""

    def register(run):
        _known.append(Check(name, title, run, polkit, pending))
        return run

    return register


def load():
    for module in MODULES:
        importlib.import_module(f"checks.{module}")
    return _known


class Context:
    """What a check uses: a daemon of its own, connections and rings, all closed at its end."""

    def __init__(self, place, long):
        self.world, self.long = place, long
        self.daemons, self.buses, self.rings, self.children, self.cleanups = [], [], [], [], []

    def daemon(self, config="", **more):
        daemon = world.Daemon(self.world, config, **more)
        self.daemons.append(daemon)
        return daemon

    def bus(self, user):
        bus = Bus(user)
        self.buses.append(bus)
        return bus

    def attach(self, bus, stream, **options):
        attached = ring.attach(bus, stream, **options)
        self.rings.append(attached)
        return attached

    def fork(self, body):
        """Runs `body` in a child process, which ends with it."""
        pid = os.fork()
        if pid == 0:
            try:
                body()
            finally:
                os._exit(0)
        self.children.append(pid)
        return pid

    def at_end(self, action):
        self.cleanups.append(action)

    def death(self):
        for daemon in self.daemons:
            try:
                daemon.ended or daemon.check()
            except world.Failed as error:
                return str(error)
        return ""

    def finish(self):
        """At the end of a check that holds: the service is still there and nothing panicked."""
        for daemon in self.daemons:
            if not daemon.ended:
                daemon.check()
            text = daemon.log_text()
            world.require("panicked" not in text, "the log has a panic: " + text[text.find("panicked") - 100 :][:300])
            world.require(daemon.group.oom_kills == 0, f"{daemon.group.oom_kills} out-of-memory kills")

    def close(self):
        for pid in self.children:
            for action in (lambda: os.kill(pid, signal.SIGKILL), lambda: os.waitpid(pid, 0)):
                try:
                    action()
                except (ProcessLookupError, ChildProcessError):
                    pass
        for action in self.cleanups:
            action()
        for closable in [*self.rings, *self.buses]:
            try:
                closable.close()
            except (OSError, BufferError):
                pass
        for daemon in self.daemons:
            daemon.discard()


def expect_error(names, action, what):
    """Runs a call that must be refused with one of these short error names; returns the error."""
    try:
        action()
    except CallError as error:
        if names is None or error.short in names:
            return error
        raise world.Failed(f"{what}: {error} instead of {' or '.join(names)}") from None
    raise world.Failed(f"{what}: was allowed")
