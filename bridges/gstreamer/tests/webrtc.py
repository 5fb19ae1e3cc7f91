"""Sends a stream of portraitd by WebRTC to another peer in this process, as to a browser: an offer and an answer, ICE over the
network of this machine, DTLS and SRTP, VP8.

Usage: webrtc.py SOURCE [FRAMES] | --check. SOURCE is a GStreamer source of raw video, such as "portraitdsrc bus=session". Ends when the
receiver has decoded FRAMES pictures (15). --check only looks for what it needs. Exit code: 0 they came, 1 they did not, or
something is missing, which it names."""

import sys

import gi

try:
    gi.require_version("Gst", "1.0")
    gi.require_version("GstWebRTC", "1.0")
    gi.require_version("GstSdp", "1.0")
except ValueError as error:
    sys.exit(f"webrtc: {error}")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

# Of each of the two peers, in seconds.
PATIENCE_S = 60


class Call:
    """The sender offers, the receiver answers. The signalling between them, a network in a real program, is a function call."""

    def __init__(self, source, frames):
        self.loop, self.wanted, self.received, self.failure = GLib.MainLoop(), frames, 0, None
        encoder = "videoconvert ! queue leaky=downstream max-size-buffers=1 ! vp8enc deadline=1 cpu-used=8 keyframe-max-dist=30"
        payload = "rtpvp8pay ! application/x-rtp,media=video,encoding-name=VP8,payload=96"
        self.pipeline = Gst.parse_launch(
            f"{source} ! {encoder} ! {payload} ! webrtcbin name=sender bundle-policy=max-bundle webrtcbin name=receiver bundle-policy=max-bundle"
        )
        self.sender, self.receiver = (self.pipeline.get_by_name(name) for name in ("sender", "receiver"))
        self.sender.connect("on-negotiation-needed", self.offer)
        for peer, other in ((self.sender, self.receiver), (self.receiver, self.sender)):
            peer.connect("on-ice-candidate", lambda _, line, candidate, other: other.emit("add-ice-candidate", line, candidate), other)
        self.receiver.connect("pad-added", self.show)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", lambda _, message: self.end(str(message.parse_error())))

    def run(self):
        GLib.timeout_add_seconds(PATIENCE_S, lambda: self.end(f"only {self.received} pictures in {PATIENCE_S} s"))
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)

    def end(self, failure=None):
        self.failure = self.failure or failure
        self.loop.quit()
        return False

    def offer(self, _):
        self.sender.emit("create-offer", None, Gst.Promise.new_with_change_func(self.offered, None))

    def offered(self, promise, _):
        # The value lies in the reply.
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        self.sender.emit("set-local-description", offer, None)
        # As text, which is how it travels.
        _, received = GstSdp.SDPMessage.new_from_text(offer.sdp.as_text())
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.OFFER, received)
        self.receiver.emit("set-remote-description", description, Gst.Promise.new_with_change_func(self.answer, None))

    def answer(self, *_):
        self.receiver.emit("create-answer", None, Gst.Promise.new_with_change_func(self.answered, None))

    def answered(self, promise, _):
        # The value lies in the reply.
        reply = promise.get_reply()
        answer = reply.get_value("answer")
        self.receiver.emit("set-local-description", answer, None)
        _, received = GstSdp.SDPMessage.new_from_text(answer.sdp.as_text())
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, received)
        self.sender.emit("set-remote-description", description, None)

    def show(self, _, pad):
        if pad.direction != Gst.PadDirection.SRC:
            return
        screen = Gst.parse_bin_from_description("rtpvp8depay ! vp8dec ! fakesink name=screen sync=false", True)
        self.pipeline.add(screen)
        screen.sync_state_with_parent()
        pad.link(screen.get_static_pad("sink"))
        screen.get_by_name("screen").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, self.arrived)

    def arrived(self, pad, _):
        self.received += 1
        if self.received == self.wanted:
            caps = pad.get_current_caps().get_structure(0)
            print(f"note: WebRTC: {self.received} pictures of {caps.get_value('width')}x{caps.get_value('height')}")
            GLib.idle_add(self.end)
        return Gst.PadProbeReturn.OK


Gst.init(None)
missing = [name for name in ("webrtcbin", "nicesrc", "dtlsenc", "srtpenc", "vp8enc", "rtpvp8pay") if not Gst.ElementFactory.find(name)]
if missing:
    sys.exit(f"webrtc: GStreamer has no {', '.join(missing)}")
if sys.argv[1] == "--check":
    sys.exit()
call = Call(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 15)
call.run()
sys.exit(f"webrtc: {call.failure}" if call.failure else 0)
