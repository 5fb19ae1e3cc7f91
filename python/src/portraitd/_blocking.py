# SPDX-License-Identifier: MIT OR Apache-2.0
"""Use without an event loop: each call waits for its result."""

from __future__ import annotations

import array
import select
import socket
import time
from typing import Any, Dict, List, Optional

from . import _dbus, _names
from ._attachment import Attachment
from ._errors import Closed, ServiceError
from ._offer import Offer, OfferedRing
from ._ring import Frame, Ring


class Bus:
    """A connection to a bus. Leaving it ends the attachments. Used by one thread at a time."""

    def __init__(self, bus: str = "system", timeout: float = 30.0) -> None:
        """Connects to `system`, `session` or the address of another bus. `timeout` is that of each call, in seconds."""
        self._state = _dbus.Connection()
        self._timeout = timeout
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(_dbus.socket_path(bus))
            self._socket.sendall(_dbus.Connection.LOGIN)
            while not self._state.logged_in():
                self._receive()
            self._socket.sendall(_dbus.Connection.BEGIN)
            self.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", destination="org.freedesktop.DBus")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the bus."""
        self._socket.close()
        _dbus.close(self._state.fds)
        self._state.fds = []

    def _receive(self) -> None:
        data, ancillary, _, _ = self._socket.recvmsg(65536, socket.CMSG_SPACE(4 * _dbus.MAX_DESCRIPTORS), socket.MSG_CMSG_CLOEXEC)
        if not data:
            raise Closed("the bus has closed the connection")
        self._state.received(data, descriptors(ancillary))

    def call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Optional[List[Any]] = None,
        destination: str = _names.SERVICE,
    ) -> List[Any]:
        """Calls a method and returns its values. Descriptors are integers: those in `body` stay open, and the caller
        closes those that are returned."""
        serial = self._state.next_serial()
        self._socket.settimeout(self._timeout)
        message, fds = _dbus.call(serial, destination, path, interface, member, signature, body or [])
        sent = socket.send_fds(self._socket, [message], fds) if fds else 0
        self._socket.sendall(message[sent:])
        deadline = time.monotonic() + self._timeout
        while True:
            for reply in self._state.replies():
                if reply.serial == serial:
                    return reply.values()
                _dbus.close(reply.fds)
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            self._receive()

    def cameras(self) -> List[str]:
        """The names of the cameras."""
        [paths] = self.call(*_names.CAMERAS)
        return [str(self.call(*_names.get(path, "Camera1", "Name"))[0]) for path in paths]

    def camera(self, name: Optional[str] = None) -> Camera:
        """The camera named `name`, or the only camera."""
        [paths] = self.call(*_names.CAMERAS)
        return Camera(self, _names.choose(paths, name))


def descriptors(ancillary: List[Any]) -> List[int]:
    """The descriptors that came with a message."""
    fds: array.array[int] = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


class Camera:
    """A camera of the service."""

    def __init__(self, bus: Bus, path: str) -> None:
        self.bus, self.path = bus, path

    def get(self, interface: str, name: str) -> Any:
        """A property, such as `get("Framing1", "Mode")`."""
        return self.bus.call(*_names.get(self.path, interface, name))[0]

    def get_all(self, interface: str) -> Dict[str, Any]:
        """The properties of an interface that the caller may read."""
        return dict(self.bus.call(*_names.get_all(self.path, interface))[0])

    def set(self, interface: str, name: str, value: Any) -> None:
        """Sets a property. Integers, floats, texts and booleans need no type; others are a `Variant`."""
        self.bus.call(*_names.set_(self.path, interface, name, value))

    def reframe(self) -> None:
        """Frames the people again, now."""
        self.bus.call(self.path, _names.interface_of("Framing1"), "Reframe")

    def provide(
        self,
        format: str,
        width: int,
        height: int,
        *,
        fps: Optional[int] = None,
        color_matrix: str = "601",
        color_range: str = "limited",
    ) -> Provider:
        """Offers frames for this camera, whose configuration says `device = "provider"`. `OfferedRing` has the
        arguments; `fps` is how many frames a second there will be, about. Raises `ServiceError`: `NotAuthorized`,
        `NotSupported` if the camera takes no provider, `Busy` if it has one."""
        provider = Provider(self, fps)
        provider.replace(format, width, height, color_matrix=color_matrix, color_range=color_range)
        return provider

    def attach(
        self,
        stream: str,
        *,
        width: Optional[int] = None,
        height: Optional[int] = None,
        format: Optional[str] = None,
        fps: Optional[int] = None,
        crop: Optional[str] = None,
        inset: Optional[str] = None,
        resolution: Optional[str] = None,
    ) -> Stream:
        """Attaches to the stream `mask`, `view`, `composite` or `source`. docs/design/dbus.md has the options."""
        given = dict(width=width, height=height, format=format, fps=fps, crop=crop, inset=inset, resolution=resolution)
        return Stream(self, stream, _names.options(given))


