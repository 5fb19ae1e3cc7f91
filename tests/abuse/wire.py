"""D-Bus by hand: marshalling, and a connection of any user to the private bus.

Written for attacks, so it sends whatever it is told, in any amount, and shares no code with the service.
"""

import os
import select
import socket
import struct
import time
from contextlib import contextmanager

SERVICE = "org.portraitd"
ROOT = "/org/portraitd"
CAMERA = "/org/portraitd/cameras/main"
BUS = "org.freedesktop.DBus"
PROPERTIES = "org.freedesktop.DBus.Properties"

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY = 1
INTERACTIVE = 4

ALIGNMENT = {"y": 1, "b": 4, "n": 2, "q": 2, "i": 4, "u": 4, "x": 8, "t": 8, "d": 8, "s": 4, "o": 4, "g": 1, "v": 1, "a": 4,
             "(": 8, "{": 8, "h": 4}
NUMBERS = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "h": "I"}


def first_type(signature):
    """The first complete type of a signature."""
    if signature[0] == "a":
        return "a" + first_type(signature[1:])
    if signature[0] in "({":
        depth = 0
        for at, letter in enumerate(signature):
            depth += (letter in "({") - (letter in ")}")
            if depth == 0:
                return signature[: at + 1]
    return signature[0]


def types(signature):
    """The complete types of a signature."""
    while signature:
        kind = first_type(signature)
        yield kind
        signature = signature[len(kind) :]


class Variant:
    """A value with the signature of its type."""

    def __init__(self, signature, value):
        self.signature, self.value = signature, value


def put(out, kind, value):
    """Appends a value of one complete type to a bytearray."""
    out += bytes(-len(out) % ALIGNMENT[kind[0]])
    if kind[0] in NUMBERS:
        out += struct.pack("<" + NUMBERS[kind[0]], value)
    elif kind in "so":
        text = value if isinstance(value, bytes) else value.encode()
        out += struct.pack("<I", len(text)) + text + b"\0"
    elif kind == "g":
        out += bytes([len(value)]) + value.encode() + b"\0"
    elif kind == "v":
        put(out, "g", value.signature)
        put(out, value.signature, value.value)
    elif kind[0] == "a":
        length_at = len(out)
        out += bytes(4)
        out += bytes(-len(out) % ALIGNMENT[kind[1]])
        begin = len(out)
        if isinstance(value, bytes):
            out += value
        else:
            for item in value.items() if isinstance(value, dict) else value:
                put(out, kind[1:], item)
        struct.pack_into("<I", out, length_at, len(out) - begin)
    else:
        for part, item in zip(types(kind[1:-1]), value):
            put(out, part, item)


def marshal(signature, *values):
    out = bytearray()
    for kind, value in zip(types(signature), values):
        put(out, kind, value)
    return bytes(out)


def take(data, at, kind):
    """Reads a value: (value, position after it). Variants are read as what they hold."""
    at += -at % ALIGNMENT[kind[0]]
    if kind[0] in NUMBERS:
        code = NUMBERS[kind[0]]
        return struct.unpack_from("<" + code, data, at)[0], at + struct.calcsize(code)
    if kind in "so":
        length = struct.unpack_from("<I", data, at)[0]
        return data[at + 4 : at + 4 + length].decode(errors="replace"), at + 5 + length
    if kind == "g":
        length = data[at]
        return data[at + 1 : at + 1 + length].decode(), at + 2 + length
    if kind == "v":
        inner, at = take(data, at, "g")
        return take(data, at, inner)
    if kind[0] == "a":
        length = struct.unpack_from("<I", data, at)[0]
        at += 4
        at += -at % ALIGNMENT[kind[1]]
        end, items = at + length, []
        while at < end:
            item, at = take(data, at, kind[1:])
            items.append(item)
        return (dict(items) if kind[1] == "{" else items), at
    items = []
    for part in types(kind[1:-1]):
        item, at = take(data, at, part)
        items.append(item)
    return tuple(items), at


def unmarshal(signature, data):
    at, values = 0, []
    for kind in types(signature):
        value, at = take(data, at, kind)
        values.append(value)
    return values


def message(kind, serial, fields, body=b"", flags=0, order=b"l"):
    """The bytes of a message; `fields` are (code, signature, value)."""
    packed = bytearray()
    for code, signature, value in fields:
        packed += bytes(-len(packed) % 8)
        packed.append(code)
        put(packed, "v", Variant(signature, value))
    head = struct.pack("<cBBBIII", order, kind, flags, 1, len(body), serial, len(packed)) + packed
    return head + bytes(-len(head) % 8) + body


class CallError(Exception):
    """A call was answered with an error."""

    def __init__(self, name, text, size):
        super().__init__(f"{name}: {text[:200]}")
        self.name, self.text, self.size = name, text, size

    @property
    def short(self):
        return self.name.rsplit(".", 1)[-1]


class Gone(Exception):
    """The bus has closed the connection."""


class Message:
    """A received message."""

    def __init__(self, kind, fields, body, fds):
        self.kind, self.body, self.fds = kind, body, fds
        self.member, self.interface, self.path = fields.get(3), fields.get(2), fields.get(1)
        self.error, self.reply_to, self.sender = fields.get(4), fields.get(5), fields.get(7)
        self.signature = fields.get(8, "")

    def values(self):
        return unmarshal(self.signature, self.body)


