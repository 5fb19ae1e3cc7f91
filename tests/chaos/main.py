#!/usr/bin/env python3
"""Random faults against the service, for an hour or for a minute. docs/reliability.md has the figures of an hour.

    main.py [--program FILE] [--hours N | --seconds N] [--seed N] [--faults NAMES] [--out FOLDER]

Run by tests/chaos/run as root, in a mount namespace of its own. The exit status is 1 if something was lost.
"""

import argparse
import csv
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "abuse"))

import plot
import video
import world
from faults import CONFIG, FAULTS, Scene
from limits import NoLimits
from manager import Manager
from ring import attach
from wire import Bus, CallError, Gone
from witness import Witness, end_with_parent
from world import Failed, bob, dave, require

COLUMNS = ("second", "faults", "quiet", "starts", "anonymous_kib", "file_kib", "shared_kib", "charged_mib", "descriptors", "threads",
           "reopened", "steady_fps", "main_fps", "lost", "torn", "stale", "attaches", "refused")
# After a fault each witness must read this many frames.
FRAMES_AFTER = 30
# A hang of the harness's own: the promise is counted in frames and attempts, not in seconds.
PATIENCE = 120
# How much the resting memory may grow, and after how long.
GROWTH_KIB, WARM_SECONDS, WINDOW_SECONDS = 2048, 300, 300


