"""What systemd does for the service: starts it, feeds on its notifications, ends it when its watchdog is not fed, and starts it again.

The times are those of the shipped unit.
"""

import signal
import socket
import time
from pathlib import Path

from world import WORK, Daemon, unit_value


class Manager(Daemon):
    """The service, with a `NOTIFY_SOCKET`. `tick` does what is due; it never waits."""

    def __init__(self, world, config):
        path = WORK / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        path.chmod(0o666)
        self.socket.setblocking(False)
        self.watchdog = float(unit_value("WatchdogSec", "10"))
        self.restart_after = float(unit_value("RestartSec", "2"))
        self.start_timeout = float(unit_value("TimeoutStartSec", "30"))
        self.variables = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(self.watchdog * 1e6))}
        self.starts, self.ends, self.restart_at = 0, [], 0.0
        super().__init__(world, config, source=None, wait=False)

    def start(self, wait=True):
        self.starts += 1
        self.ready, self.aborted, self.restart_at = False, False, 0.0
        self.fed = self.began = time.monotonic()
        super().start(wait)

    def tick(self):
        now = time.monotonic()
        while True:
            try:
                lines = self.socket.recv(4096).decode(errors="replace").splitlines()
            except BlockingIOError:
                break
            if "READY=1" in lines:
                self.ready, self.fed = True, now
            if "WATCHDOG=1" in lines:
                self.fed = now
        status = self.process.poll()
        if status is not None:
            if not self.restart_at:
                self.ends.append(f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}")
                self.ready, self.restart_at = False, now + self.restart_after
            elif now >= self.restart_at:
                self.start(wait=False)
        elif not self.aborted and now - self.fed > (self.watchdog if self.ready else self.start_timeout):
            self.aborted = True
            self.process.send_signal(signal.SIGABRT)

    @property
    def running(self):
        return self.ready and self.process.poll() is None

    def memory(self):
        """KiB of anonymous memory, of mapped files and of shared memory (rings) that are resident."""
        figures = {}
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            key, _, value = line.partition(":")
            figures[key] = value.split()[:1]
        return tuple(int(figures[key][0]) for key in ("RssAnon", "RssFile", "RssShmem"))
