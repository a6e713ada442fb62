"""A client of datastore servers, nodes and proxies alike: a Datastore over a channel.

`connect("grpc://127.0.0.1:7420")` gives one for threads; `datastore_client.aio.connect` one for asyncio.
"""

from __future__ import annotations

from datastore.model.extras import require

require("grpc", "client")

from datastore_client._messages import Page
from datastore_client.remote import RemoteDatastore, connect

__all__ = ["Page", "RemoteDatastore", "connect"]
