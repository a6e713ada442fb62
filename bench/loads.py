"""Load from h2load, an HTTP/2 load generator in C: a client in Python is slower than the servers that it measures.

`apt install nghttp2-client` installs it.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Callable

from datastore_client.channel import parse_target

__all__ = ["calls_per_second"]

_RATE = re.compile(r"finished in .*?, ([\d.]+) req/s")
_SUCCEEDED = re.compile(r"(\d+) succeeded")


async def calls_per_second(
    url: str,
    method: str,
    request: bytes,
    *,
    calls: int,
    in_flight: int,
    connections: int = 1,
    started: Callable[[int], None] = lambda _: None,
) -> float:
    """Send the same request so many times, so many at once over each connection. Returns the answers per second.

    `started` gets the process of the load generator.
    """
    if shutil.which("h2load") is None:
        raise RuntimeError("this row needs h2load: apt install nghttp2-client")
    with tempfile.NamedTemporaryFile() as body:
        # A message of gRPC: not compressed, its length, its bytes.
        body.write(b"\0" + len(request).to_bytes(4, "big") + request)
        body.flush()
        # Windows of 1 GiB, so that streams never wait for the client.
        numbers = ["-n", str(calls), "-c", str(connections), "-m", str(in_flight), "-w", "30", "-W", "30"]
        headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        target = f"http://{parse_target(url).address}{method}"
        process = await asyncio.create_subprocess_exec(
            "h2load", *numbers, *headers, "-d", body.name, target, stdout=asyncio.subprocess.PIPE
        )
        started(process.pid)
        output, _ = await process.communicate()
    report = output.decode()
    rate, succeeded = _RATE.search(report), _SUCCEEDED.search(report)
    if rate is None or succeeded is None or int(succeeded[1]) != calls:
        raise RuntimeError(f"h2load did not get {calls:,} answers:\n{report}")
    return float(rate[1])
