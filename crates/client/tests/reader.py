"""Tests of examples/read_frame.py that need no bus.

    reader.py headers FILE          prints 0 for each header of FILE that the reader accepts, else 1
    reader.py wait SECONDS MEMORY EVENT   waits for a frame of an open ring, and prints the result
"""

import importlib.util
import pathlib
import struct
import sys

example = pathlib.Path(__file__).parent.parent / "examples" / "read_frame.py"
spec = importlib.util.spec_from_file_location("read_frame", example)
read_frame = importlib.util.module_from_spec(spec)
sys.dont_write_bytecode = True
spec.loader.exec_module(read_frame)

if sys.argv[1] == "headers":
    data = pathlib.Path(sys.argv[2]).read_bytes()
    for start in range(0, len(data), read_frame.HEADER_BYTES + 8):
        header = data[start : start + read_frame.HEADER_BYTES]
        (size,) = struct.unpack_from("<Q", data, start + read_frame.HEADER_BYTES)
        ring = object.__new__(read_frame.Ring)
        try:
            ring.parse(header, size)
            print(0)
        except ValueError:
            print(1)
else:
    ring = read_frame.Ring(int(sys.argv[3]), int(sys.argv[4]))
    try:
        print(int(ring.wait(float(sys.argv[2]))))
    except EOFError:
        print(-32)
