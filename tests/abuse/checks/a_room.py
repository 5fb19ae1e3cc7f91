"""A: the room in composites, end to end. The property test over all faults is `cargo test`'s; this is one real run."""

import struct

from checks import check
from ring import attach
from wire import Variant
from world import WORK, bob, carol, require

WIDTH, HEIGHT = 640, 360
GREEN = (145, 54, 34)  # Y, U, V of pure green, BT.601 limited; it occurs in no person
GREENISH = [bytes(int(abs(value - target) <= 20) for value in range(256)) for target in GREEN]


def person(context):
    """A person cut out of the scene: (rows of luma, runs of each row, rows of chroma), by the service's own mask."""
    bus = context.bus(None)
    source = context.attach(bus, "source", width=WIDTH, height=HEIGHT)
    mask = context.attach(bus, "mask", width=WIDTH, height=HEIGHT)
    mask.wait(20)
    source.wait(5)
    picture, cut = None, None
    while picture is None or cut is None:
        picture, cut = source.slot(), mask.slot()
    luma_at, luma_stride, _ = source.planes[0]
    chroma_at, chroma_stride, _ = source.planes[1]
    mask_at, mask_stride, _ = mask.planes[0]
    # Well within the outline, so that no pixel of the scene's own room comes along.
    inside = [cut[mask_at + y * mask_stride :][:WIDTH].translate(bytes(int(value > 250) for value in range(256))) for y in range(HEIGHT)]
    luma = [picture[luma_at + y * luma_stride :][:WIDTH] for y in range(HEIGHT)]
    chroma = [picture[chroma_at + y * chroma_stride :][:WIDTH] for y in range(HEIGHT // 2)]
    source.close()
    mask.close()
    return inside, luma, chroma


def runs(row):
    """The stretches of ones in a row, as (begin, end)."""
    at = 0
    while (begin := row.find(1, at)) >= 0:
        end = row.find(0, begin)
        at = len(row) if end < 0 else end
        yield begin, at
        if end < 0:
            return


def video(path, figure, frames=120):
    """A y4m of the person walking to and fro before a green room, and absent for a while."""
    inside, luma, chroma = figure
    half = [bytes(a & b for a, b in zip(inside[2 * y][0::2], inside[2 * y + 1][0::2])) for y in range(HEIGHT // 2)]
    with open(path, "wb") as out:
        out.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F30:1 Ip A1:1 C420jpeg\n".encode())
        for number in range(frames):
            y_plane = bytearray([GREEN[0]]) * (WIDTH * HEIGHT)
            planes = [bytearray([GREEN[1]]) * (WIDTH * HEIGHT // 4), bytearray([GREEN[2]]) * (WIDTH * HEIGHT // 4)]
            # 90 frames of walking, 8 pixels each, then away.
            shift = 8 * (number if number < 45 else 90 - number) // 2 * 2 - 180
            if number < 90:
                for y in range(HEIGHT):
                    for begin, end in runs(inside[y]):
                        a, b = max(begin + shift, 0), min(end + shift, WIDTH)
                        if a < b:
                            y_plane[y * WIDTH + a : y * WIDTH + b] = luma[y][a - shift : b - shift]
                for y in range(HEIGHT // 2):
                    for begin, end in runs(half[y]):
                        a, b = max(begin + shift // 2, 0), min(end + shift // 2, WIDTH // 2)
                        if a < b:
                            for plane in (0, 1):
                                row = chroma[y][plane::2]
                                planes[plane][y * WIDTH // 2 + a : y * WIDTH // 2 + b] = row[a - shift // 2 : b - shift // 2]
            out.write(b"FRAME\n" + y_plane + planes[0] + planes[1])


def room_share(slot, ring):
    """The share of the picture's chroma samples that have the room's colour."""
    at, stride, rows = ring.planes[1]
    pairs = b"".join(slot[at + y * stride :][: ring.width] for y in range(rows))
    u, v = pairs[0::2].translate(GREENISH[1]), pairs[1::2].translate(GREENISH[2])
    both = int.from_bytes(u, "little") & int.from_bytes(v, "little")
    return both.bit_count() / len(u)


@check("A1", "the room's colour in a composite of a walking, vanishing person at 2, 4 and 10 passes a second")
def room_in_composite(context):
    maker = context.daemon("[[camera]]\nname = \"main\"\nallow_source = true\n", source="scene:still?size=1280x720")
    figure = person(context)
    for closable in [*context.rings, *context.buses]:
        closable.close()
    context.rings, context.buses = [], []
    maker.stop()
    path = WORK / "walk.y4m"
    video(path, figure)
    path.chmod(0o644)
    rows, worst = [], 0.0
    for passes in (2, 4, 10):
        config = (f'[[camera]]\nname = "main"\ndevice = "file:{path}?loop&fps=30"\n[camera.segmentation]\nmax_rate = {passes}.0\n'
                  '[camera.framing]\nmode = "off"\n[camera.background]\nmode = "color"\ncolor = "#ff00ff"\n')
        daemon = context.daemon(config, source=None)
        ring = context.attach(context.bus(bob), "composite", width=WIDTH, height=HEIGHT)
        shares, people, latencies = [], 0, []
        wanted = 240 if context.long else 60
        import time
        begun = time.monotonic()
        while time.monotonic() - begun < (20 if context.long else 5):
            ring.wait(1)
            slot = ring.slot()
            if slot:
                shares.append(room_share(slot, ring))
        rate = ring.frames / (time.monotonic() - begun)
        leaking = sum(share > 0.005 for share in shares)
        worst = max([worst, *shares])
        rows.append(f"{passes} passes: {rate:.1f} frames/s, p99 {sorted(ring.latencies)[int(len(ring.latencies) * 0.99)]:.0f} ms old, "
                    f"{leaking} of {len(shares)} pictures with room, worst {100 * max(shares):.2f} %")
        for closable in [*context.rings, *context.buses]:
            closable.close()
        context.rings, context.buses = [], []
        daemon.stop()
    require(worst <= 0.005, "; ".join(rows))
    return "; ".join(rows)
