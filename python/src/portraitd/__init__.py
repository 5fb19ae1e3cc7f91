# SPDX-License-Identifier: MIT OR Apache-2.0
"""Reads the streams of portraitd, controls it, and provides frames for its cameras.

    import portraitd

    with portraitd.connect() as bus, bus.camera().attach("view", format="RGB3") as view:
        for frame in view:
            print(frame.sequence, len(frame.people), frame.array().shape)

`portraitd.aio` is the same for asyncio. The package needs only the standard library; `Frame.array` needs numpy.
"""

from ._blocking import Bus, Camera, Provider, Stream
from ._dbus import Variant
from ._errors import Closed, PortraitdError, ProtocolError, RingError, ServiceError
from ._offer import OfferedRing
from ._ring import Crop, Flags, Frame, Layout, Person, Plane, Ring

__all__ = [
    "Bus",
    "Camera",
    "Closed",
    "Crop",
    "Flags",
    "Frame",
    "Layout",
    "OfferedRing",
    "Person",
    "Plane",
    "PortraitdError",
    "ProtocolError",
    "Provider",
    "Ring",
    "RingError",
    "ServiceError",
    "Stream",
    "Variant",
    "connect",
]

connect = Bus
