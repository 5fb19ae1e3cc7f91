"""Chromium, headless, sees a camera of portraitd by getUserMedia: through the camera portal and PipeWire.

The portal is Debian's, on a session bus of its own. The permission to use a camera is stored beforehand, so nobody is asked.
"""

import argparse
import http.server
import json
import os
import queue
import subprocess
import tempfile
import threading
from pathlib import Path

from main import PATIENCE, Camera, World, fail

PAGE = b"""<!doctype html>
<meta charset=utf-8>
<title>Camera</title>
<style>body { margin: 0; background: #444; color: #fff; font: 14px sans-serif }</style>
<video id=video autoplay muted playsinline width=640></video>
<p id=text></p>
<img src=/wait style="display: none">
<script>
const say = (found) => fetch("/say", { method: "POST", body: JSON.stringify(found) });
(async () => {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 } });
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
  video.srcObject = stream;
  let frames = 0;
  const count = () => {
    if (++frames < 30) return video.requestVideoFrameCallback(count);
    const canvas = new OffscreenCanvas(64, 36), context = canvas.getContext("2d");
    context.drawImage(video, 0, 0, 64, 36);
    const colors = new Set();
    const data = context.getImageData(0, 0, 64, 36).data;
    for (let at = 0; at < data.length; at += 4) colors.add(data[at] << 16 | data[at + 1] << 8 | data[at + 2]);
    text.textContent = stream.getVideoTracks()[0].label;
    say({ labels: devices.map((device) => device.label), label: stream.getVideoTracks()[0].label, width: video.videoWidth, height: video.videoHeight, colors: colors.size });
  };
  video.requestVideoFrameCallback(count);
})().catch((error) => say({ error: String(error) }));
</script>
"""


class Site:
    """A page on the loopback. It has loaded, and Chromium takes the picture, when it has said what it sees."""

    def __init__(self):
        said, loaded = queue.Queue(), threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self, body):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                if self.path == "/wait":
                    loaded.wait(PATIENCE)
                self.answer(PAGE if self.path == "/" else b"")

            def do_POST(self):
                said.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.answer(b"")
                loaded.set()

        self.said = said
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def address(self):
        return f"http://127.0.0.1:{self.server.server_port}/"


def on_the_bus(name):
    subprocess.run(["gdbus", "wait", "--session", "--timeout", str(PATIENCE), name], check=True)


def portal(world):
    """The camera portal, with a back end that is never asked."""
    folder = world.folder / "portals"
    folder.mkdir()
    (folder / "test.portal").write_text("[portal]\nDBusName=org.freedesktop.impl.portal.desktop.test\nInterfaces=org.freedesktop.impl.portal.Access;\nUseIn=test\n")
    os.environ.update(XDG_CURRENT_DESKTOP="test", XDG_DESKTOP_PORTAL_DIR=str(folder), XDG_DATA_HOME=str(world.folder))
    store = "org.freedesktop.impl.portal.PermissionStore"
    world.start("/usr/libexec/xdg-permission-store")
    on_the_bus(store)
    subprocess.run(["gdbus", "call", "--session", "--dest", store, "--object-path", "/org/freedesktop/impl/portal/PermissionStore", "--method",
                    f"{store}.SetPermission", "devices", "true", "camera", "", "['yes']"], check=True, stdout=subprocess.DEVNULL)
    world.start("/usr/libexec/xdg-desktop-portal", stderr=subprocess.DEVNULL)
    on_the_bus("org.freedesktop.portal.Desktop")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", required=True, help="the folder of portraitd and portraitctl")
    parser.add_argument("--bridge", required=True)
    parser.add_argument("--picture", required=True, help="where the picture of the page is written, as PNG")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        world = World(arguments, Path(folder))
        try:
            test(world, Path(arguments.picture).resolve())
        finally:
            world.end()


def test(world, picture):
    world.cameras(main="scene:walk")
    world.daemon()
    camera = Camera(world, "main")
    world.pipewire()
    _, said = world.bridge()
    said.until(lambda line: line.endswith("main (composite): on the list"), "the nodes")
    portal(world)
    site = Site()
    browser = world.start(
        "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={world.folder / 'chromium'}", "--enable-features=WebRtcPipeWireCamera",
        "--use-fake-ui-for-media-stream", "--window-size=640,420", f"--screenshot={picture}", site.address(), stderr=subprocess.DEVNULL)
    try:
        seen = site.said.get(timeout=PATIENCE)
    except queue.Empty:
        fail(f"the page has seen nothing for {PATIENCE} s")
    if seen.get("labels") != ["main (view)", "main (composite)"] or (seen["width"], seen["height"]) != (1280, 720):
        fail(f"the page sees {seen}")
    if seen["colors"] < 100:
        fail(f"the picture has next to no colours: {seen}")
    if browser.wait(timeout=PATIENCE) != 0 or not picture.stat().st_size > 20_000:
        fail("Chromium takes no picture of the page")
    camera.until("idle")
    print(f"pipewire: Chromium sees {seen['label']}, and the camera is off afterwards: ok ({picture})", flush=True)


if __name__ == "__main__":
    main()
