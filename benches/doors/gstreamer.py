"""Runs a GStreamer pipeline for `benches/doors/run`, and prints for each buffer that comes to the element `reader` when it was
captured and when it came, in nanoseconds.

Usage: gstreamer.py PIPELINE"""

import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402


def arrived(pad, info, pipeline):
    # The clock of a live pipeline is CLOCK_MONOTONIC, and the time of a buffer is that of its capture.
    captured = pipeline.get_base_time() + info.get_buffer().pts
    print(captured, pipeline.get_clock().get_time(), flush=True)
    return Gst.PadProbeReturn.OK


Gst.init(None)
pipeline = Gst.parse_launch(sys.argv[1])
reader = pipeline.get_by_name("reader")
if reader:
    reader.get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, arrived, pipeline)
loop = GLib.MainLoop()
bus = pipeline.get_bus()
bus.add_signal_watch()
bus.connect("message::error", lambda _, message: sys.exit(f"gstreamer: {message.parse_error()}"))
pipeline.set_state(Gst.State.PLAYING)
loop.run()
