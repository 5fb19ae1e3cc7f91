"""W: a crowd of clients, whether they behave, stop, stay deaf, die or never stop calling."""

import os
import random
import select
import signal
import time

from checks import check
from ring import attach, gather, percentile, raw_attach
from wire import CAMERA, NO_REPLY, PROPERTIES, ROOT, SERVICE, Bus, CallError, marshal
from world import WORK, alice, bob, carol, crowd, dave, portraitd, require, until

# Written by the service each time it gives back what it can.
METRICS = WORK / "own/metrics"


def measured(rings, seconds):
    """(frames a second of the slowest, worst p99 in ms, frames lost by all)."""
    for ring in rings:
        ring.drain()
        ring.follow()
        ring.frames, ring.lost, ring.latencies = 0, 0, []
    begun = time.monotonic()
    gather(rings, seconds)
    took = time.monotonic() - begun
    return (min(ring.frames for ring in rings) / took, max(percentile(ring.latencies, 0.99) for ring in rings),
            sum(ring.lost for ring in rings))


def crowd_user(number):
    """Clients are spread over users, so that the quota of one user is not what is measured."""
    return crowd[number % 16]


@check("W1", "64 clients, 21 of them stopped and 21 deaf: the others lose no frame")
def stopped_and_deaf(context):
    daemon = context.daemon()
    single = context.attach(context.bus(dave), "mask")
    single.wait(10)
    seconds, least, alone, together = (10 if context.long else 3), (5 if context.long else 1), [], []
    # What else runs on the machine takes frames too, now and then: the best turns are compared.
    rate = lambda rows: max(row[0] for row in rows)
    others = []
    for turn in range(6):
        alone.append(measured([single], seconds))
        if turn == 0:
            for number in range(21):
                context.attach(context.bus(crowd_user(number)), "mask")  # never read
            ready, tell = os.pipe()
            for number in range(21, 42):
                def stopped(user=crowd_user(number)):
                    ring = attach(Bus(user), "mask")
                    os.write(tell, b"x")
                    while True:
                        ring.wait(1)
                pid = context.fork(stopped)
                os.read(ready, 1)
                os.kill(pid, signal.SIGSTOP)
            os.close(ready)
            os.close(tell)
            others = [context.attach(context.bus(crowd_user(number)), "mask") for number in range(42, 63)]
            for ring in others:
                ring.wait(2)
        together.append(measured([single, *others], seconds))
        daemon.check()
        if turn + 1 >= least and rate(together) >= 0.95 * rate(alone):
            break
    worst = lambda rows: max(row[1] for row in rows)
    lost = sum(row[2] for row in together)
    text = (f"one client {rate(alone):.1f} frames/s, p99 {worst(alone):.1f} ms; 22 readers among 64 {rate(together):.1f} frames/s, "
            f"p99 {worst(together):.1f} ms; {lost} lost; {daemon.threads} threads, {daemon.descriptors} descriptors, "
            f"{daemon.resident:.0f} MiB resident")
    require(lost == 0 and rate(together) >= 0.95 * rate(alone), text)
    return text


CALLS = [
    (CAMERA, PROPERTIES, "GetAll", "s", ("org.portraitd.Framing1",)),
    (CAMERA, PROPERTIES, "Get", "ss", ("org.portraitd.Camera1", "Stats")),
    (ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "", ()),
    (CAMERA, "org.freedesktop.DBus.Introspectable", "Introspect", "", ()),
]


