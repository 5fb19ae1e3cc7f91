"""An RTSP camera with a moving test picture: rtsp_server.py FILE. Writes its port to FILE when it listens, and ends with its
standard input."""

import pathlib
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch("( videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=240,framerate=15/1 ! jpegenc ! rtpjpegpay name=pay0 )")
server.get_mount_points().add_factory("/stream", factory)
server.attach(None)
loop = GLib.MainLoop()


def end_with_input():
    sys.stdin.read()
    loop.quit()


threading.Thread(target=end_with_input, daemon=True).start()
pathlib.Path(sys.argv[1]).write_text(f"{server.get_bound_port()}\n")
loop.run()
