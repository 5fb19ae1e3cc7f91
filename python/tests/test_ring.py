"""Rings made here, without a service."""

import asyncio
import fcntl
import os
import struct
import unittest

import portraitd
from portraitd import _dbus, aio

try:
    import numpy
except ImportError:
    numpy = None

SHRINK = 2


def memory(fourcc=b"GREY", planes=((512, 64, 4),), size=(40, 4), stream=1, seals=SHRINK, slot_bytes=4096):
    """The descriptor of a ring with one frame, whose bytes in row y and column x are 10 y + x."""
    good = bytearray(4096 + 4 * slot_bytes)
    struct.pack_into("<8s6I", good, 0, b"PORTRAIT", 1, 4096, 4, slot_bytes, 7, stream)
    struct.pack_into("<4s3I", good, 32, fourcc, *size, len(planes))
    for number, plane in enumerate(planes):
        for field, value in enumerate(plane):
            struct.pack_into("<I", good, 48 + 16 * field + 4 * number, value)
        offset, stride, rows = plane
        for y in range(rows):
            for x in range(stride):
                good[4096 + offset + y * stride + x] = (10 * y + x) % 256
    struct.pack_into("<Q", good, 128, 1)
    struct.pack_into("<6Q4f2I", good, 4096, 2, 100, 1000, 2000, 99, 33, 1.0, 2.0, 30.0, 40.0, 0x8000_0003, 1)
    struct.pack_into("<I5f", good, 4096 + 72, 5, 1.0, 2.0, 3.0, 4.0, 0.75)
    fd = os.memfd_create("ring", os.MFD_ALLOW_SEALING)
    os.write(fd, good)
    fcntl.fcntl(fd, 1033, seals)  # F_ADD_SEALS
    return fd


def open_ring(**parts):
    """A ring and the write end of its pipe."""
    reader, writer = os.pipe()
    return portraitd.Ring(memory(**parts), reader), writer


def descriptors():
    return len(os.listdir("/proc/self/fd"))


class Rings(unittest.TestCase):
    def test_a_frame_has_what_the_writer_wrote(self):
        ring, writer = open_ring()
        os.write(writer, b"\1")
        self.assertTrue(ring.wait(5))
        frame = ring.read()
        self.assertEqual((frame.index, frame.sequence, frame.capture_ns, frame.publish_ns), (1, 100, 1000, 2000))
        self.assertEqual((frame.mask_sequence, frame.mask_age_ns, frame.crop), (99, 33, (1.0, 2.0, 30.0, 40.0)))
        self.assertEqual(frame.people, (portraitd.Person(5, 1.0, 2.0, 3.0, 4.0, 0.75),))
        self.assertIn(portraitd.Flags.MASK_VALID, frame.flags)
        self.assertIn(portraitd.Flags.STILL, frame.flags)
        self.assertEqual(int(frame.flags), 0x8000_0003, "bits that are not known are kept")
        self.assertEqual(frame.packed(), bytes(10 * y + x for y in range(4) for x in range(40)))
        self.assertEqual(ring.layout.generation, 7)
        self.assertIsNone(ring.read(), "not twice")
        os.close(writer)
        with self.assertRaises(portraitd.Closed):
            ring.wait(5)
        ring.close()
        ring.close()
        with self.assertRaises(portraitd.Closed):
            ring.read()

    def test_memory_that_can_shrink_is_refused_and_nothing_is_left_open(self):
        before = descriptors()
        for parts in ({"seals": 4}, {"fourcc": b"ABCD"}, {"planes": ((512, 0, 4),)}, {"slot_bytes": 640}, {"size": (40, 5)}):
            reader, writer = os.pipe()
            with self.assertRaises(portraitd.RingError, msg=str(parts)):
                portraitd.Ring(memory(**parts), reader)
            os.close(writer)
        with open("/dev/zero", "rb") as zero, self.assertRaises(portraitd.RingError):
            portraitd.Ring(os.dup(zero.fileno()), os.pipe()[0])
        self.assertEqual(descriptors(), before + 1, "the write end of the last pipe")

    def test_a_torn_frame_is_discarded(self):
        fd = memory(seals=0)
        torn = os.dup(fd)
        fcntl.fcntl(fd, 1033, SHRINK)
        reader, writer = os.pipe()
        ring = portraitd.Ring(fd, reader)
        os.pwrite(torn, struct.pack("<Q", 3), 4096)
        self.assertIsNone(ring.read())
        self.assertEqual(ring.torn, 4)
        # The writer takes the slot between the two looks at the lock.
        os.pwrite(torn, struct.pack("<Q", 2), 4096)
        fences = []

        def fence():
            fences.append(1)
            if len(fences) == 2:
                os.pwrite(torn, struct.pack("<Q", 9), 4096)

        ring._fence = fence
        self.assertIsNone(ring.read())
        self.assertEqual(ring.torn, 8)
        for end in (writer, torn):
            os.close(end)

    def test_a_timeout_ends(self):
        ring, writer = open_ring()
        ring.read()
        self.assertFalse(ring.wait(0.0))
        os.write(writer, b"\1")
        self.assertFalse(ring.wait(0.02), "a wake-up without a frame")
        os.close(writer)

    @unittest.skipIf(numpy is None, "without numpy")
    def test_arrays_show_rows_columns_and_channels(self):
        grey = open_ring()[0].read().array()
        self.assertEqual((grey.shape, int(grey[3, 5])), ((4, 40), 35))
        rgb = open_ring(fourcc=b"RGB3", planes=((512, 128, 4),))[0].read().array()
        self.assertEqual((rgb.shape, rgb[2, 7].tolist()), ((4, 40, 3), [41, 42, 43]))
        nv12 = open_ring(fourcc=b"NV12", planes=((512, 64, 4), (768, 64, 2)))[0].read()
        self.assertEqual((nv12.array(0).shape, nv12.array(1).shape), ((4, 40), (2, 20, 2)))
        self.assertEqual(nv12.array(1)[1, 2].tolist(), [14, 15])
        with self.assertRaises(ValueError):
            nv12.array(1)[0, 0, 0] = 1


