# SPDX-License-Identifier: MIT OR Apache-2.0
"""Use with asyncio. The classes have the methods of `portraitd.Bus`, `Camera`, `Stream` and `Provider`, to be awaited."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Callable, Dict, List, Optional

from . import _dbus, _names
from ._attachment import Attachment
from ._blocking import descriptors
from ._errors import Closed, PortraitdError, ServiceError
from ._offer import Offer, OfferedRing
from ._ring import Frame, Ring


class Bus:
    """A connection to a bus. Leaving it ends the attachments. Made by `connect`."""

    def __init__(self, connected: socket.socket, timeout: float) -> None:
        self._socket, self._timeout = connected, timeout
        self._state = _dbus.Connection()
        self._loop = asyncio.get_running_loop()
        self._calls: Dict[int, asyncio.Future[_dbus.Reply]] = {}
        self._login: Optional[asyncio.Future[None]] = self._loop.create_future()
        self._ended: Optional[Exception] = None
        self._sending = asyncio.Lock()
        self._loop.add_reader(self._socket, self._readable)

    async def __aenter__(self) -> Bus:
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the bus. Calls that wait fail with `Closed`."""
        self._end(Closed("the connection was closed"))

    def _end(self, error: Exception) -> None:
        if self._ended is not None:
            return
        self._ended = error
        self._loop.remove_reader(self._socket)
        self._socket.close()
        _dbus.close(self._state.fds)
        self._state.fds = []
        for future in [*self._calls.values(), self._login]:
            if future is not None and not future.done():
                future.set_exception(error)
        self._calls.clear()

    def _readable(self) -> None:
        try:
            size = socket.CMSG_SPACE(4 * _dbus.MAX_DESCRIPTORS)
            data, ancillary, _, _ = self._socket.recvmsg(65536, size, socket.MSG_CMSG_CLOEXEC)
            if not data:
                raise Closed("the bus has closed the connection")
            self._state.received(data, descriptors(ancillary))
            if self._login is not None:
                if not self._state.logged_in():
                    return
                if not self._login.done():
                    self._login.set_result(None)
                self._login = None
            for reply in self._state.replies():
                future = self._calls.pop(reply.serial, None)
                if future is None or future.done():
                    _dbus.close(reply.fds)
                else:
                    future.set_result(reply)
        except (BlockingIOError, InterruptedError):
            return
        except (PortraitdError, OSError) as error:
            self._end(error)

    async def _connect(self) -> None:
        login = self._login
        await self._loop.sock_sendall(self._socket, _dbus.Connection.LOGIN)
        if login is not None:
            await asyncio.wait_for(login, self._timeout)
        await self._loop.sock_sendall(self._socket, _dbus.Connection.BEGIN)
        await self.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", destination="org.freedesktop.DBus")

    async def call(
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
        if self._ended is not None:
            raise self._ended
        serial = self._state.next_serial()
        message, fds = _dbus.call(serial, destination, path, interface, member, signature, body or [])
        future: asyncio.Future[_dbus.Reply] = self._loop.create_future()
        self._calls[serial] = future
        try:
            async with self._sending:
                sent = await self._send_fds(message, fds) if fds else 0
                await self._loop.sock_sendall(self._socket, message[sent:])
            reply = await asyncio.wait_for(future, self._timeout)
        except asyncio.CancelledError:
            # The reply may have come in the same turn.
            if future.done() and not future.cancelled() and future.exception() is None:
                _dbus.close(future.result().fds)
            raise
        finally:
            self._calls.pop(serial, None)
        return reply.values()

    async def _send_fds(self, message: bytes, fds: List[int]) -> int:
        """Sends the beginning of a message, with its descriptors. Returns its length."""
        while True:
            try:
                return socket.send_fds(self._socket, [message], fds)
            except (BlockingIOError, InterruptedError):
                await _ready(self._socket.fileno(), self._loop.add_writer, self._loop.remove_writer)

    async def cameras(self) -> List[str]:
        """The names of the cameras."""
        [paths] = await self.call(*_names.CAMERAS)
        return [str((await self.call(*_names.get(path, "Camera1", "Name")))[0]) for path in paths]

    async def camera(self, name: Optional[str] = None) -> Camera:
        """The camera named `name`, or the only camera."""
        [paths] = await self.call(*_names.CAMERAS)
        return Camera(self, _names.choose(paths, name))


async def connect(bus: str = "system", timeout: float = 30.0) -> Bus:
    """Connects to `system`, `session` or the address of another bus. `timeout` is that of each call, in seconds."""
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connected.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connected, _dbus.socket_path(bus))
    except BaseException:
        connected.close()
        raise
    connection = Bus(connected, timeout)
    try:
        await connection._connect()
    except BaseException:
        connection.close()
        raise
    return connection


