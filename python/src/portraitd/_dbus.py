# SPDX-License-Identifier: MIT OR Apache-2.0
"""The D-Bus wire protocol: values, messages and the login, without I/O.

It has what a client of portraitd needs: method calls with their replies, and descriptors.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from ._errors import ProtocolError, ServiceError

#: The largest message that is read, in bytes. The service's are far smaller; the bus allows 128 MiB.
MAX_MESSAGE_BYTES = 1 << 20
#: The most descriptors that may wait for their message.
MAX_DESCRIPTORS = 16
_MAX_DEPTH = 16

_FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "h": "I"}
_ALIGNMENT = {"y": 1, "b": 4, "n": 2, "q": 2, "i": 4, "u": 4, "x": 8, "t": 8, "d": 8, "h": 4}
_ALIGNMENT.update({"s": 4, "o": 4, "g": 1, "v": 1, "a": 4, "(": 8, "{": 8})


@dataclass(frozen=True)
class Variant:
    """A value with its D-Bus type, such as `Variant("d", 1.5)`. Needed where a type cannot be guessed."""

    signature: str
    value: Any


def variant_of(value: Any) -> Variant:
    """The D-Bus type of a Python value: bool is `b`, int `u` or `i`, float `d`, str `s`."""
    if isinstance(value, Variant):
        return value
    if isinstance(value, bool):
        return Variant("b", value)
    if isinstance(value, int):
        return Variant("u" if value >= 0 else "i", value)
    if isinstance(value, float):
        return Variant("d", value)
    if isinstance(value, str):
        return Variant("s", value)
    raise TypeError(f"{value!r}: give its D-Bus type, as in Variant('a(dddd)', ...)")


def split(signature: str) -> List[str]:
    """The complete types of a signature."""
    types, at = [], 0
    while at < len(signature):
        end = _end(signature, at, 0)
        types.append(signature[at:end])
        at = end
    return types


def _end(signature: str, at: int, depth: int) -> int:
    if at >= len(signature) or depth > _MAX_DEPTH:
        raise ProtocolError(f"the type {signature!r} is not valid")
    code = signature[at]
    if code == "a":
        return _end(signature, at + 1, depth + 1)
    if code in "({":
        closing = ")" if code == "(" else "}"
        at += 1
        while at < len(signature) and signature[at] != closing:
            at = _end(signature, at, depth + 1)
        if at >= len(signature):
            raise ProtocolError(f"the type {signature!r} is not valid")
        return at + 1
    if code not in _ALIGNMENT:
        raise ProtocolError(f"the type {signature!r} is not valid")
    return at + 1


class Writer:
    """Encodes values, little-endian."""

    def __init__(self) -> None:
        self.data = bytearray()
        #: The descriptors among the values, in order.
        self.fds: List[int] = []

    def align(self, to: int) -> None:
        self.data += bytes(-len(self.data) % to)

    def write(self, signature: str, value: Any) -> None:
        """Appends a value of one complete type."""
        code = signature[0]
        self.align(_ALIGNMENT[code])
        if code == "h":
            # The message has the number of the descriptor, which travels beside it.
            self.fds.append(value)
            value = len(self.fds) - 1
        if code in _FIXED:
            try:
                self.data += struct.pack("<" + _FIXED[code], value)
            except struct.error as error:
                raise ValueError(f"{value!r} is not a value of the type {signature!r}: {error}") from None
        elif code in "so":
            text = str(value).encode()
            if b"\0" in text:
                raise ValueError("a text cannot contain NUL")
            self.data += struct.pack("<I", len(text)) + text + b"\0"
        elif code == "g":
            self.data += bytes([len(value)]) + value.encode() + b"\0"
        elif code == "v":
            variant = variant_of(value)
            self.write("g", variant.signature)
            self.write(variant.signature, variant.value)
        elif code == "a":
            self._array(signature[1:], value)
        else:
            types = split(signature[1:-1])
            if len(types) != len(value):
                raise ValueError(f"{value!r} is not a value of the type {signature!r}")
            for kind, part in zip(types, value):
                self.write(kind, part)

    def _array(self, element: str, value: Any) -> None:
        length_at = len(self.data)
        self.data += bytes(4)
        self.align(_ALIGNMENT[element[0]])
        first = len(self.data)
        for part in value.items() if element[0] == "{" else value:
            self.write(element, part)
        struct.pack_into("<I", self.data, length_at, len(self.data) - first)


class Reader:
    """Decodes values. Every length is checked before it is used."""

    def __init__(self, data: bytes, order: str, fds: Sequence[int] = (), at: int = 0) -> None:
        self.data, self.order, self.fds, self.at = data, order, fds, at

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise ProtocolError("a message of the bus is too short")
        self.at += count
        return self.data[self.at - count : self.at]

    def read(self, signature: str, depth: int = 0) -> Any:
        """Reads a value of one complete type."""
        if depth > _MAX_DEPTH:
            raise ProtocolError("a value of the bus is nested too deeply")
        code = signature[0]
        self.take(-self.at % _ALIGNMENT[code])
        if code in _FIXED:
            kind = self.order + _FIXED[code]
            (value,) = struct.unpack(kind, self.take(struct.calcsize(kind)))
            if code == "h":
                if value >= len(self.fds):
                    raise ProtocolError("a message of the bus lacks a descriptor")
                return self.fds[value]
            return bool(value) if code == "b" else value
        if code in "sog":
            length = self.take(1)[0] if code == "g" else self.read("u")
            text = self.take(length + 1)[:-1]
            return text.decode(errors="replace")
        if code == "v":
            types = split(self.read("g"))
            if len(types) != 1:
                raise ProtocolError("a variant of the bus has not one type")
            return self.read(types[0], depth + 1)
        if code == "a":
            return self._array(signature[1:], depth)
        return tuple(self.read(kind, depth + 1) for kind in split(signature[1:-1]))

    def _array(self, element: str, depth: int) -> Union[List[Any], Dict[Any, Any]]:
        length = self.read("u")
        self.take(-self.at % _ALIGNMENT[element[0]])
        end = self.at + length
        if end > len(self.data):
            raise ProtocolError("an array of the bus is too long")
        parts = []
        while self.at < end:
            before = self.at
            parts.append(self.read(element, depth + 1))
            if self.at == before:
                raise ProtocolError("an array of the bus has empty elements")
        return dict(parts) if element[0] == "{" else parts


@dataclass
class Reply:
    """The reply to a call: its values, or the name of an error and its text."""

    serial: int
    error: Optional[str]
    body: List[Any]
    fds: List[int] = field(default_factory=list)

    def values(self) -> List[Any]:
        """The values; raises `ServiceError`, without descriptors left open, if the call has failed."""
        if self.error is not None:
            close(self.fds)
            raise ServiceError(self.error, str(self.body[0]) if self.body else "")
        return self.body


def call(serial: int, destination: str, path: str, interface: str, member: str, signature: str, body: Sequence[Any]) -> Tuple[bytes, List[int]]:
    """A method call, and the descriptors that it brings: integers among its values, of the type `h`."""
    values = Writer()
    for kind, value in zip(split(signature), body):
        values.write(kind, value)
    fields = [(1, Variant("o", path)), (2, Variant("s", interface)), (3, Variant("s", member)), (6, Variant("s", destination))]
    if signature:
        fields.append((8, Variant("g", signature)))
    if values.fds:
        fields.append((9, Variant("u", len(values.fds))))
    message = Writer()
    for code, value in (("y", ord("l")), ("y", 1), ("y", 0), ("y", 1), ("u", len(values.data)), ("u", serial)):
        message.write(code, value)
    message.write("a(yv)", fields)
    message.align(8)
    return bytes(message.data + values.data), values.fds


class Connection:
    """The state of a connection: what has been received and not been used yet."""

    LOGIN = b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\nNEGOTIATE_UNIX_FD\r\n"
    BEGIN = b"BEGIN\r\n"

    def __init__(self) -> None:
        self.buffer = b""
        self.fds: List[int] = []
        self.serial = 0

    def next_serial(self) -> int:
        self.serial += 1
        return self.serial

    def received(self, data: bytes, fds: Sequence[int]) -> None:
        self.buffer += data
        self.fds += fds
        if len(self.fds) > MAX_DESCRIPTORS:
            raise ProtocolError("the bus has sent too many descriptors")

    def logged_in(self) -> bool:
        """Whether the two answers to `LOGIN` are there. They are removed."""
        if self.buffer.count(b"\r\n") < 2:
            if len(self.buffer) > 4096:
                raise ProtocolError("the bus does not answer the login")
            if self.buffer.startswith(b"REJECTED"):
                raise ProtocolError("the bus refuses the login")
            return False
        first, second, self.buffer = self.buffer.split(b"\r\n", 2)
        if not first.startswith(b"OK") or second != b"AGREE_UNIX_FD":
            raise ProtocolError(f"the bus refuses the login: {first!r}, {second!r}")
        return True

    def replies(self) -> Iterator[Reply]:
        """The complete replies that are there. Descriptors of other messages are closed."""
        while len(self.buffer) >= 16:
            order = {b"l": "<", b"B": ">"}.get(self.buffer[:1])
            if order is None:
                raise ProtocolError("the bus has sent something that is no message")
            body_bytes, _, field_bytes = struct.unpack_from(order + "III", self.buffer, 4)
            start = 16 + field_bytes + -field_bytes % 8
            if start + body_bytes > MAX_MESSAGE_BYTES:
                raise ProtocolError("the bus has sent a message that is too large")
            if len(self.buffer) < start + body_bytes:
                return
            kind, data = self.buffer[1], self.buffer[: start + body_bytes]
            self.buffer = self.buffer[start + body_bytes :]
            fields = dict(Reader(data[: 16 + field_bytes], order, at=12).read("a(yv)"))
            count = fields.get(9, 0)
            if not isinstance(count, int) or not isinstance(fields.get(8, ""), str):
                raise ProtocolError("the bus has sent a header that is not valid")
            fds, self.fds = self.fds[:count], self.fds[count:]
            if kind not in (2, 3) or not isinstance(fields.get(5), int):
                close(fds)
                continue
            try:
                body = Reader(data[start:], order, fds)
                values = [body.read(kind) for kind in split(fields.get(8, ""))]
            except ProtocolError:
                close(fds)
                raise
            yield Reply(fields[5], str(fields.get(4, "")) if kind == 3 else None, values, fds)


def close(fds: Sequence[int]) -> None:
    """Closes descriptors."""
    for fd in fds:
        os.close(fd)


def socket_path(bus: str) -> Union[str, bytes]:
    """The socket of `system`, `session` or an address."""
    address = {
        "system": os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/dbus/system_bus_socket"),
        "session": os.environ.get("DBUS_SESSION_BUS_ADDRESS", ""),
    }.get(bus, bus)
    if not address:
        raise ProtocolError("there is no session bus: DBUS_SESSION_BUS_ADDRESS is not set")
    kind, _, rest = address.split(";")[0].partition(":")
    keys: Dict[str, str] = dict(_pair(pair) for pair in rest.split(",") if "=" in pair)
    if kind == "unix" and "path" in keys:
        return keys["path"]
    if kind == "unix" and "abstract" in keys:
        return b"\0" + keys["abstract"].encode()
    raise ProtocolError(f"only Unix sockets are supported, not {address!r}")


def _pair(text: str) -> Tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value