class Offers(unittest.TestCase):
    """Offered memory, read by the reader of this package."""

    def read(self, ring):
        reader, writer = os.pipe()
        self.addCleanup(os.close, writer)
        with portraitd.Ring(os.dup(ring.memory), reader) as opened:
            return opened.read()

    def test_a_picture_comes_back_with_its_planes_and_time(self):
        before = descriptors()
        for fourcc, width, height in (("NV12", 34, 18), ("YU12", 33, 17), ("RGB3", 64, 36), ("GREY", 16, 16), ("422P", 30, 5)):
            ring = portraitd.OfferedRing(fourcc, width, height, "709", "full")
            self.assertIsNone(self.read(ring), "nothing was written")
            sizes = [plane.row_bytes * plane.rows for plane in ring.layout.planes]
            picture = bytes(i * 7 % 251 for i in range(sum(sizes)))
            for number in range(1, 7):
                ring.write(picture, capture_ns=10 * number, private=number == 6)
                frame = self.read(ring)
                self.assertEqual((frame.index, frame.sequence, frame.capture_ns), (number, number, 10 * number))
                self.assertEqual(portraitd.Flags.PRIVATE in frame.flags, number == 6)
                self.assertEqual(frame.layout, ring.layout)
                self.assertEqual(b"".join(frame.packed(plane) for plane in range(len(sizes))), picture)
            colours = (0, 0) if fourcc in ("RGB3", "GREY") else (2, 2)
            self.assertEqual((frame.layout.color_matrix, frame.layout.color_range), colours)
            ring.close()
            ring.close()
            with self.assertRaises(portraitd.Closed):
                ring.write(picture)
        self.doCleanups()
        self.assertEqual(descriptors(), before)

    def test_a_frame_is_written_in_place_and_none_after_an_exception(self):
        ring = portraitd.OfferedRing("GREY", 70, 2)
        with ring.frame(5) as [plane]:
            self.assertEqual(ring.layout.planes[0].stride, 128)
            plane[:] = bytes(range(128)) * 2
        self.assertEqual(self.read(ring).packed(), bytes(range(70)) * 2)
        with self.assertRaises(ZeroDivisionError), ring.frame() as [plane]:
            plane[0] = 1 // 0
        self.assertEqual((ring.index, self.read(ring).capture_ns), (1, 5))
        ring.write(bytes(140))
        self.assertEqual(self.read(ring).index, 2)

    def test_what_cannot_be_offered_is_refused_by_name(self):
        for arguments, text in (
            (("ABCD", 64, 36), "'ABCD' is not known"),
            (("NV12", 0, 36), "0x36"),
            (("NV12", 64, 20000), "64x20000"),
            (("XB24", 4096, 4096), "a provider may have 67108864"),
            (("NV12", 64, 36, "602"), "'602'"),
            (("NV12", 64, 36, "601", "wide"), "'wide'"),
        ):
            with self.assertRaises(ValueError, msg=str(arguments)) as refused:
                portraitd.OfferedRing(*arguments)
            self.assertIn(text, str(refused.exception))
        ring = portraitd.OfferedRing("RGB3", 4, 2)
        for wrong in (b"", bytes(23), bytes(25)):
            with self.assertRaises(ValueError) as refused:
                ring.write(wrong)
            self.assertIn("has 24 bytes", str(refused.exception))
        self.assertEqual(ring.index, 0)

    def test_nobody_else_can_write_shorten_or_punch_holes(self):
        ring = portraitd.OfferedRing("GREY", 64, 36)
        self.assertEqual(fcntl.fcntl(ring.memory, 1034) & 22, 22)
        with self.assertRaises(OSError):
            os.pwrite(ring.memory, b"x", 0)
        with self.assertRaises(OSError):
            os.ftruncate(ring.memory, 0)

    @unittest.skipIf(numpy is None, "without numpy")
    def test_arrays_are_written(self):
        ring = portraitd.OfferedRing("RGB3", 5, 4)
        picture = numpy.arange(60, dtype=numpy.uint8).reshape(4, 5, 3)
        ring.write(picture)
        self.assertEqual(self.read(ring).array().tolist(), picture.tolist())
        with self.assertRaises((ValueError, TypeError)):
            ring.write(picture[::2])
        with ring.frame() as [plane]:
            rows = numpy.frombuffer(plane, numpy.uint8).reshape(4, 64)
            rows[:, :15] = 9
        self.assertTrue((self.read(ring).array() == 9).all())
        # A view that was kept keeps the memory, and nothing else.
        ring.close()
        self.assertEqual(rows[0, 0], 9)