class Camera:
    """A camera of the service."""

    def __init__(self, bus: Bus, path: str) -> None:
        self.bus, self.path = bus, path

    async def get(self, interface: str, name: str) -> Any:
        """A property, such as `get("Framing1", "Mode")`."""
        return (await self.bus.call(*_names.get(self.path, interface, name)))[0]

    async def get_all(self, interface: str) -> Dict[str, Any]:
        """The properties of an interface that the caller may read."""
        return dict((await self.bus.call(*_names.get_all(self.path, interface)))[0])

    async def set(self, interface: str, name: str, value: Any) -> None:
        """Sets a property. Integers, floats, texts and booleans need no type; others are a `Variant`."""
        await self.bus.call(*_names.set_(self.path, interface, name, value))

    async def reframe(self) -> None:
        """Frames the people again, now."""
        await self.bus.call(self.path, _names.interface_of("Framing1"), "Reframe")

    async def provide(
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
        await provider.replace(format, width, height, color_matrix=color_matrix, color_range=color_range)
        return provider

    async def attach(
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
        attached = Stream(self, stream, _names.options(given))
        await attached._attach()
        return attached


class Stream(Attachment):
    """The frames of a stream. It attaches again when the size of the camera changes or the service restarts.

    It is an asynchronous iterator that does not end, and an asynchronous context manager.
    """

    def __init__(self, camera: Camera, stream: str, options: Dict[str, Any]) -> None:
        super().__init__()
        self._camera, self._stream, self._options = camera, stream, options

    async def _attach(self) -> Ring:
        reply = await self._camera.bus.call(*_names.attach(self._camera.path, self._stream, self._options))
        self._ring = Ring(reply[0], reply[1])
        return self._ring

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.close()

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Frame:
        return await self.read()

    async def read(self) -> Frame:
        """Waits for a frame that is newer than the last one. It may be cancelled, as by `asyncio.wait_for`. Raises
        `ServiceError` if the service refuses to attach again for a reason that does not pass."""
        wait = _names.FIRST_WAIT
        while True:
            ring = self._ring
            try:
                if ring is None:
                    ring = await self._attach()
                    self.reattached += 1
                await _readable(ring.fileno())
                if ring.drain():
                    frame = ring.read()
                    if frame is not None:
                        return frame
            except Closed:
                if self._ring is None:
                    raise  # The bus has gone.
                self.close()
            except ServiceError as error:
                if not error.passes:
                    raise
                await asyncio.sleep(wait)
                wait = min(2 * wait, _names.LAST_WAIT)


class Provider(Offer):
    """Frames for a camera of the service, made by `Camera.provide`. An asynchronous context manager; `close` ends the
    offer.

        async with await camera.provide("RGB3", 640, 360, fps=30) as provider:
            while await provider.until_wanted():
                provider.publish(await picture())
    """

    def __init__(self, camera: Camera, fps: Optional[int]) -> None:
        super().__init__()
        self._camera, self._fps = camera, fps

    async def __aenter__(self) -> Provider:
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.close()

    async def replace(
        self, format: str, width: int, height: int, *, color_matrix: str = "601", color_range: str = "limited"
    ) -> None:
        """Offers pictures of another size or format in place of these. Nobody looks then, until the service says so.
        If the service refuses, the offer stays as it was."""
        ring = OfferedRing(format, width, height, color_matrix, color_range)
        try:
            event, demand = await self._camera.bus.call(*_names.offer(self._camera.path, ring.memory, self._fps))
        except BaseException:
            ring.close()
            raise
        self._link(ring, event, demand)

    async def changed(self) -> bool:
        """Waits until the service says whether somebody looks, and returns that. It may be cancelled. Raises `Closed`
        if the service has ended the offer."""
        while True:
            await _readable(self.fileno())
            news = self.news()
            if news is not None:
                return news

    async def until_wanted(self) -> bool:
        """Returns True as soon as somebody looks. It may be cancelled. Raises `Closed` if the service has ended the
        offer."""
        self.news()
        while not self.wanted:
            await self.changed()
        return True


async def _readable(fd: int) -> None:
    """Waits until a descriptor is readable."""
    loop = asyncio.get_running_loop()
    await _ready(fd, loop.add_reader, loop.remove_reader)


async def _ready(fd: int, add: Callable[[int, Callable[[], None]], None], remove: Callable[[int], bool]) -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    add(fd, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        remove(fd)