@contextmanager
def identity(user):
    """Acts as a user: the kernel tells the bus who connects, and who opens files."""
    if user is None or user.uid == os.geteuid():
        yield
        return
    groups = os.getgroups()
    os.setgroups(user.groups)
    os.setegid(user.gid)
    os.seteuid(user.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


class Bus:
    """A connection of a user to the bus. Signals that arrive are kept in `signals`, the names of calls in `calls`."""

    address = "/run/dbus/system_bus_socket"

    def __init__(self, user=None):
        self.user, self.buffer, self.fds, self.serial = user, b"", [], 0
        self.replies, self.signals, self.calls = {}, [], []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with identity(user):
            self.socket.connect(self.address)
        uid = 0 if user is None else user.uid
        self.socket.sendall(b"\0AUTH EXTERNAL " + str(uid).encode().hex().encode() + b"\r\n")
        self._line(b"OK")
        self.socket.sendall(b"NEGOTIATE_UNIX_FD\r\n")
        self._line(b"AGREE_UNIX_FD")
        self.socket.sendall(b"BEGIN\r\n")
        self.name = self.call(BUS, "/org/freedesktop/DBus", BUS, "Hello")[0]

    def _line(self, word):
        while b"\r\n" not in self.buffer:
            self._receive()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        if not line.startswith(word):
            raise Gone(f"the bus refuses the login: {line!r}")

    def _receive(self):
        try:
            data, fds, _, _ = socket.recv_fds(self.socket, 1 << 18, 64)
        except ConnectionError as error:
            raise Gone(str(error)) from None
        if not data:
            raise Gone("end of the connection")
        self.buffer += data
        self.fds += fds

    def next_serial(self):
        self.serial += 1
        return self.serial

    def encode(self, destination, path, interface, member, signature="", body=b"", fds=0, kind=CALL, flags=0, reply_to=0):
        fields = [(1, "o", path), (2, "s", interface), (3, "s", member)]
        if destination:
            fields.append((6, "s", destination))
        if signature:
            fields.append((8, "g", signature))
        if fds:
            fields.append((9, "u", fds))
        if reply_to:
            fields.append((5, "u", reply_to))
        return message(kind, self.next_serial(), fields, body, flags)

    def send(self, destination, path, interface, member, signature="", *values, body=None, fds=(), **more):
        """Sends a message and returns its serial number."""
        body = marshal(signature, *values) if body is None else body
        data = self.encode(destination, path, interface, member, signature, body, len(fds), **more)
        try:
            if fds:
                sent = socket.send_fds(self.socket, [data], list(fds))
                self.socket.sendall(data[sent:])
            else:
                self.socket.sendall(data)
        except ConnectionError as error:
            raise Gone(str(error)) from None
        return self.serial

    def poll(self, timeout=0.0):
        """Takes in what has arrived; waits up to `timeout` seconds for something. Returns whether there was anything."""
        if not select.select([self.socket], [], [], timeout)[0]:
            return False
        self._receive()
        while (received := self._parse()) is not None:
            if received.kind == SIGNAL:
                self.signals.append(received)
            elif received.kind in (RETURN, ERROR):
                self.replies[received.reply_to] = received
            else:
                self.calls.append(received.member)
        return True

    def _parse(self):
        if len(self.buffer) < 16:
            return None
        body_bytes, _, field_bytes = struct.unpack_from("<III", self.buffer, 4)
        start = 16 + field_bytes + -field_bytes % 8
        if len(self.buffer) < start + body_bytes:
            return None
        raw = self.buffer[: start + body_bytes]
        self.buffer = self.buffer[start + body_bytes :]
        fields = dict(take(raw, 12, "a(yv)")[0])
        count = fields.get(9, 0)
        fds, self.fds = self.fds[:count], self.fds[count:]
        return Message(raw[1], fields, raw[start:], fds)

    def wait(self, serial, timeout=30.0):
        """The reply to a call, as its values; raises CallError for an error."""
        end = time.monotonic() + timeout
        while serial not in self.replies:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no answer within {timeout:.0f} s")
            self.poll(left)
        reply = self.replies.pop(serial)
        if reply.kind == ERROR:
            text = reply.values()[0] if reply.signature[:1] == "s" else ""
            for fd in reply.fds:
                os.close(fd)
            raise CallError(reply.error, text, len(reply.body))
        self.last = reply
        return reply.values()

    def call(self, destination, path, interface, member, signature="", *values, timeout=30.0, **more):
        return self.wait(self.send(destination, path, interface, member, signature, *values, **more), timeout)

    def camera(self, member, signature="", *values, interface="Camera1", path=CAMERA, **more):
        return self.call(SERVICE, path, f"org.portraitd.{interface}", member, signature, *values, **more)

    def get(self, interface, name, path=CAMERA, **more):
        return self.call(SERVICE, path, PROPERTIES, "Get", "ss", f"org.portraitd.{interface}", name, **more)[0]

    def get_all(self, interface, path=CAMERA, **more):
        return self.call(SERVICE, path, PROPERTIES, "GetAll", "s", f"org.portraitd.{interface}", **more)[0]

    def set(self, interface, name, signature, value, path=CAMERA, **more):
        variant = Variant(signature, value)
        self.call(SERVICE, path, PROPERTIES, "Set", "ssv", f"org.portraitd.{interface}", name, variant, **more)

    def match(self, rule):
        self.call(BUS, "/org/freedesktop/DBus", BUS, "AddMatch", "s", rule)

    def close(self):
        self.socket.close()
        for reply in [*self.replies.values(), *self.signals]:
            for fd in reply.fds:
                os.close(fd)
        for fd in self.fds:
            os.close(fd)
        self.replies, self.signals, self.fds = {}, [], []