class Values(unittest.TestCase):
    def test_values_come_back(self):
        for signature, value in [
            ("s", "a text"),
            ("a(udddd)", [(1, 0.0, 0.25, 0.5, 1.0)]),
            ("a{sas}", {"one": ["a", "b"], "two": []}),
            ("(ybnqiuxtd)", (1, True, -2, 3, -4, 5, -6, 7, 0.5)),
            ("ao", ["/a", "/b"]),
        ]:
            writer = _dbus.Writer()
            writer.write(signature, value)
            self.assertEqual(_dbus.Reader(bytes(writer.data), "<").read(signature), value)

    def test_damaged_messages_are_refused(self):
        message = bytearray(_dbus.call(1, "a.b", "/", "a.b", "C", "a{sv}", [{"k": 1.5}])[0])
        message[1] = 2  # a reply
        for at in range(len(message)):
            for value in (0, 1, 7, 0x61, 0x7F, 0xFF):
                damaged = bytes(message[:at]) + bytes([value]) + bytes(message[at + 1 :])
                state = _dbus.Connection()
                state.received(damaged, [])
                try:
                    list(state.replies())
                except portraitd.ProtocolError:
                    pass
        writer = _dbus.Writer()
        writer.write("a{sv}", {"key": "a text", "other": 2.5})
        for cut in range(len(writer.data)):
            with self.assertRaises(portraitd.ProtocolError):
                _dbus.Reader(bytes(writer.data[:cut]), "<").read("a{sv}")
        for signature in ("a", "(", "a{", "z", "(s", "a" * 40 + "s"):
            with self.assertRaises(portraitd.ProtocolError):
                _dbus.split(signature)

    def test_addresses(self):
        self.assertEqual(_dbus.socket_path("unix:path=/run/x,guid=1;tcp:host=y"), "/run/x")
        self.assertEqual(_dbus.socket_path("unix:abstract=/x"), b"\0/x")
        with self.assertRaises(portraitd.ProtocolError):
            _dbus.socket_path("tcp:host=x")

    def test_nobody_answers(self):
        with self.assertRaises(OSError):
            portraitd.connect("unix:path=/nonexistent")
        with self.assertRaises(OSError):
            asyncio.run(aio.connect("unix:path=/nonexistent"))


if __name__ == "__main__":
    unittest.main()
