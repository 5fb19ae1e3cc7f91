"""Tests of the Python reader that need no bus.

    reader.py headers FILE          prints 0 for each header of FILE that the reader accepts, else 1
    reader.py wait SECONDS MEMORY EVENT   waits for a frame of an open ring, and prints the result
"""

import pathlib
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parents[3] / "python/src"))
import portraitd

HEADER_BYTES = 4096

if sys.argv[1] == "headers":
    data = pathlib.Path(sys.argv[2]).read_bytes()
    for start in range(0, len(data), HEADER_BYTES + 8):
        header = data[start : start + HEADER_BYTES]
        (size,) = struct.unpack_from("<Q", data, start + HEADER_BYTES)
        try:
            portraitd.Layout.parse(header, size)
            print(0)
        except portraitd.RingError:
            print(1)
else:
    ring = portraitd.Ring(int(sys.argv[3]), int(sys.argv[4]))
    try:
        print(int(ring.wait(float(sys.argv[2]))))
    except portraitd.Closed:
        print(-32)
