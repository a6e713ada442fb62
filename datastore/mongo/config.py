"""The store as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from datastore.model.config import Config
from datastore.model.errors import DatastoreError, InvalidError
from datastore.model.options import BOOLEAN, SERVER, TEXT, ServerUrl, option
from datastore.model.urls import because, shown, split
from datastore.mongo.store import MongoDatastore

__all__ = ["SERVER_SELECTION_MS", "MongoConfig"]

#: Server selection timeout, in milliseconds, unless the URL sets one; the driver's default is 30 seconds.
SERVER_SELECTION_MS = 10_000

_FORM = "mongodb://HOST:PORT/DATABASE"


@dataclass(frozen=True, kw_only=True)
class MongoConfig(Config):
    """Stores what BSON can represent in a MongoDB collection. Durability is that of the write concern.

    The other options after the `?` of the URL are those of pymongo. Server selection times out after 10 seconds, unless
    `serverSelectionTimeoutMS` is set.
    """

    kind = "mongodb"
    url_form = _FORM
    driver = ("pymongo", "mongodb")
    driver_options = True
    url: ServerUrl = field(metadata=option(f"`{_FORM}`, or several `HOST:PORT,HOST:PORT`", SERVER))
    collection: str = field(default="datastore", metadata=option("the collection that holds the entries", TEXT))
    aware_datetimes: bool = field(
        default=False, metadata=option("whether datetimes have a zone, and are read in UTC", BOOLEAN)
    )

    def check(self) -> None:
        """Raise InvalidError for a URL that names no database, or that the driver rejects."""
        parts = split(self.url, _FORM)
        if parts.scheme != "mongodb" or not parts.hostname or not unquote(parts.path.strip("/")) or parts.fragment:
            raise InvalidError(f"{shown(self.url)}: expected {_FORM}", field="url")
        self._store(connect=False).close()

    def open(self) -> MongoDatastore:
        """A store with its own client, which it closes. Connects in the background."""
        return self._store(connect=True)

    def _store(self, *, connect: bool) -> MongoDatastore:
        from pymongo import MongoClient
        from pymongo.errors import PyMongoError
        from pymongo.uri_parser import parse_uri

        parts = split(self.url, _FORM)
        options = parse_qsl(parts.query, keep_blank_values=True)
        if not any(name.lower() == "serverselectiontimeoutms" for name, _ in options):
            options.append(("serverSelectionTimeoutMS", str(SERVER_SELECTION_MS)))
        client: Any = None
        try:
            # Unlike the client, which warns and goes on, it refuses unknown and invalid options.
            parse_uri(self.url)
            client = MongoClient(parts._replace(query=urlencode(options)).geturl(), connect=connect)
            store = MongoDatastore(
                client.get_default_database(), collection=self.collection, aware_datetimes=self.aware_datetimes
            )
        except (DatastoreError, PyMongoError, ValueError, TypeError) as error:
            # The driver's error may quote the password.
            reason = because(self.url, error)
        else:
            store._owned = client
            return store
        if client is not None:
            client.close()
        valid = "; valid options are collection, aware_datetimes and those of pymongo" if parts.query else ""
        raise InvalidError(f"{shown(self.url)}: expected {_FORM}{valid}{reason}", field="url")
