# SPDX-License-Identifier: MIT OR Apache-2.0
"""Names on the bus, and what calls have in common."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple

from ._dbus import Variant, variant_of
from ._errors import ServiceError

SERVICE = "org.portraitd"
ROOT = "/org/portraitd"
PROPERTIES = "org.freedesktop.DBus.Properties"
STREAMS = ("mask", "view", "composite", "source")
#: The delays before attaching is tried again, in seconds.
FIRST_WAIT, LAST_WAIT = 0.05, 2.0

#: A call: path, interface, member, signature and arguments.
Call = Tuple[str, str, str, str, List[Any]]


def path_of(camera: str) -> str:
    """The object path of the camera named `camera`."""
    escaped = (chr(byte) if byte < 128 and chr(byte).isalnum() else f"_{byte:02x}" for byte in camera.encode())
    return f"{ROOT}/cameras/" + "".join(escaped)


def interface_of(name: str) -> str:
    """`Framing1` is `org.portraitd.Framing1`."""
    return name if "." in name else f"{SERVICE}.{name}"


def attach(path: str, stream: str, options: Mapping[str, Any]) -> Call:
    values = {key: variant_of(value) for key, value in options.items()}
    return path, interface_of("Camera1"), "Attach", "sa{sv}", [stream, values]


def offer(path: str, memory: int, fps: Optional[int]) -> Call:
    values = {} if fps is None else {"fps": Variant("u", fps)}
    return path, interface_of("Provider1"), "Offer", "ha{sv}", [memory, values]


def get(path: str, interface: str, name: str) -> Call:
    return path, PROPERTIES, "Get", "ss", [interface_of(interface), name]


def get_all(path: str, interface: str) -> Call:
    return path, PROPERTIES, "GetAll", "s", [interface_of(interface)]


def set_(path: str, interface: str, name: str, value: Any) -> Call:
    variant: Variant = variant_of(value)
    return path, PROPERTIES, "Set", "ssv", [interface_of(interface), name, variant]


CAMERAS: Call = get(ROOT, "Manager1", "Cameras")


def choose(paths: List[str], name: Optional[str]) -> str:
    """The path of the camera named `name`, or of the only camera."""
    if name is not None:
        if path_of(name) in paths:
            return path_of(name)
        raise ServiceError("org.portraitd.Error.CameraAbsent", f"there is no camera named {name!r}")
    if len(paths) != 1:
        raise ServiceError("org.portraitd.Error.CameraAbsent", f"there are {len(paths)} cameras, and none was named")
    return paths[0]


def options(given: Dict[str, Any]) -> Dict[str, Any]:
    """The options of `Attach` that were given."""
    return {key: value for key, value in given.items() if value is not None}
