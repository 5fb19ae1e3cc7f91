"""With the service on the session bus, which PORTRAITD names; it is started and killed here."""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import unittest

import portraitd
from portraitd import Variant, aio

CAMERA = "front-1"


class Service(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.config = os.path.join(folder.name, "portraitd.toml")
        with open(self.config, "w") as config:
            config.write(f'[[camera]]\nname = "{CAMERA}"\ndevice = "scene:walk"\n')
        self.daemon = None
        self.addCleanup(self.stop)
        self.start()

    def start(self):
        command = [os.environ["PORTRAITD"], "run", "--config", self.config, "--bus", "session", "--log", "error"]
        self.daemon = subprocess.Popen(command)
        subprocess.run(["gdbus", "wait", "--session", "--timeout", "60", "org.portraitd"], check=True)

    def stop(self):
        if self.daemon:
            self.daemon.kill()
            self.daemon.wait()
            self.daemon = None

    def test_blocking(self):
        with portraitd.connect("session") as bus:
            self.assertEqual(bus.cameras(), [CAMERA])
            camera = bus.camera()
            self.assertEqual(camera.path, bus.camera(CAMERA).path)
            with self.assertRaises(portraitd.ServiceError):
                bus.camera("rear")
            camera.set("Framing1", "Mode", "manual")
            camera.set("Framing1", "Zones", Variant("a(dddd)", [(0.0, 0.0, 0.5, 0.5)]))
            framing = camera.get_all("Framing1")
            self.assertEqual((framing["Mode"], framing["Zones"]), ("manual", [(0.0, 0.0, 0.5, 0.5)]))
            with self.assertRaises(portraitd.ServiceError) as refused:
                camera.set("Framing1", "MaxZoom", 99.0)
            self.assertEqual(refused.exception.name, "org.portraitd.Error.InvalidArgument")
            with self.assertRaises(portraitd.ServiceError):
                camera.attach("source")
            with camera.attach("view", width=64, height=36, format="RGB3") as view:
                frames = [view.read(30) for _ in range(10)]
                self.assertTrue(all(frame is not None for frame in frames))
                self.assertEqual((frames[0].width, frames[0].height, frames[0].layout.format), (64, 36, "RGB3"))
                self.assertTrue(all(a.index < b.index for a, b in zip(frames, frames[1:])))
                self.assertEqual(view.torn, 0)
            # The service notices that the pipe is closed.
            while camera.get("Camera1", "Consumers") != 0:
                pass

    def test_asyncio_reads_two_streams_and_may_be_cancelled(self):
        async def count(stream, wanted):
            async for frame in stream:
                wanted -= 1
                if wanted == 0:
                    return frame

        async def run():
            async with await aio.connect("session") as bus:
                self.assertEqual(await bus.cameras(), [CAMERA])
                camera = await bus.camera()
                async with await camera.attach("mask") as mask, await camera.attach("view", width=64, height=36) as view:
                    frames = await asyncio.gather(count(mask, 5), count(view, 5))
                    self.assertEqual(frames[0].layout.format, "GREY")
                    reading = asyncio.ensure_future(count(view, 10**9))
                    await count(mask, 1)
                    reading.cancel()
                    with self.assertRaises(asyncio.CancelledError):
                        await reading
                    self.assertIsNotNone(await view.read())
                states = await asyncio.gather(*(camera.get("Camera1", "State") for _ in range(8)))
                self.assertEqual(len(set(states)), 1)
                with self.assertRaises(portraitd.ServiceError):
                    await camera.attach("nonsense")
            with self.assertRaises(portraitd.Closed):
                await camera.get("Camera1", "State")

        before = len(os.listdir("/proc/self/fd"))
        asyncio.run(run())
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_streams_outlive_the_service(self):
        async def run():
            async with await aio.connect("session") as bus:
                async with await (await bus.camera()).attach("view", width=64, height=36) as view:
                    await view.read()
                    await asyncio.get_running_loop().run_in_executor(None, again)
                    while view.reattached == 0:
                        await view.read()

        def again():
            self.stop()
            self.start()

        with portraitd.connect("session") as bus, bus.camera().attach("view", width=64, height=36) as view:
            self.assertIsNotNone(view.read(30))
            self.stop()
            starting = threading.Thread(target=self.start)
            starting.start()
            while view.reattached == 0:
                self.assertIsNotNone(view.read(60))
            starting.join()
        asyncio.run(run())

    def test_the_program_saves_a_frame(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "mask.pgm")
            command = [sys.executable, "-m", "portraitd", "--bus", "session", "mask", path, "--frames", "3"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            self.assertIn('"frames": 3', done.stdout)
            with open(path, "rb") as picture:
                self.assertEqual(picture.read(3), b"P5\n")
            command[5] = "source"
            failed = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(failed.returncode, 1)
            self.assertIn("org.portraitd.Error.NoSuchStream", failed.stderr)


if __name__ == "__main__":
    unittest.main()
