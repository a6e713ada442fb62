"""The client for asyncio."""

from __future__ import annotations

from datastore_client._messages import Page
from datastore_client.aio.remote import RemoteDatastore, connect

__all__ = ["Page", "RemoteDatastore", "connect"]
