"""The tables of a configuration file about how a server is watched: `[metrics]` and `[log]`.

The same in the file of a server and of a cluster. Pure data.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from datastore_server.documents import valid
from datastore_server.logs import FORMATS, LEVELS, Format, Level

__all__ = ["LogConfig", "MetricsConfig"]


class MetricsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The HTTP port with the metrics and the probes."""

    listen: Annotated[str | None, valid("HOST:PORT, e.g. 127.0.0.1:9420, or left out")] = None


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a server logs, and how."""

    level: Annotated[Level, valid(f"one of {', '.join(LEVELS)}")] = "info"
    format: Annotated[Format, valid(" or ".join(FORMATS))] = "text"
    #: Calls that take longer are logged; streams, ten times longer.
    slow_call_ms: Annotated[Annotated[int, msgspec.Meta(ge=1)], valid("milliseconds, 1 or more")] = 1000
