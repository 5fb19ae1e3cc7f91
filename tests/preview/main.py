"""Opens `portraitctl preview` in headless Chromium, uses it as a person does, attacks it as another site does, and takes screenshots.

Usage: main.py FOLDER [PICTURE], from the repository's root, with a session bus. FOLDER gets the screenshots. With PICTURE it only
takes the picture of the README, and says what the preview has cost."""

import base64
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path.cwd()
PROGRAMS = ROOT / "target/release"
# Whatever is waited for comes within this time on a busy machine.
PATIENCE_S = 60

CONFIGURATION = """
[[camera]]
name = "main"
device = "scene:walk"
idle_close_s = 0.5
allow_source = true
[[camera]]
name = "door"
device = "scene:pass"
idle_close_s = 0.5
"""


def until(what, condition):
    """Waits for a condition of another process. Returns what it gives."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"never: {what}")


class Browser:
    """Chromium, by the DevTools protocol over a pipe."""

    def __init__(self, folder):
        to_read, self.to = os.pipe()
        self.of, to_write = os.pipe()
        command = ["chromium", "--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        command += ["--no-sandbox"] if os.geteuid() == 0 else []
        command += [f"--user-data-dir={folder}", "--window-size=1360,900", "about:blank"]

        def descriptors():
            # High ones first: 3 and 4 may be among ours.
            ends = [os.dup(end) for end in (to_read, to_write)]
            high = [os.dup2(end, 60 + i) for i, end in enumerate(ends)]
            for target, end in zip((3, 4), high):
                os.dup2(end, target, inheritable=True)

        # It has no business on our bus.
        environment = os.environ | {"DBUS_SESSION_BUS_ADDRESS": "disabled:"}
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, preexec_fn=descriptors, close_fds=False, env=environment, **quiet)
        os.close(to_read)
        os.close(to_write)
        self.buffer, self.number, self.events = b"", 0, []

    def call(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.buffer:
                data = os.read(self.of, 1 << 20)
                assert data, "chromium has ended"
                self.buffer += data
            text, self.buffer = self.buffer.split(b"\0", 1)
            answer = json.loads(text)
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self.events.append(answer)

    def open(self, address):
        return Tab(self, address)

    def errors(self):
        """What pages have complained about since the last time."""
        events, self.events = self.events, []
        for event in events:
            method, parameters = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                yield parameters["exceptionDetails"]
            if method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                yield parameters["entry"]["text"]

    def close(self):
        self.process.terminate()
        self.process.wait()


class Tab:
    def __init__(self, browser, address):
        self.browser = browser
        self.target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=address)
        self.until("location.href !== 'about:blank' && document.readyState === 'complete'")

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, (expression, result["exceptionDetails"])
        return result["result"].get("value")

    def until(self, expression):
        return until(f"{expression} in the page", lambda: self.value(expression))

    def frames(self, count):
        """Waits for further frames of what is shown."""
        before = self.value("Number(document.getElementById('stage').dataset.frames || 0)")
        self.until(f"Number(document.getElementById('stage').dataset.frames || 0) >= {before + count}")

    def click(self, selector):
        assert self.value(f"(element => element && !element.disabled && (element.click(), true))(document.querySelector({json.dumps(selector)}))"), selector

    def key(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" and len(key) == 1 else "")

    def drag(self, selector, corners):
        """Draws a rectangle with the mouse; corners as fractions of an element."""
        left, top, width, height = self.value(
            f"(box => [box.x, box.y, box.width, box.height])(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        points = [(left + x * width, top + y * height) for x, y in corners]
        mouse = {"button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=points[0][0], y=points[0][1], **mouse)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=points[1][0], y=points[1][1], **mouse)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=points[1][0], y=points[1][1], **mouse)

    def size(self, width, height, scale=1, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile)

    def screenshot(self, path, **parameters):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **parameters)["data"]))

    def fits(self):
        wide = self.value("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], f"the page is wider than the window: {wide}"

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)


def control(*arguments):
    return subprocess.run([PROGRAMS / "portraitctl", "--bus", "session", *arguments], check=True, capture_output=True, text=True).stdout


def status(camera="main"):
    return json.loads(control("--camera", camera, "--json", "status"))


def service(configuration):
    process = subprocess.Popen([PROGRAMS / "portraitd", "run", "--config", configuration, "--bus", "session", "--log", "warn"])
    control("wait", "--timeout", str(PATIENCE_S))
    return process


FOREIGN = """<!doctype html><title>foreign</title><iframe id="frame" src="ADDRESS"></iframe>
<form id="form" method="post" action="ADDRESSapi/camera/main/set" enctype="text/plain" target="sink"><input name='{"key":"framing.mode","value":"off","x":"' value='"}'></form>
<iframe name="sink"></iframe>"""


def attack(browser, preview, token):
    """Another site of the same machine, as any local user can serve one: same host, another port."""

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            page = FOREIGN.replace("ADDRESS", preview).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    mode = status()["framing"]["Mode"]
    tab = browser.open(f"http://127.0.0.1:{server.server_port}/")
    tab.until("document.title === 'foreign' && document.readyState === 'complete'")
    # Even with the token, which it does not have, it may neither ask nor read.
    asked = tab.value(
        f"""Promise.all([
            fetch("{preview}api/cameras", {{headers: {{Authorization: "Bearer {token}"}}}}),
            fetch("{preview}api/cameras"),
            fetch("{preview}api/camera/main/set", {{method: "POST", mode: "no-cors", body: '{{"key": "framing.mode", "value": "off"}}'}}).then((answer) => answer.json()),
            import("{preview}preview.js"),
        ].map((request) => request.then(() => "answered", () => "refused")))"""
    )
    assert asked == ["refused"] * 4, asked
    tab.value("document.getElementById('form').submit()")
    tab.until("document.getElementsByName('sink')[0].contentDocument === null")
    assert tab.value("document.getElementById('frame').contentDocument") is None, "the page is shown in a frame"
    assert status()["framing"]["Mode"] == mode, "another site has changed a setting"
    tab.close()
    server.shutdown()
    list(browser.errors())


def use(browser, address, folder, configuration, daemon):
    tab = browser.open(address)
    tab.size(1360, 960)
    tab.frames(20)
    assert "#" not in tab.value("location.href"), "the token stays in the address"
    tab.until("document.getElementById('state').textContent === 'running'")
    tab.until("[...document.querySelectorAll('#camera option')].map((option) => option.value).join() === 'door,main'")
    tab.value("(select => { select.value = 'main'; select.dispatchEvent(new Event('change')); })(document.getElementById('camera'))")
    tab.frames(40)
    tab.until("document.querySelector('[data-figure=net] b').textContent !== '-'")
    tab.until("document.querySelectorAll('#subject option').length > 1")
    tab.screenshot(folder / "view.png")
    tab.fits()

    # Pages share an attachment.
    second = browser.open(address)
    second.until("document.querySelector('#camera').value !== ''")
    second.value("(select => { select.value = 'main'; select.dispatchEvent(new Event('change')); })(document.getElementById('camera'))")
    second.frames(5)
    assert status()["camera"]["Consumers"] == 1, "two pages of one stream have one attachment"
    second.close()

    # Settings, by mouse and keys.
    tab.click("[data-stream=composite]")
    tab.frames(5)
    tab.click("[data-key='background.mode'] [data-value=color]")
    tab.value("(input => { input.value = '#7a1f4b'; input.dispatchEvent(new Event('change')); })(document.getElementById('color'))")
    until("the colour is set", lambda: status()["background"]["Color"] == "#7a1f4b")
    tab.frames(5)
    tab.screenshot(folder / "composite.png")
    tab.key("f")
    until("a key switches framing off", lambda: status()["framing"]["Mode"] == "off")
    tab.click("[data-key='framing.mode'] [data-value=follow]")
    until("a button switches it on", lambda: status()["framing"]["Mode"] == "follow")
    before = status()["framing"]["MaxZoom"]
    tab.key("-")
    until("a key changes the zoom", lambda: status()["framing"]["MaxZoom"] < before)
    tab.value(
        """(async (input) => {
            const canvas = new OffscreenCanvas(640, 360);
            const context = canvas.getContext("2d");
            const sky = context.createLinearGradient(0, 0, 640, 360);
            sky.addColorStop(0, "#27496d");
            sky.addColorStop(1, "#e8a87c");
            context.fillStyle = sky;
            context.fillRect(0, 0, 640, 360);
            const list = new DataTransfer();
            list.items.add(new File([await canvas.convertToBlob()], "background.png", { type: "image/png" }));
            input.files = list.files;
            input.dispatchEvent(new Event("change"));
        })(document.getElementById("image"))"""
    )
    tab.click("[data-key='background.mode'] [data-value=image]")
    until("the image is shown", lambda: status()["background"]["Mode"] == "image")
    tab.frames(5)
    assert tab.value("document.getElementById('message').hidden"), tab.value("document.getElementById('message').textContent")

    # A zone, drawn with the mouse in the whole frame.
    tab.key("4")
    tab.frames(5)
    tab.click("#show-tint")
    tab.click("#draw-zone")
    tab.drag("#picture", [(0.75, 0.5), (1.2, 0.9)])
    zone = until("the zone is set", lambda: status()["framing"]["Zones"])[0]
    assert all(abs(part - wanted) < 0.01 for part, wanted in zip(zone, (0.75, 0.5, 0.25, 0.4))), zone
    tab.key("Escape")
    tab.frames(20)
    tab.screenshot(folder / "source.png")
    tab.click("#zones button")
    until("the zone is removed", lambda: status()["framing"]["Zones"] == [])
    tab.key("3")
    tab.frames(5)
    tab.screenshot(folder / "mask.png")

    # A phone.
    tab.size(390, 844, 2, True)
    tab.key("1")
    tab.frames(5)
    tab.fits()
    tab.screenshot(folder / "phone.png", captureBeyondViewport=True, clip={"x": 0, "y": 0, "width": 390, "height": 1500, "scale": 1})
    tab.size(1360, 960)

    # A stream that is not allowed, next to one that is.
    tab.key("n")
    tab.key("4")
    tab.until("document.getElementById('note-text').textContent.includes('allow_source')")
    tab.screenshot(folder / "refused.png")
    tab.key("1")
    tab.frames(5)
    tab.key("n")
    tab.frames(5)

    # Private, and the service gone and back.
    tab.click("#private")
    tab.until("document.getElementById('state').textContent === 'private' && !document.getElementById('note').hidden")
    assert status()["camera"]["Private"] is True
    tab.screenshot(folder / "private.png")
    tab.click("#note-open")
    until("it is opened", lambda: status()["camera"]["Private"] is False)
    tab.frames(5)
    problems = list(browser.errors())
    # The refused stream is the only error that the network has.
    assert all("502" in str(problem) for problem in problems), problems
    daemon.kill()
    daemon.wait()
    tab.until("document.getElementById('note-text').textContent.includes('portraitd is not running')")
    tab.screenshot(folder / "gone.png")
    daemon = service(configuration)
    tab.frames(5)
    until("view and mask are attached again", lambda: status()["camera"]["Consumers"] == 2)

    # Nobody looks any more: the window is minimized, and then closed.
    window = browser.call("Browser.getWindowForTarget", targetId=tab.target)["windowId"]
    browser.call("Browser.setWindowBounds", windowId=window, bounds={"windowState": "minimized"})
    tab.until("document.hidden")
    until("a hidden page has no attachment", lambda: status()["camera"]["Consumers"] == 0)
    browser.call("Browser.setWindowBounds", windowId=window, bounds={"windowState": "normal"})
    tab.frames(5)
    tab.close()
    until("the camera is closed", lambda: status()["camera"]["Consumers"] == 0)
    list(browser.errors())
    return daemon


def cpu_ms(process):
    ticks = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return sum(map(int, ticks)) * 1000 / os.sysconf("SC_CLK_TCK")


def picture(browser, address, path, preview):
    """A minute of the source with all that can be drawn in, in the dark scheme."""
    tab = browser.open(address)
    tab.size(1280, 790)
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    tab.until("document.querySelector('#camera').value !== ''")
    tab.value("(select => { select.value = 'main'; select.dispatchEvent(new Event('change')); })(document.getElementById('camera'))")
    tab.click("#show-tint")
    tab.key("4")
    tab.frames(30)
    shown = "Number(document.getElementById('stage').dataset.frames)"
    before, cost = tab.value(shown), cpu_ms(preview)
    time.sleep(75)
    frames = tab.value(shown) - before
    print(f"{frames} frames of the source in 75 s; CPU time of portraitctl: {(cpu_ms(preview) - cost) / frames:.1f} ms for each, with its mask")
    tab.screenshot(path, format="jpeg", quality=80)


def main(folder, path=None):
    work = tempfile.TemporaryDirectory()
    configuration = pathlib.Path(work.name) / "portraitd.toml"
    configuration.write_text(CONFIGURATION)
    daemon = service(configuration)
    command = [PROGRAMS / "portraitctl", "--bus", "session", "preview", "--listen", "127.0.0.1:0"]
    preview = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    browser = Browser(f"{work.name}/chromium")
    try:
        address = preview.stdout.readline().strip()
        base, token = address.split("#")
        if path:
            return picture(browser, address, path, preview)
        daemon = use(browser, address, folder, configuration, daemon)
        attack(browser, base, token)
        wrong = browser.open(f"{base}#{'0' * 32}")
        wrong.until("document.querySelector('.locked') && document.querySelector('.locked').textContent.includes('token')")
        wrong.screenshot(folder / "locked.png")
    finally:
        browser.close()
        for process in (preview, daemon):
            process.kill()
            process.wait()
        work.cleanup()
    print("note: preview: screenshots are in", folder)


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
