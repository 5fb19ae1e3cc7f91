# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the streams of both kinds share: the ring that is read now, and the counts of those before it."""

from __future__ import annotations

from typing import Optional

from ._ring import Ring


class Attachment:
    """The rings of a stream, one after the other."""

    def __init__(self) -> None:
        self._ring: Optional[Ring] = None
        self._past = [0, 0]
        #: How often it has attached again.
        self.reattached = 0

    def close(self) -> None:
        """Ends the attachment."""
        if self._ring is not None:
            self._past = [self.torn, self.skipped]
            self._ring.close()
            self._ring = None

    @property
    def ring(self) -> Optional[Ring]:
        """The ring that is read now."""
        return self._ring

    @property
    def torn(self) -> int:
        """Copies that were discarded, because the writer overtook them."""
        return self._past[0] + (self._ring.torn if self._ring else 0)

    @property
    def skipped(self) -> int:
        """Frames that were published and not read."""
        return self._past[1] + (self._ring.skipped if self._ring else 0)