class Harness:
    def __init__(self, arguments):
        self.seconds, self.seed, self.out = arguments.seconds, arguments.seed, arguments.out
        self.numbers = random.Random(self.seed)
        self.short = self.seconds < 600
        wanted = arguments.faults.split(",") if arguments.faults else [fault.name for fault in FAULTS if not self.short or fault.name != "hang"]
        self.faults = [fault for fault in FAULTS if fault.name in wanted]
        self.camera = video.Camera()
        self.world = world.World(arguments.program)
        self.daemon = Manager(self.world, CONFIG)
        self.witnesses, self.actors = {}, {}
        self.rows, self.counts, self.events = [], {}, []
        self.quiet, self.bus, self.asked, self.stats = False, None, {}, {}
        self.began = self.next_row = time.monotonic()
        self.before = {}
        self.expected_starts, self.allowed_attaches, self.polkit_ends = 1, 1, 0

    # Waiting, while the service is managed and recorded.

    def tick(self):
        self.daemon.tick()
        require(self.daemon.starts <= self.expected_starts, f"the service ended without a reason: {self.daemon.ends}: "
                                                            + " | ".join(self.daemon.log_text().splitlines()[-3:])[-400:])
        for witness in self.witnesses.values():
            require(os.waitpid(witness.pid, os.WNOHANG)[0] == 0, "a witness ended")
        if self.world.polkit.poll() is not None:
            # The bus would start it again for the next question.
            self.polkit_ends += 1
            self.world.start_polkit()
        if time.monotonic() >= self.next_row:
            self.next_row += 1
            self.record()

    def wait(self, condition, what, seconds=None):
        seconds = seconds or PATIENCE
        end = time.monotonic() + seconds
        while not condition():
            require(time.monotonic() < end, f"{what}: not within {seconds} s")
            self.tick()
            time.sleep(0.02)

    def rest(self, seconds):
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() >= end, "a pause", seconds + PATIENCE)

    def ask(self):
        """Reads the answers to the last second's questions, and asks again. Nothing is waited for."""
        try:
            if self.bus is None:
                self.bus, self.asked = Bus(), {}
            while self.bus.poll():
                pass
            for camera, serial in list(self.asked.items()):
                if serial in self.bus.replies:
                    del self.asked[camera]
                    self.stats[camera] = self.bus.wait(serial)[0]
            for camera in ("main", "steady"):
                if camera not in self.asked:
                    self.asked[camera] = self.bus.send("org.portraitd", f"/org/portraitd/cameras/{camera}", "org.freedesktop.DBus.Properties",
                                                       "GetAll", "s", "org.portraitd.Camera1")
        except CallError:
            self.asked.clear()
        except (Gone, OSError):
            self.bus = None

    def consumers(self):
        return sum(answer.get("Consumers", 0) for answer in self.stats.values())

    def record(self):
        if self.daemon.running:
            self.ask()
        row = dict.fromkeys(COLUMNS, "")
        row.update(second=round(time.monotonic() - self.began), faults="+".join(self.actors.values()), quiet=int(self.quiet), starts=self.daemon.starts)
        try:
            row["anonymous_kib"], row["file_kib"], row["shared_kib"] = self.daemon.memory()
            row.update(descriptors=self.daemon.descriptors, threads=self.daemon.threads, charged_mib=f"{self.daemon.group.used:.1f}")
        except (OSError, KeyError):
            pass  # It has ended.
        row["reopened"] = self.stats.get("main", {}).get("Stats", {}).get("reopened", "")
        total = dict.fromkeys(("lost", "torn", "stale", "attaches", "refused"), 0)
        for name, witness in self.witnesses.items():
            now = witness.figures()
            seen = now["frames"] + now["blank"]
            row[f"{name}_fps"] = seen - self.before.get(name, seen)
            self.before[name] = seen
            for key in total:
                total[key] += now[key]
        row.update(total)
        self.rows.append(row)
        if len(self.rows) % 60 == 0:
            self.write_rows()

    # Faults.

    def start(self, fault, seconds):
        scene = Scene(self.daemon, self.camera, random.Random(self.numbers.random()), seconds)
        reading, telling = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                end_with_parent()
                text = fault.run(scene)
            except Exception as error:  # the harness says which fault failed, and how
                text = f"FAILED: {type(error).__name__}: {error} ({traceback.extract_tb(error.__traceback__)[-1].lineno})"
            finally:
                scene.kill_children()
                os.write(telling, json.dumps(text).encode())
                os._exit(0)
        os.close(telling)
        self.actors[pid] = fault.name
        return pid, reading

    def play(self, faults):
        """Plays faults at the same time, and waits until the service is as before."""
        seconds = self.numbers.uniform(0.5, 1.5) if self.short else self.numbers.uniform(1, 8)
        self.quiet, before = False, {name: witness.figures() for name, witness in self.witnesses.items()}
        restarts = any(fault.restarts for fault in faults)
        self.expected_starts += restarts
        self.allowed_attaches += sum(fault.rings for fault in faults) + restarts
        at, texts = round(time.monotonic() - self.began), []
        for fault in faults:
            self.counts[fault.name] = self.counts.get(fault.name, 0) + 1
        if faults[0].name == "bus":
            self.actors[0] = "bus"
            self.world.restart_bus()
            self.bus, texts = None, ["restarted"]
        else:
            playing = [self.start(fault, seconds) for fault in faults]
            for pid, reading in playing:
                self.wait(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, f"{self.actors[pid]}: the fault itself")
                text = json.loads(os.read(reading, 65536))
                os.close(reading)
                require(not text.startswith("FAILED"), f"{self.actors.pop(pid, '')}: {text}")
                texts.append(text)
        self.actors.clear()
        names = "+".join(fault.name for fault in faults)
        if restarts:
            self.wait(lambda: self.daemon.starts == self.expected_starts and self.daemon.running, f"{names}: the service after its restart")
        self.recover(names)
        lost = {name: witness.lost - before[name]["lost"] for name, witness in self.witnesses.items()}
        self.events.append((at, names, "; ".join(texts)))
        print(f"chaos {at} s {names} ({'; '.join(texts)}): overwritten unread {lost['steady']} and {lost['main']}", flush=True)

    def recover(self, names):
        marks = {name: witness.frames for name, witness in self.witnesses.items()}
        for name, witness in self.witnesses.items():
            self.wait(lambda: witness.frames >= marks[name] + FRAMES_AFTER, f"{names}: {FRAMES_AFTER} frames of {name}")
        self.stats.clear()
        self.wait(lambda: len(self.stats) == 2 and self.consumers() == len(self.witnesses), f"{names}: only the witnesses are left")
        self.quiet = True

    def settled(self):
        return self.daemon.descriptors <= self.base[0] and self.daemon.threads <= self.base[1]

    def choose(self, late):
        kinds = [fault for fault in self.faults if late or not fault.restarts] or self.faults
        if self.short:
            # Each once, in the order of chance, before any comes again.
            least = min(self.counts.get(fault.name, 0) for fault in kinds)
            kinds = [fault for fault in kinds if self.counts.get(fault.name, 0) == least]
        first = self.numbers.choice(kinds)
        # Three ends within a minute are a crash loop, which is another test's subject: tests/run system.
        if first.restarts and time.monotonic() - self.last_restart < 30 and not self.short:
            return self.choose(False)
        if first.restarts:
            self.last_restart = time.monotonic()
            return [first]
        others = [fault for fault in self.faults if not fault.restarts and not fault.uses & first.uses]
        return [first] if not others or self.numbers.random() < 0.6 else [first, self.numbers.choice(others)]

    # The whole.

    def run(self):
        self.wait(lambda: self.daemon.running, "the service")
        self.witnesses = {
            "steady": Witness(dave, "steady", "view", False, {}),
            "main": Witness(bob, "main", "view", True, {"width": video.WIDTH, "height": video.HEIGHT}),
        }
        self.recover("the start")
        # One client of each stream, so that everything that is made once is there.
        for camera in ("main", "steady"):
            for stream in ("mask", "view", "composite"):
                bus = Bus(dave)
                ring = attach(bus, stream, path=f"/org/portraitd/cameras/{camera}")
                ring.wait(3)
                ring.close()
                bus.close()
        self.recover("the first clients")
        self.rest(3)
        self.base = (self.daemon.descriptors, self.daemon.threads)
        self.last_restart = 0.0
        # The service lives for two thirds of the time, so that a slow leak has time to show; then it also ends now and then.
        # Asked to end (SIGTERM), it does so after the fault in progress.
        while (left := self.began + self.seconds - time.monotonic()) > 0:
            self.play(self.choose(left < self.seconds / 3))
            self.rest(0.2 if self.short else 2)
        # Memory that a client may still hold is looked at every five seconds: docs/design/quotas.md.
        self.wait(self.settled, "descriptors and threads as at the start")
        self.rest(1)
        return self.verdict()

    def floors(self):
        """The least resident memory at rest, in KiB, by life of the service and window of five minutes. A window in which the
        service lived for less than a minute has no time of rest that could be compared, unless it is the only one of its life."""
        found, first, last = {}, {}, {}
        for row in self.rows:
            if row["quiet"] and row["anonymous_kib"] != "":
                first.setdefault(row["starts"], row["second"])
                window = (row["starts"], (row["second"] - first[row["starts"]]) // WINDOW_SECONDS)
                size = row["anonymous_kib"] + row["file_kib"] + row["shared_kib"]
                found[window] = min(size, found.get(window, size))
                last[window] = (row["second"] - first[row["starts"]]) % WINDOW_SECONDS
        return {(life, number): size for (life, number), size in found.items() if number == 0 or last[life, number] >= 60}

    def verdict(self):
        total = {key: sum(witness.figures()[key] for witness in self.witnesses.values()) for key in ("frames", "blank", "lost", "torn", "stale", "attaches")}
        floors = self.floors()
        first_life = [floors[key] for key in sorted(floors) if key[0] == 1]
        warm = first_life[1:] if len(first_life) > 1 else first_life
        growth = max(floors.values()) - warm[0] if len(first_life) > 1 else 0
        faults = sum(self.counts.values())
        text = {
            "seed": self.seed, "seconds": round(time.monotonic() - self.began), "faults": faults, "by kind": dict(sorted(self.counts.items())),
            "restarts": self.daemon.starts - 1, "ends": self.daemon.ends, "out-of-memory kills": self.daemon.group.oom_kills,
            "ends of polkit that nobody played": self.polkit_ends, **total,
            "resting KiB, by five minutes of the first life": first_life,
            "resting KiB at most, of all lives": max(floors.values()), "growth KiB after five minutes": growth,
            "descriptors": [self.base[0], self.daemon.descriptors], "threads": [self.base[1], self.daemon.threads],
        }
        log = self.daemon.log_text()
        require("panicked" not in log, "the log has a panic: " + log[max(log.find("panicked") - 100, 0) :][:300])
        require("safe mode" not in log, "the service took its restarts for a crash loop")
        require(self.daemon.group.oom_kills == 0, f"{self.daemon.group.oom_kills} out-of-memory kills")
        require(total["torn"] == 0 and total["stale"] == 0, f"{total['torn']} torn frames, {total['stale']} stale ones")
        steady = self.witnesses["steady"].attaches
        require(steady == self.daemon.starts, f"the witness of the steady camera attached {steady} times, the service started {self.daemon.starts} times")
        main = self.witnesses["main"].attaches
        require(main <= self.allowed_attaches, f"the witness of the main camera attached {main} times; its faults allow {self.allowed_attaches}")
        require(growth <= GROWTH_KIB, f"the resting memory grew by {growth} KiB: {floors}")
        return text

    def end(self):
        for witness in self.witnesses.values():
            witness.end()
        try:
            self.daemon.discard()
        except (Gone, OSError, TimeoutError):
            pass  # The bus has been ended too.
        self.world.end()

    def write_rows(self):
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / "chaos.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)

    def write(self, text):
        self.write_rows()
        (self.out / "chaos.json").write_text(json.dumps({**text, "events": self.events}, indent=1) + "\n")
        (self.out / "service.log").write_text(self.daemon.log_text())
        plot.draw(self.rows, self.events, self.out / "chaos.svg", f"seed {self.seed}, {len(self.events)} events")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=Path, default=world.REPOSITORY / "target/release/portraitd")
    parser.add_argument("--hours", type=float)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--faults", default="", help="only these, by name and with commas between them")
    parser.add_argument("--out", type=Path, default=world.REPOSITORY / ".cache/chaos")
    arguments = parser.parse_args()
    if arguments.hours:
        arguments.seconds = 3600 * arguments.hours
    print(f"chaos: seed {arguments.seed}, {arguments.seconds:.0f} s", flush=True)
    video.own_dev()
    harness = Harness(arguments)

    def enough(*_):
        """Ends the run before its time, with its verdict."""
        harness.seconds = time.monotonic() - harness.began

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, enough)
    text = {"seed": arguments.seed, "failed": True}
    try:
        text = harness.run()
        print("chaos: ok " + json.dumps(text), flush=True)
    except (Failed, TimeoutError, CallError, Gone, OSError) as error:
        print(f"chaos: FAILED after {time.monotonic() - harness.began:.0f} s, seed {arguments.seed}: {error}", flush=True)
        text["failed"] = str(error)
    finally:
        harness.write(text)
        harness.end()
    return int("failed" in text)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NoLimits as error:
        print(f"SKIPPED: {error}")
        sys.exit(77)
