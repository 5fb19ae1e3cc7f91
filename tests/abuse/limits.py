"""A control group with the unit's limits, by cgroup v1 or v2, whichever this machine has for memory and for tasks."""

import os
import time
from pathlib import Path


def _mounts():
    v1, v2 = {}, None
    for line in Path("/proc/mounts").read_text().splitlines():
        _, folder, kind, options = line.split()[:4]
        if kind == "cgroup":
            for controller in options.split(","):
                v1[controller] = Path(folder)
        elif kind == "cgroup2":
            v2 = v2 or Path(folder)
    return v1, v2


class NoLimits(Exception):
    """No control group with memory and tasks can be made here."""


class Group:
    """One group per controller in v1, one group in v2."""

    def __init__(self, name, memory, tasks):
        v1, v2 = _mounts()
        self.folders, self.v2, self.cpu = [], None, None
        try:
            if "memory" in v1 and "pids" in v1:
                self.memory = v1["memory"] / name
                self._make(self.memory, {"memory.limit_in_bytes": memory})
                # Absent without accounting of swap; then there is no swap to limit on most boards.
                if (self.memory / "memory.memsw.limit_in_bytes").exists():
                    self._make(self.memory, {"memory.memsw.limit_in_bytes": memory})
                self._make(v1["pids"] / name, {"pids.max": tasks})
                if "cpu" in v1:
                    self.cpu = v1["cpu"] / name
                    self._make(self.cpu, {})
            elif v2:
                self._delegate(v2)
                self.memory = self.v2 = v2 / name
                self._make(self.memory, {"memory.max": memory, "memory.swap.max": 0, "pids.max": tasks})
                self.cpu = self.v2 if (self.v2 / "cpu.max").exists() else None
            else:
                raise NoLimits("no cgroup file system is mounted")
        except OSError as error:
            raise NoLimits(f"no control group with limits can be made: {error}") from None

    @staticmethod
    def _delegate(root):
        """Version 2 gives controllers to groups only where the parent passes them on."""
        control = root / "cgroup.subtree_control"
        for controller in ("memory", "pids"):
            if controller not in control.read_text().split():
                control.write_text(f"+{controller}")
        try:
            control.write_text("+cpu")
        except OSError:
            pass  # Not everywhere, and only needed by faults that take the CPU away.

    def _make(self, folder, values):
        if folder not in self.folders:
            folder.mkdir(exist_ok=True)
            self.folders.append(folder)
        for file, value in values.items():
            (folder / file).write_text(str(value))

    def enter(self):
        """Moves the calling process into the group."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    def limit_cpu(self, share=None):
        """The service gets this share of one CPU from now on; None: all that there is."""
        quota = -1 if share is None else int(100_000 * share)
        if self.v2:
            (self.cpu / "cpu.max").write_text(f"{'max' if quota < 0 else quota} 100000")
        else:
            (self.cpu / "cpu.cfs_quota_us").write_text(str(quota))

    def limit_memory(self, limit):
        """Another limit in bytes. The kernel takes back what it can, and refuses less than that (OSError)."""
        if self.v2:
            (self.memory / "memory.high").write_text(str(limit))
            return
        (self.memory / "memory.limit_in_bytes").write_text(str(limit))

    def _figures(self, file):
        return dict(line.split()[:2] for line in (self.memory / file).read_text().splitlines())

    @property
    def oom_kills(self):
        return int(self._figures("memory.events" if self.v2 else "memory.oom_control").get("oom_kill", 0))

    @property
    def used(self):
        """MiB that are charged to the service: its memory, rings and pages of files."""
        return int((self.memory / ("memory.current" if self.v2 else "memory.usage_in_bytes")).read_text()) / (1 << 20)

    @property
    def peak(self):
        """MiB: the highest use so far; 0 where the kernel does not say (v2 before 5.19)."""
        file = self.memory / ("memory.peak" if self.v2 else "memory.max_usage_in_bytes")
        return int(file.read_text()) / (1 << 20) if file.exists() else 0.0

    def remove(self):
        for folder in self.folders:
            # Empty only when the kernel has finished with the killed process.
            for _ in range(500):
                try:
                    folder.rmdir()
                    break
                except OSError:
                    time.sleep(0.01)
        self.folders = []
