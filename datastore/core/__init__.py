"""The library for threads, under its documented path: keys, queries, stores and errors."""

from __future__ import annotations

from datastore.core import basic, errors, key, query, serialize
from datastore.core.basic import *  # noqa: F403  # each lists its public names, and all of them belong here
from datastore.core.errors import *  # noqa: F403
from datastore.core.key import *  # noqa: F403
from datastore.core.query import *  # noqa: F403
from datastore.core.serialize import SerializerShimDatastore

__all__ = ["SerializerShimDatastore", "serialize"]
__all__ += basic.__all__
__all__ += errors.__all__
__all__ += key.__all__
__all__ += query.__all__