def flood(context, seconds, users, also=lambda: None):
    """Calls of several kinds as fast as the bus carries them, 64 to 128 in flight on each connection (the bus allows 128 on a
    system bus). Returns (answers, calls sent)."""
    buses = [context.bus(user) for user in users]
    answers, sent, flying = 0, 0, {bus: 0 for bus in buses}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for bus in buses:
            if flying[bus] <= 64:
                batch = (CALLS[number % len(CALLS)] for number in range(64))
                bus.socket.sendall(b"".join(
                    bus.encode(SERVICE, path, interface, member, signature, marshal(signature, *values))
                    for path, interface, member, signature, values in batch))
                flying[bus] += 64
                sent += 64
        ready = select.select([bus.socket for bus in buses], [], [], 0.05)[0]
        for bus in buses:
            if bus.socket in ready:
                bus.poll()
                flying[bus] -= len(bus.replies)
                answers += len(bus.replies)
                bus.replies.clear()
                bus.signals.clear()
        also()
    for bus in buses:
        bus.close()
    return answers, sent


def silent_flood(context, seconds, users, also=lambda: None):
    """Calls that ask for no answer: the bus sets no limit to them. Returns the calls sent."""
    buses = [context.bus(user) for user in users]
    path, interface, member, signature, values = CALLS[2]
    one = buses[0].encode(SERVICE, path, interface, member, signature, marshal(signature, *values), flags=NO_REPLY)
    batch, sent = one * 64, 0
    for bus in buses:
        bus.socket.setblocking(False)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for bus in buses:
            try:
                sent += bus.socket.send(batch) / len(one)
            except BlockingIOError:
                pass
        also()
    for bus in buses:
        bus.close()
    return int(sent)


@check("W2", "a flood of calls at the rate that the bus carries: memory is bounded, and no client is lost")
def call_flood(context):
    daemon = context.daemon()
    ring = context.attach(context.bus(dave), "mask")
    ring.wait(10)
    rate, latency, _ = measured([ring], 3)
    daemon.reset_peak()
    before = daemon.resident
    ring.frames, ring.lost, ring.latencies = 0, 0, []
    seconds = 30 if context.long else 6

    def read():
        if ring.event >= 0 and ring.drain():
            ring.follow()
        daemon.check()

    users = [alice, alice, bob, carol, crowd[1], crowd[2], crowd[3], crowd[4]]
    answers, sent = flood(context, seconds, users, read)
    during, lost = ring.frames / seconds, ring.lost
    begun = time.monotonic()
    context.bus(dave).get("Camera1", "State")
    answer = 1000 * (time.monotonic() - begun)
    text = (f"{sent / seconds:.0f} calls/s sent, {answers / seconds:.0f} answered; peak {daemon.peak:.0f} MiB (+{daemon.peak - before:.0f}); "
            f"{rate:.1f} frames/s and p99 {latency:.1f} ms before, {during:.1f} and {percentile(ring.latencies, 0.99):.1f} ms during, {lost} lost; "
            f"a call afterwards takes {answer:.0f} ms")
    require(daemon.peak <= 64 and not ring.closed and answers > 0, text)
    return text


@check("W4", "a flood of calls that ask for no answer")
def silent_calls(context):
    daemon = context.daemon()
    ring = context.attach(context.bus(dave), "mask")
    ring.wait(10)
    daemon.reset_peak()
    before, seconds = daemon.resident, 20 if context.long else 5
    ring.frames, ring.lost, ring.latencies = 0, 0, []

    def read():
        if ring.drain():
            ring.follow()
        daemon.check()

    sent = silent_flood(context, seconds, [alice, alice, alice, bob, carol, crowd[1]], read)
    frames, lost = ring.frames / seconds, ring.lost
    begun = time.monotonic()
    context.bus(dave).get("Camera1", "State", timeout=60)
    text = (f"{sent / seconds:.0f} calls/s sent; peak {daemon.peak:.0f} MiB (+{daemon.peak - before:.0f}); {frames:.1f} frames/s, p99 "
            f"{percentile(ring.latencies, 0.99):.1f} ms, {lost} lost; a call afterwards takes {1000 * (time.monotonic() - begun):.0f} ms")
    require(daemon.peak <= 64 and not ring.closed, text)
    return text


