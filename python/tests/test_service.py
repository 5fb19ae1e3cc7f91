"""With the service on the session bus, which PORTRAITD names; it is started and killed here. PICTURE is a photograph of a person."""

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
    """The service with the cameras `CAMERAS`."""

    CAMERAS = f'[[camera]]\nname = "{CAMERA}"\ndevice = "scene:walk"\n'

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.config = os.path.join(folder.name, "portraitd.toml")
        with open(self.config, "w") as config:
            config.write(self.CAMERAS)
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


class Reading(Service):
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


class Providing(Service):
    """Frames for the camera `door`. The camera `still` shows a photograph, from its file."""

    CAMERAS = """
[[camera]]
name = "still"
device = "file:%s"
fps = 30
allow_source = true
[[camera]]
name = "door"
device = "provider"
fps = 30
idle_close_s = 0.2
allow_source = true
""" % os.environ["PICTURE"]

    def offered(self, camera, layout, **more):
        color = dict(color_matrix=("601", "601", "709", "2020")[layout.color_matrix], color_range=("limited", "limited", "full")[layout.color_range])
        return camera.provide(layout.format, layout.width, layout.height, fps=30, **color, **more)

    def feed(self, provider, picture, until):
        """Publishes while somebody looks, until `until` is set. Returns what `until_wanted` said in the end."""
        while not until.is_set():
            if provider.until_wanted(0.1):
                provider.publish(picture)
                until.wait(1 / 30)

    def test_offered_pictures_have_the_mask_of_the_direct_path(self):
        with portraitd.connect("session") as bus, portraitd.connect("session") as other:
            with bus.camera("still").attach("source") as source:
                frame = source.read(60)
            picture = b"".join(frame.packed(plane) for plane in range(len(frame.layout.planes)))
            done = threading.Event()
            with self.offered(other.camera("door"), frame.layout) as provider:
                self.assertFalse(provider.wanted)
                self.assertIsNone(provider.changed(0.0))
                feeding = threading.Thread(target=self.feed, args=(provider, picture, done))
                feeding.start()
                try:
                    door, still = bus.camera("door"), bus.camera("still")
                    with door.attach("source") as source:
                        returned = source.read(60)
                    self.assertEqual(b"".join(returned.packed(plane) for plane in range(len(frame.layout.planes))), picture)
                    masks = []
                    for camera in (still, door):
                        with camera.attach("mask", resolution="full") as stream:
                            masks.append(next(mask for mask in stream if portraitd.Flags.STILL in mask.flags).packed())
                finally:
                    done.set()
                    feeding.join()
            self.assertGreater(sum(value > 127 for value in masks[0]), len(masks[0]) // 10, "there is a person")
            # The edge depends on how many frames came before.
            both, either = (sum(map(rule, zip(*masks))) for rule in (lambda pair: min(pair) > 127, lambda pair: max(pair) > 127))
            self.assertGreater(both, 0.99 * either, "the masks differ")

    def test_a_provider_is_told_who_looks_and_may_change_its_format(self):
        with portraitd.connect("session") as bus, portraitd.connect("session") as other:
            provider = other.camera("door").provide("GREY", 64, 36)
            camera = bus.camera("door")
            with self.assertRaises(portraitd.ServiceError) as refused:
                camera.provide("GREY", 64, 36)
            self.assertEqual(refused.exception.name, "org.portraitd.Error.Busy")
            with self.assertRaises(portraitd.ServiceError) as refused:
                bus.camera("still").provide("GREY", 64, 36)
            self.assertEqual(refused.exception.name, "org.portraitd.Error.NotSupported")
            with self.assertRaises(portraitd.ServiceError) as refused:
                other.camera("door").provide("GREY", 32, 18, fps=999)
            self.assertEqual(refused.exception.name, "org.portraitd.Error.InvalidArgument")
            self.assertEqual(provider.ring.layout.width, 64, "it is still offered")
            self.assertFalse(provider.until_wanted(0.0))
            with camera.attach("source") as view:
                self.assertTrue(provider.until_wanted(30))
                provider.publish(bytes([90]) * (64 * 36))
                self.assertEqual(set(view.read(30).packed()), {90})
                provider.replace("YU12", 96, 54)
                self.assertFalse(provider.wanted)
                self.assertTrue(provider.until_wanted(30))
                with provider.frame() as planes:
                    for plane in planes:
                        plane[:] = bytes([70]) * len(plane)
                frame = view.read(30)
                while frame.layout.width != 96:
                    frame = view.read(30)
                self.assertEqual(set(frame.packed()), {70})
                provider.publish(bytes(96 * 54 * 3 // 2), private=True)
                while not camera.get("Camera1", "State") == "private":
                    pass
            self.assertIs(provider.changed(30), False)
            self.assertFalse(provider.until_wanted(0.0))
            self.stop()
            with self.assertRaises(portraitd.Closed):
                while provider.changed(30) is not None:
                    pass
            provider.close()
            provider.close()
            with self.assertRaises(portraitd.Closed):
                provider.publish(b"")
            with self.assertRaises(portraitd.Closed):
                provider.until_wanted()

    def test_asyncio_provides_and_may_be_cancelled(self):
        async def run():
            async with await aio.connect("session") as bus, await aio.connect("session") as other:
                async with await (await other.camera("door")).provide("GREY", 64, 36, fps=30) as provider:
                    waiting = asyncio.ensure_future(provider.until_wanted())
                    await asyncio.sleep(0)
                    waiting.cancel()
                    with self.assertRaises(asyncio.CancelledError):
                        await waiting
                    async with await (await bus.camera("door")).attach("source") as view:
                        self.assertTrue(await provider.until_wanted())
                        provider.publish(bytes([50]) * (64 * 36))
                        self.assertEqual(set((await view.read()).packed()), {50})
                        await provider.replace("GREY", 32, 18)
                        self.assertTrue(await provider.until_wanted())
                        provider.publish(bytes([60]) * (32 * 18))
                        while (await view.read()).layout.width != 32:
                            pass
                    self.assertFalse(await provider.changed())
                    with self.assertRaises(portraitd.ServiceError):
                        await (await bus.camera("door")).provide("GREY", 64, 36)
                    other.close()
                    with self.assertRaises(portraitd.Closed):
                        await provider.changed()

        before = len(os.listdir("/proc/self/fd"))
        asyncio.run(run())
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


if __name__ == "__main__":
    unittest.main()
