"""A reader and a provider in Python, for `benches/doors/run`.

Usage: client.py reader | provider FILE, with a session bus and the package in PYTHONPATH. `reader` prints the capture time of each
frame and when it had the frame, in nanoseconds; `provider` publishes I420 pictures of 1280x720, 30 a second."""

import sys
import time

import portraitd

WIDTH, HEIGHT = 1280, 720

with portraitd.connect("session") as bus:
    if sys.argv[1] == "reader":
        for frame in bus.camera("main").attach("view"):
            print(frame.capture_ns, time.monotonic_ns(), flush=True)
    with open(sys.argv[2], "rb") as file:
        pictures = []
        while picture := file.read(WIDTH * HEIGHT * 3 // 2):
            pictures.append(picture)
    with bus.camera("door").provide("YU12", WIDTH, HEIGHT, fps=30) as provider:
        due, number = time.monotonic(), 0
        while True:
            provider.until_wanted()
            provider.publish(pictures[number % len(pictures)], time.monotonic_ns())
            number += 1
            due = max(due + 1 / 30, time.monotonic() - 1 / 30)
            time.sleep(max(0.0, due - time.monotonic()))