@check("W5", "a flood of calls on a session bus, which sets hardly any limits")
def session_flood(context):
    daemon = context.daemon(wait=False, session=True)
    try:
        daemon.use_session_bus()
        ring = context.attach(context.bus(portraitd), "mask")
        ring.wait(10)
        daemon.reset_peak()
        before, seconds, buses = daemon.resident, 20 if context.long else 5, [context.bus(portraitd) for _ in range(8)]
        answers = sent = 0
        batches = [b"".join(bus.encode(SERVICE, path, interface, member, signature, marshal(signature, *values))
                            for path, interface, member, signature, values in CALLS * 64) for bus in buses]
        for bus in buses:
            bus.socket.setblocking(False)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for bus, batch in zip(buses, batches):
                try:
                    # A part of a call may be left over: the next batch continues it.
                    at = getattr(bus, "left", 0)
                    done = bus.socket.send(batch[at:])
                    bus.left = (at + done) % len(batch)
                    sent += done / len(batch) * len(CALLS) * 64
                except BlockingIOError:
                    pass
                # Every second connection never reads.
                if bus is buses[0] or buses.index(bus) % 2 == 0:
                    bus.poll()
                    answers += len(bus.replies)
                    bus.replies.clear()
            if ring.drain():
                ring.follow()
            daemon.check()
        text = (f"{sent / seconds:.0f} calls/s sent, {answers / seconds:.0f} answered; peak {daemon.peak:.0f} MiB (+{daemon.peak - before:.0f}); "
                f"{ring.frames / (seconds + 0.4):.1f} frames/s, {ring.lost} lost")
        for bus in buses:
            bus.close()
        require(daemon.peak <= 64 and not ring.closed, text)
        return f"{text}; resident {daemon.back_within(before, 4) - before:+.1f} MiB within ten seconds"
    finally:
        daemon.leave_session_bus()


@check("W3", "attach cycles, clients killed at random and a flood of calls: the memory comes back")
def memory_back(context):
    daemon = context.daemon(f'metrics_file = "{METRICS}"\n')
    warm = context.bus(dave)
    for stream in ("mask", "view", "composite"):
        ring = context.attach(warm, stream)
        ring.wait(3)
        ring.close()
    until(lambda: warm.get("Camera1", "Consumers") == 0 and warm.get("Camera1", "State") == "idle", "the camera at rest")
    daemon.housekeeping(METRICS)
    before, descriptors, threads = daemon.resident, daemon.descriptors, daemon.threads
    cycles, kills = (10_000, 229) if context.long else (500, 30)
    numbers = random.Random(13)
    busy = 0
    buses = [context.bus(user) for user in crowd[:8]]
    for number in range(cycles):
        bus = buses[number % 8]
        try:
            for fd in raw_attach(bus, numbers.choice(["mask", "view"])):
                os.close(fd)
        except CallError as error:
            require(error.short == "Busy", f"cycle {number}: {error}")
            busy += 1
    for number in range(kills):
        ready, tell = os.pipe()

        def victim():
            ring = attach(Bus(crowd[number % 32]), numbers.choice(["mask", "view"]))
            os.write(tell, b"x")
            while True:
                ring.wait(1)

        pid = context.fork(victim)
        os.close(tell)
        os.read(ready, 1)
        os.close(ready)
        time.sleep(numbers.random() * 0.02)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        context.children.remove(pid)
    answers, _ = flood(context, 20 if context.long else 2, [alice, bob, carol, crowd[1]])
    for bus in buses:
        bus.close()
    until(lambda: warm.get("Camera1", "Consumers") == 0, "no attachments")
    after = daemon.back_within(before, 4)
    text = (f"{cycles} cycles ({busy} told Busy), {kills} kills, {answers} calls: resident {before:.1f} MiB before, {after:.1f} after; "
            f"descriptors {descriptors} and {daemon.descriptors}, threads {threads} and {daemon.threads}; peak {daemon.peak:.0f} MiB")
    require(daemon.descriptors <= descriptors + 1 and daemon.threads <= threads + 1, text)
    return text
