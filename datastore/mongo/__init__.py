"""A MongoDB collection as a Datastore: a document for each entry.

Only this package knows MongoDB and its driver, pymongo, which is imported when a store is created. A document is
`{_id: text of the key, path: text of the key's collection, value: the value}`.
"""

from __future__ import annotations

from datastore.mongo.config import SERVER_SELECTION_MS, MongoConfig
from datastore.mongo.errors import DOCUMENT_BYTES
from datastore.mongo.store import MongoDatastore

__all__ = ["DOCUMENT_BYTES", "SERVER_SELECTION_MS", "MongoConfig", "MongoDatastore"]
