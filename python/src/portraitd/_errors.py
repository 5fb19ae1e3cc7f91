# SPDX-License-Identifier: MIT OR Apache-2.0
"""The errors of this package."""

from __future__ import annotations


class PortraitdError(Exception):
    """The base of all errors of this package."""


class ProtocolError(PortraitdError):
    """The bus has sent something that is not valid, or refuses the login."""


class RingError(PortraitdError):
    """The memory of a ring is not sealed against shrinking, or its header is not valid."""


class Closed(PortraitdError):
    """The ring is closed, or the connection to the bus has ended."""


class ServiceError(PortraitdError):
    """The service or the bus has refused a call.

    `name` is the name of the error on the bus, such as `org.portraitd.Error.NoSuchStream`.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name

    @property
    def passes(self) -> bool:
        """Whether it may pass: the camera is not available, or the service restarts."""
        word = self.name.rpartition(".")[2]
        return word not in ("NoSuchStream", "InvalidArgument", "NotAuthorized", "NotSupported", "AccessDenied")
