"""The camera that can be unplugged: a y4m video in a `/dev` of this namespace, under the name of a V4L2 node.

Its appearance is announced by inotify like that of a node. Pulled out it is cut in the middle of a frame, so that the read fails.
"""

import os
import random
import stat
import subprocess
import tempfile
from pathlib import Path

NODE = Path("/dev/video77")
WIDTH, HEIGHT, FRAMES = 640, 360, 60


def own_dev():
    """Mounts a /dev with the few nodes that programs need, in which files can be made and removed."""
    folder = tempfile.mkdtemp()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=256m", "chaos", folder], check=True)
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        node = os.stat(f"/dev/{name}")
        os.mknod(f"{folder}/{name}", stat.S_IFCHR | 0o666, node.st_rdev)
        os.chmod(f"{folder}/{name}", 0o666)
    os.symlink("/proc/self/fd", f"{folder}/fd")
    os.mkdir(f"{folder}/shm")
    subprocess.run(["mount", "--move", folder, "/dev"], check=True)
    os.rmdir(folder)


def picture():
    """The bytes of a video: a sloping grey that moves, and at the left edge a stripe by which a frame is known."""
    slope = bytes(40 + (row + column // 4) % 160 for row in range(HEIGHT) for column in range(WIDTH))
    chroma = bytes([128]) * (WIDTH * HEIGHT // 2)
    out = bytearray(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F30:1 C420jpeg\n".encode())
    for number in range(FRAMES):
        shift = number * WIDTH
        luma = bytearray(slope[shift:] + slope[:shift])
        value = 32 + number * 37 % 160
        for column in range(16):
            luma[column::WIDTH] = bytes([value]) * HEIGHT
        out += b"FRAME\n" + luma + chroma
    return bytes(out)


class Camera:
    def __init__(self):
        self.data = picture()
        self.plug()

    def plug(self):
        new = NODE.with_name(".new")
        new.write_bytes(self.data)
        new.chmod(0o644)
        new.rename(NODE)

    def unplug(self, numbers: random.Random):
        size = numbers.choice([0, 60, numbers.randrange(100, len(self.data))])
        with NODE.open("r+b") as file:
            file.truncate(size)
        NODE.unlink()
