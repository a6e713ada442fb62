"""Requests of DatastoreService: parsed, checked, and converted to the library's objects.

Pure. Knows messages, limits and tokens, but no stores or transports.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from datastore import wire
from datastore.engine.requests import forgotten
from datastore.model.aggregates import Aggregate
from datastore.model.attempts import Attempt, check_together
from datastore.model.errors import DatastoreError, InvalidError, UnsupportedError, without_frames
from datastore.model.expiry import NEVER, Expiry
from datastore.model.key import Key
from datastore.model.matching import MatchingWrite
from datastore.model.metadata import Precondition
from datastore.model.operations import ENTRIES, VALUES, Delete, Operation, Patch, Put, ReadOptions
from datastore.model.patches import PatchRoom
from datastore.model.query import Query
from datastore.v1 import query_pb2, service_pb2
from datastore.wire import WireValue, raw
from datastore_server import checks
from datastore_server.limits import Limits
from datastore_server.rpc import parse_request
from datastore_server.tokens import Token, decode_page_token, decode_token, query_hash

__all__ = ["Requests", "checked_entry"]

_T = TypeVar("_T")


class Requests:
    """Reads the requests of one server.

    `epoch` returns that of the current placement, for tokens. Without `keeps_versions` or `can_expire`,
    requests that need that raise UnsupportedError. Without `remembers`, repeated writes raise RequestForgottenError.
    """

    def __init__(
        self,
        limits: Limits,
        epoch: Callable[[], str],
        *,
        check_values: bool,
        keeps_versions: bool = True,
        can_expire: bool = True,
        can_be_atomic: bool = True,
        remembers: bool = True,
    ) -> None:
        self._limits = limits
        self._epoch = epoch
        self._check_values = check_values
        self._keeps_versions = keeps_versions
        self._can_expire = can_expire
        self._can_be_atomic = can_be_atomic
        self._remembers = remembers

    def get(self, request: bytes) -> tuple[Key, ReadOptions]:
        """The key of a GetRequest, and what to read."""
        message = parse_request(service_pb2.GetRequest, request)
        return self._key_of(message), self._options_of(message)

    def contains(self, request: bytes) -> Key:
        """The key of a ContainsRequest."""
        return self._key_of(parse_request(service_pb2.ContainsRequest, request))

    def put(self, request: bytes) -> Operation:
        """The write of a PutRequest."""
        message = parse_request(raw.PutRequest, request)
        return self._put_of(message.entry, message)

    def delete(self, request: bytes) -> Operation:
        """The write of a DeleteRequest."""
        message = parse_request(service_pb2.DeleteRequest, request)
        return Delete(self._key_of(message), self._condition_of(message), self._attempt_of(message))

    def patch(self, request: bytes) -> tuple[Patch, bool]:
        """The operation of a PatchRequest, and whether to return the new value."""
        message = parse_request(raw.PatchRequest, request)
        return self._patch_of(message.patch, message), message.include_value

    def touch(self, request: bytes) -> Patch:
        """The operation of a TouchRequest."""
        message = parse_request(service_pb2.TouchRequest, request)
        return self._touch_of(self._key_of(message), message)

    def writes(self, request: bytes) -> tuple[list[Operation | DatastoreError], bool]:
        """The items of a BatchWriteRequest, each a write or its error, and whether it is atomic."""
        plain = parse_request(wire.BatchWrites, request)
        puts = None if plain.atomic else self._plain_puts(plain.writes)
        if puts is not None:
            return puts, False
        message = parse_request(raw.BatchWriteRequest, request)
        checks.check_batch(len(message.writes), self._limits)
        if message.atomic and not self._can_be_atomic:
            raise UnsupportedError("this store cannot make atomic batches")
        if message.atomic:
            check_together(write.HasField("attempt") for write in message.writes)
        room = PatchRoom(is_atomic=message.atomic)
        return [_attempt(self._write_of, write, room) for write in message.writes], message.atomic

    def _plain_puts(self, writes: Sequence[bytes]) -> list[Operation | DatastoreError] | None:
        """The writes, if all are puts on no terms that pass every check; None if they need a closer look.

        All are checked together, which takes a third of the time.
        """
        found = wire.plain_puts(writes) if 0 < len(writes) <= self._limits.batch_items else None
        if found is None:
            return None
        texts, values = found
        key_bytes, value_bytes = len(max(texts, key=len)), len(max(values, key=len))
        are_small = key_bytes <= self._limits.key_bytes and key_bytes + value_bytes <= self._limits.entry_bytes
        lines = b"\n".join(texts)
        if not (are_small and raw.are_plain_keys(lines, len(texts))):
            return None
        if not wire.are_plain_values(values) if self._check_values else any(map(wire.is_null, values)):
            return None
        return list(map(Put, Key._all_trusted(lines.decode().split("\n")), map(WireValue, values)))

    def keys(self, request: bytes) -> tuple[list[Key | DatastoreError], ReadOptions]:
        """The items of a BatchGetRequest, each a key or its error, and what to read."""
        message = parse_request(service_pb2.BatchGetRequest, request)
        checks.check_batch(len(message.keys), self._limits)
        options = self._options_of(message)
        texts = [key.text for key in message.keys]
        # Checked together, which takes a fraction of the time.
        are_short = len(max(texts, key=len, default="")) <= self._limits.key_bytes
        if are_short and raw.are_plain_keys("\n".join(texts).encode(), len(texts)):
            return list(Key._all_trusted(texts)), options
        return [_attempt(checks.required_key, True, text, self._limits) for text in texts], options

    def query(self, request: bytes) -> tuple[Query, Token, bool]:
        """The remaining query, the token of its start, and whether to send sort keys."""
        message = parse_request(raw.QueryRequest, request)
        bound_to = _hash_of(message.query)
        token = decode_token(message.resume_token, bound_to) if message.resume_token else None
        query, token = self._continued(message, token, bound_to)
        wants_sort_keys = message.include_sort_keys or not query.returns_whole_values
        query = query.replaced(sort_keys=bool(query.orders) and wants_sort_keys, explain=message.explain)
        return query, token, message.include_sort_keys

    def page(self, request: bytes) -> tuple[Query, Token, int]:
        """The query of a page, the token of its start, and the maximum number of entries in the page."""
        message = parse_request(raw.ListEntriesRequest, request)
        page_items = checks.check_page_size(message.page_size, self._limits)
        bound_to = _hash_of(message.query)
        token = decode_page_token(message.page_token, bound_to) if message.page_token else None
        query, token = self._continued(message, token, bound_to)
        query = query.replaced(
            sort_keys=bool(query.orders) and not query.returns_whole_values,
            # One entry more than the page shows whether there is a next page.
            limit=page_items + 1 if query.limit is None else min(query.limit, page_items + 1),
        )
        return query, token, page_items

    def aggregate(self, request: bytes) -> tuple[Aggregate, bool]:
        """The aggregate of an AggregateRequest, and whether to send states."""
        message = parse_request(service_pb2.AggregateRequest, request)
        asked = wire.decode_aggregate(message, most_groups=self._limits.groups)
        checks.check_query(asked.query, self._limits)
        checks.check_aggregate(asked, self._limits)
        return asked, message.partial_state

    def delete_matching(self, request: bytes) -> tuple[MatchingWrite, bytes]:
        """The deletion of a DeleteMatchingRequest, and its token."""
        message = parse_request(service_pb2.DeleteMatchingRequest, request)
        return MatchingWrite.checked(self._matching_query(message)), message.resume_token

    def patch_matching(self, request: bytes) -> tuple[MatchingWrite, bytes]:
        """The patch of a PatchMatchingRequest, and its token."""
        message = parse_request(service_pb2.PatchMatchingRequest, request)
        self._require_versions("its values cannot be patched")
        changes = wire.decode_patch_changes(message.changes)
        return MatchingWrite.checked(self._matching_query(message), changes, self._encoded), message.resume_token

    def _matching_query(self, message: Any) -> Query:
        query = wire.decode_query(message.query)
        checks.check_query(query, self._limits)
        return query

    def watch(self, request: bytes) -> tuple[Query, service_pb2.WatchRequest]:
        """The query of a WatchRequest, and the message."""
        message = parse_request(service_pb2.WatchRequest, request)
        query = wire.decode_query(message.query)
        checks.check_query(query, self._limits)
        return query, message

    def _continued(self, request: Any, token: Token | None, bound_to: int) -> tuple[Query, Token]:
        """The remaining query, and the token of its start."""
        query = wire.decode_query(request.query).replaced(allow_partial=request.allow_partial)
        checks.check_query(query, self._limits)
        if query.needs_metadata:
            self._require_versions("queries cannot return metadata, or read it")
        # To continue after an entry whose sort key is too long to be sent, its metadata may be needed.
        query = query.replaced(metadata=query.metadata or query.sorts_by_metadata)
        epoch = self._epoch()
        if token is None:
            return query, Token(query_hash=bound_to, limit=query.limit, offset=query.offset, epoch=epoch)
        last_entry = wire.decode_entry(request.last_entry) if request.HasField("last_entry") else None
        start_after = token.position(query, last_entry) or query.start_after
        query = query.replaced(start_after=start_after, limit=token.limit, offset=token.offset)
        return query, msgspec.structs.replace(token, epoch=epoch)

    def _key_of(self, message: Any) -> Key:
        return checks.required_key(message.HasField("key"), message.key.text, self._limits)

    def _options_of(self, message: Any) -> ReadOptions:
        if not message.include_metadata:
            return VALUES
        self._require_versions("there is no metadata to include")
        return ENTRIES

    def _condition_of(self, message: Any) -> Precondition | None:
        if not message.HasField("condition"):
            return None
        condition = wire.decode_precondition(message.condition)
        self._require_versions("a write cannot have a condition")
        return condition

    def _require_versions(self, otherwise: str) -> None:
        if not self._keeps_versions:
            raise UnsupportedError(f"this store keeps no versions, so {otherwise}")

    def _expiry_of(self, message: Any) -> Expiry | None:
        if not message.HasField("expiry"):
            return None
        expiry = wire.decode_expiry(message.expiry)
        self._require_expiry()
        return expiry

    def _require_expiry(self) -> None:
        if not self._can_expire:
            raise UnsupportedError("the entries of this store cannot expire")

    def _attempt_of(self, message: Any) -> Attempt | None:
        if not message.HasField("attempt"):
            return None
        attempt = wire.decode_attempt(message.attempt)
        if attempt.is_repeat and not self._remembers:
            raise forgotten()
        return attempt

    def _put_of(self, entry: Any, terms: Any) -> Operation:
        """The checked write of an entry, on the terms of its request; a delete if the value is null."""
        condition, expiry, attempt = self._condition_of(terms), self._expiry_of(terms), self._attempt_of(terms)
        key = checked_entry(entry, self._limits, "entry", check_value=self._check_values)
        value = entry.value
        if wire.is_null(value):
            return Delete(key, condition, attempt)
        return Put(key, WireValue(value), condition, expiry, attempt)

    def _touch_of(self, key: Key, terms: Any) -> Patch:
        condition, expiry = self._condition_of(terms), self._expiry_of(terms)
        self._require_expiry()
        return Patch(key, (), condition, expiry=expiry or NEVER, attempt=self._attempt_of(terms))

    def _patch_of(self, patch: Any, terms: Any, room: PatchRoom | None = None) -> Patch:
        """The checked operation of a patch, on the terms of its request, and within the `room` of its batch.

        The new value is checked like that of a put, once it is known.
        """
        self._require_versions("its values cannot be patched")
        key = checks.required_key(patch.HasField("key"), patch.key.text, self._limits, field="patch.key")
        condition, expiry, attempt = self._condition_of(terms), self._expiry_of(terms), self._attempt_of(terms)
        encoded = partial(self._encoded, key)
        return wire.decode_patch(patch, key, condition, encoded, expiry, room, attempt)

    def _encoded(self, key: Key, value: Any) -> WireValue:
        """The checked form of the new value of a patch."""
        data = wire.encode_value(value)
        checks.check_entry(key, len(data.data), self._limits)
        wire.check_parts_of(value)
        return data

    def _write_of(self, write: Any, room: PatchRoom) -> Operation:
        operation = write.WhichOneof("operation")
        if operation == "put":
            return self._put_of(write.put, write)
        if operation == "patch":
            return self._patch_of(write.patch, write, room)
        if operation == "touch":
            key = checks.required_key(True, write.touch.text, self._limits, field="touch")
            return self._touch_of(key, write)
        if write.HasField("expiry"):
            raise InvalidError("expiry is set, but a delete leaves nothing that could expire", field="expiry")
        key = checks.required_key(operation == "delete", write.delete.text, self._limits, field="delete")
        return Delete(key, self._condition_of(write), self._attempt_of(write))


def checked_entry(entry: Any, limits: Limits, field: str, *, check_value: bool) -> Key:
    """Check an entry, with `check_value` also the contents of its value, and return its key. `field` is for errors."""
    text, value = entry.key.text, entry.value
    key = checks.required_key(bool(text) or entry.HasField("key"), text, limits, field=f"{field}.key")
    checks.check_value(value, field=f"{field}.value")
    checks.check_entry(key, len(value), limits)
    if entry.HasField("metadata"):
        raise InvalidError(
            f"{field}.metadata is set, but only the store gives entries metadata; leave it out, or set condition",
            field=f"{field}.metadata",
        )
    if check_value:
        wire.check_value(value)
    return key


def _hash_of(query: query_pb2.Query) -> int:
    return query_hash(query.SerializeToString(deterministic=True))


def _attempt(check: Callable[..., _T], *arguments: Any) -> _T | DatastoreError:
    """One item of a batch after its checks, or its error."""
    try:
        return check(*arguments)
    except DatastoreError as error:
        without_frames(error)
        return error
