# SPDX-License-Identifier: MIT OR Apache-2.0
"""Reads frames of a stream, saves the last one as PPM (RGB) or PGM (masks), and prints what it was as JSON.

python3 -m portraitd --bus session --camera front view view.ppm --frames 60
"""

import argparse
import json
import sys
from typing import Optional

from . import Bus, Frame, PortraitdError
from ._names import STREAMS


def save(frame: Frame, path: str) -> None:
    """Saves a frame in the format RGB3 or GREY."""
    kind = {"RGB3": 6, "GREY": 5}[frame.layout.format]
    with open(path, "wb") as out:
        out.write(b"P%d\n%d %d\n255\n" % (kind, frame.width, frame.height))
        out.write(frame.packed())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m portraitd", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bus", default="system", help="system, session, or an address")
    parser.add_argument("--camera", help="it may be omitted if there is only one")
    parser.add_argument("--frames", type=int, default=1, help="number of frames to read, at least 1")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds to wait for a frame")
    parser.add_argument("stream", choices=STREAMS)
    parser.add_argument("file")
    arguments = parser.parse_args()
    if arguments.frames < 1:
        parser.error("--frames must be at least 1")
    pixels = None if arguments.stream == "mask" else "RGB3"
    frame: Optional[Frame] = None
    with Bus(arguments.bus) as bus, bus.camera(arguments.camera).attach(arguments.stream, format=pixels) as stream:
        for _ in range(arguments.frames):
            frame = stream.read(arguments.timeout)
            if frame is None:
                raise TimeoutError("no frame within the timeout")
        summary = {"frames": arguments.frames, "torn": stream.torn, "skipped": stream.skipped}
    assert frame is not None
    save(frame, arguments.file)
    description = {
        "generation": frame.layout.generation,
        "index": frame.index,
        "sequence": frame.sequence,
        "capture_ns": frame.capture_ns,
        "publish_ns": frame.publish_ns,
        "mask_sequence": frame.mask_sequence,
        "mask_age_ns": frame.mask_age_ns,
        "crop": frame.crop,
        "flags": int(frame.flags),
        "people": frame.people,
    }
    print(json.dumps({**summary, **description}))


if __name__ == "__main__":
    try:
        main()
    except (OSError, PortraitdError) as error:
        print(f"portraitd: {error}", file=sys.stderr)
        sys.exit(1)