class Stream(Attachment):
    """The frames of a stream. It attaches again when the size of the camera changes or the service restarts.

    It is an iterator that does not end, and a context manager; `close` ends the attachment.
    """

    def __init__(self, camera: Camera, stream: str, options: Dict[str, Any]) -> None:
        super().__init__()
        self._camera, self._stream, self._options = camera, stream, options
        self._ring = self._attach()

    def _attach(self) -> Ring:
        reply = self._camera.bus.call(*_names.attach(self._camera.path, self._stream, self._options))
        return Ring(reply[0], reply[1])

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Frame:
        frame = self.read(None)
        assert frame is not None
        return frame

    def read(self, timeout: Optional[float] = None) -> Optional[Frame]:
        """Waits for a frame that is newer than the last one. Returns None after `timeout` seconds. Raises
        `ServiceError` if the service refuses to attach again for a reason that does not pass."""
        deadline = None if timeout is None else time.monotonic() + timeout
        wait = _names.FIRST_WAIT
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                if self._ring is None:
                    self._ring = self._attach()
                    self.reattached += 1
                if not self._ring.wait(left):
                    return None
                frame = self._ring.read()
                if frame is not None:
                    return frame
            except Closed:
                if self._ring is None:
                    raise  # The bus has gone.
                self.close()
            except ServiceError as error:
                if not error.passes:
                    raise
                if left is not None and left <= wait:
                    return None
                time.sleep(wait)
                wait = min(2 * wait, _names.LAST_WAIT)


class Provider(Offer):
    """Frames for a camera of the service, made by `Camera.provide`. A context manager; `close` ends the offer.

        with camera.provide("RGB3", 640, 360, fps=30) as provider:
            while provider.until_wanted():
                provider.publish(picture())
    """

    def __init__(self, camera: Camera, fps: Optional[int]) -> None:
        super().__init__()
        self._camera, self._fps = camera, fps

    def __enter__(self) -> Provider:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def replace(
        self, format: str, width: int, height: int, *, color_matrix: str = "601", color_range: str = "limited"
    ) -> None:
        """Offers pictures of another size or format in place of these. Nobody looks then, until the service says so.
        If the service refuses, the offer stays as it was."""
        ring = OfferedRing(format, width, height, color_matrix, color_range)
        try:
            event, demand = self._camera.bus.call(*_names.offer(self._camera.path, ring.memory, self._fps))
        except BaseException:
            ring.close()
            raise
        self._link(ring, event, demand)

    def changed(self, timeout: Optional[float] = None) -> Optional[bool]:
        """Waits until the service says whether somebody looks, and returns that; None after `timeout` seconds. Raises
        `Closed` if the service has ended the offer."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        poll.poll(None if timeout is None else timeout * 1000)
        return self.news()

    def until_wanted(self, timeout: Optional[float] = None) -> bool:
        """Returns True as soon as somebody looks, and False after `timeout` seconds. Raises `Closed` if the service has
        ended the offer."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self.news()
        while not self.wanted:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if self.changed(left) is None and left == 0.0:
                return False
        return True
