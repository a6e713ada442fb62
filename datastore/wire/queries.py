"""Converts keys and queries to messages and back. Knows no calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from datastore.model.encoded import decoded
from datastore.model.entries import Entry, Position, StoredEntry
from datastore.model.errors import (
    CorruptDataError,
    InvalidKeyError,
    InvalidQueryError,
    InvalidValueError,
    LimitExceededError,
    QueryNotSupportedError,
)
from datastore.model.fields import Filter, Order
from datastore.model.key import Key
from datastore.model.limits import (
    FIELD_PATH_BYTES,
    FIELDS,
    FILTER_DEPTH,
    FILTERS,
    LONG_SORT_KEY_BYTES,
    ORDERS,
    TREE_VALUE_DEPTH,
)
from datastore.model.metadata import Metadata
from datastore.model.operators import OPERATORS
from datastore.model.query import Query
from datastore.model.trees import Condition, Tree
from datastore.v1 import query_pb2, value_pb2
from datastore.wire.metadata import MetadataEncoder, decode_metadata
from datastore.wire.parts import check_parts
from datastore.wire.values import WireValue, check_value, decode_value, encode_value, value_message

__all__ = [
    "FIELD_PATH_BYTES",
    "check_count",
    "decode_entry",
    "decode_field_path",
    "decode_key",
    "decode_order",
    "decode_query",
    "encode_field_path",
    "encode_key",
    "encode_query",
    "known",
]

#: The largest limit or offset on the wire; no store holds that many entries.
_MOST = 2**63 - 1

_FieldFilter = query_pb2.FieldFilter
_CompositeFilter = query_pb2.CompositeFilter
_OPERATOR_TEXTS: dict[int, str] = {each.number: text for text, each in OPERATORS.items()}
_JOINTS: dict[str, query_pb2.CompositeFilter.Joint.ValueType] = {
    "and": _CompositeFilter.JOINT_AND,
    "or": _CompositeFilter.JOINT_OR,
    "not": _CompositeFilter.JOINT_NOT,
}
_JOINT_TEXTS = {number: text for text, number in _JOINTS.items()}
_DIRECTIONS = {
    query_pb2.Order.DIRECTION_UNSPECIFIED: "+",
    query_pb2.Order.DIRECTION_ASCENDING: "+",
    query_pb2.Order.DIRECTION_DESCENDING: "-",
}


def encode_key(key: Key) -> value_pb2.Key:
    """The message of a key."""
    return value_pb2.Key(text=str(key))


def decode_key(message: value_pb2.Key, field: str = "key") -> Key:
    """The key of a message. Raises InvalidKeyError, with the `field` it came in, if it is not a key."""
    try:
        return Key(message.text)
    except InvalidKeyError as error:
        error.field = field
        raise


def decode_entry(message: Any) -> Entry:
    """An entry from a response, with its value as a WireValue. Raises InvalidKeyError if its key is invalid."""
    data = _bytes_of(message.value)
    check_parts(data, value_pb2.Value.DESCRIPTOR)
    key, metadata = decode_key(message.key, "last_entry.key"), _metadata_in(message)
    return Entry(key, WireValue(data)) if metadata is None else StoredEntry.read(key, WireValue(data), metadata)


def _metadata_in(message: Any) -> Metadata | None:
    """The metadata that a client has sent back; None if there is none, or none that a server has sent."""
    return decode_metadata(message.metadata) if message.metadata.version > 0 else None


def _bytes_of(value: Any) -> bytes:
    """A value of a message of `raw`, which is bytes, or of the generated one."""
    return value if isinstance(value, bytes) else value.SerializeToString()


def encode_query(query: Query) -> query_pb2.Query:
    """The message of a query.

    Raises QueryNotSupportedError if it has custom code, InvalidQueryError for a field with lone surrogates, and the
    errors of `encode_value` for the values of its filters.
    """
    if query.has_custom_code:
        raise QueryNotSupportedError("a query with a custom getter, filter or order cannot be sent")
    _check_tree_values(query)
    message = query_pb2.Query(
        key=encode_key(query.key),
        scope=query_pb2.QUERY_SCOPE_RECURSIVE if query.recursive else query_pb2.QUERY_SCOPE_COLLECTION,
        filters=map(_encode_filter, query.filters),
        orders=map(_encode_order, query.orders),
        limit=None if query.limit is None else min(query.limit, _MOST),
        offset=min(query.offset, _MOST),
        view=query_pb2.QUERY_VIEW_KEYS_ONLY if query.keys_only else query_pb2.QUERY_VIEW_ENTRIES,
        field_paths=map(encode_field_path, query.fields or ()),
        include_metadata=query.metadata,
    )
    if query.start_after is not None:
        _encode_position(query.start_after, message.start_after, needs_metadata=query.sorts_by_metadata)
    return message


def _encode_position(position: Position, message: query_pb2.Position, *, needs_metadata: bool) -> None:
    message.key.text = str(position.key)
    is_known = position.value is not None and (position.metadata is not None or not needs_metadata)
    if is_known and len(position.sort_key) > LONG_SORT_KEY_BYTES:
        message.value.ParseFromString(encode_value(position.value).data)
        if needs_metadata and position.metadata is not None:
            message.metadata.ParseFromString(MetadataEncoder()(Metadata(*position.metadata)))
    else:
        message.sort_key = position.sort_key


def _encode_filter(part: Condition) -> query_pb2.Filter:
    if isinstance(part, Tree):
        return query_pb2.Filter(
            composite=_CompositeFilter(joint=_JOINTS[part.op], filters=map(_encode_filter, part.parts))
        )
    [comparison] = part.comparisons()
    value = value_message(comparison.value)
    operator = cast("query_pb2.FieldFilter.Operator.ValueType", OPERATORS[comparison.op].number)
    return query_pb2.Filter(
        field=_FieldFilter(field_path=encode_field_path(comparison.field), operator=operator, value=value)
    )


def _encode_order(part: Order) -> query_pb2.Order:
    descending = part.is_descending()
    return query_pb2.Order(
        field_path=encode_field_path(part.field),
        direction=query_pb2.Order.DIRECTION_DESCENDING if descending else query_pb2.Order.DIRECTION_ASCENDING,
    )


def encode_field_path(field_path: str) -> str:
    """A field path to send. Raises InvalidQueryError if it has lone surrogates."""
    try:
        field_path.encode()
    except UnicodeEncodeError:
        raise InvalidQueryError(
            f"a field of a query has a lone surrogate, which UTF-8 cannot carry: {field_path[:60]!r}",
            field="field_path",
        ) from None
    return field_path


def decode_query(message: query_pb2.Query) -> Query:
    """The query of a message, frozen.

    Raises InvalidQueryError or InvalidKeyError, with the `field`, and LimitExceededError for more filters, orders or
    fields than any server accepts.
    """
    check_count("filters", sum(_comparisons(message.filters)), FILTERS)
    check_count("orders", len(message.orders), ORDERS)
    check_count("fields", len(message.field_paths), FIELDS)
    query = Query(
        decode_key(message.key, "query.key"),
        limit=message.limit if message.HasField("limit") else None,
        offset=message.offset,
        recursive=known(message.scope, _SCOPES, "query.scope"),
        keys_only=known(message.view, _VIEWS, "query.view"),
        metadata=message.include_metadata,
    ).replaced(
        filters=[_decode_filter(part, f"query.filters[{i}]") for i, part in enumerate(message.filters)],
        orders=[decode_order(part, f"query.orders[{i}]") for i, part in enumerate(message.orders)],
    )
    _check_tree_values(query)
    if message.field_paths:
        query = _with_fields(query, message.field_paths)
    if message.HasField("start_after"):
        query = query.replaced(start_after=_decode_position(message.start_after, query))
    return query


def _with_fields(query: Query, field_paths: Sequence[str]) -> Query:
    for i, text in enumerate(field_paths):
        decode_field_path(text, f"query.field_paths[{i}]")
    try:
        return query.replaced(fields=field_paths)
    except InvalidQueryError as error:
        error.field = "query.field_paths"
        raise


def _decode_position(message: query_pb2.Position, query: Query) -> Position:
    has_value = message.HasField("value")
    if (bool(message.sort_key) or has_value) != bool(query.orders) or (message.sort_key and has_value):
        raise InvalidQueryError(
            "a position has a sort key, or a value in its place, exactly if its query has orders",
            field="query.start_after.sort_key",
        )
    key = decode_key(message.key, "query.start_after.key")
    if not has_value:
        return Position(message.sort_key, key)
    data = _bytes_of(message.value)
    try:
        check_parts(data, value_pb2.Value.DESCRIPTOR)
        check_value(data)
    except InvalidValueError as error:
        raise InvalidQueryError(f"the value of the position: {error}", field="query.start_after.value") from error
    value, metadata = WireValue(data), _metadata_in(message)
    return Position(query.sort_key_of(key, value, metadata), key, value, metadata)


def check_count(name: str, count: int, most: int) -> None:
    """Check a count of a query before decoding, because a message has room for hundreds of thousands.

    Raises LimitExceededError.
    """
    if count > most:
        raise LimitExceededError(f"a query has at most {most} {name}, this one has {count:,}", limit=name, maximum=most)


def _check_tree_values(query: Query) -> None:
    """Check how deep the values within trees are, so that protobuf can parse the message."""
    for tree in query.filters:
        if not isinstance(tree, Tree):
            continue
        for part in tree.comparisons():
            if _nests_deeper(decoded(part.value), TREE_VALUE_DEPTH):
                raise LimitExceededError(
                    f"a value within and, or and not is nested at most {TREE_VALUE_DEPTH} deep, and that of"
                    f" {part.field!r} is nested deeper",
                    limit="tree_value_depth",
                    maximum=TREE_VALUE_DEPTH,
                )


def _nests_deeper(value: Any, most: int) -> bool:
    if not isinstance(value, (Mapping, list, tuple)):
        return False
    held = value.values() if isinstance(value, Mapping) else value
    return most == 0 or any(_nests_deeper(each, most - 1) for each in held)


_SCOPES = {
    query_pb2.QUERY_SCOPE_UNSPECIFIED: False,
    query_pb2.QUERY_SCOPE_COLLECTION: False,
    query_pb2.QUERY_SCOPE_RECURSIVE: True,
}
_VIEWS = {
    query_pb2.QUERY_VIEW_UNSPECIFIED: False,
    query_pb2.QUERY_VIEW_ENTRIES: False,
    query_pb2.QUERY_VIEW_KEYS_ONLY: True,
}


def known(number: Any, table: Any, field: str) -> Any:
    """What an enum's number means. Raises InvalidQueryError, with the `field`, if it is not in the table."""
    if number not in table:
        raise InvalidQueryError(f"this server does not know the value {number} of {field}", field=field)
    return table[number]


def _comparisons(filters: Iterable[query_pb2.Filter], depth: int = 0) -> Iterator[int]:
    """A 1 for each comparison or empty filter; LimitExceededError if they are nested too deep."""
    for each in filters:
        if each.WhichOneof("kind") != "composite":
            yield 1
        elif depth == FILTER_DEPTH:
            raise LimitExceededError(
                f"composite filters may be nested {FILTER_DEPTH} deep, and these are nested deeper",
                limit="filter_depth",
                maximum=FILTER_DEPTH,
            )
        else:
            yield from _comparisons(each.composite.filters, depth + 1)


def _decode_filter(message: query_pb2.Filter, field: str) -> Condition:
    kind = message.WhichOneof("kind")
    if kind == "composite":
        return _decode_composite(message.composite, field)
    if kind != "field":
        raise InvalidQueryError("the filter has no kind, or one that this server does not know", field=field)
    part = message.field
    if part.operator not in _OPERATOR_TEXTS:
        raise InvalidQueryError(
            "the filter has no operator, or one that this server does not know", field=f"{field}.operator"
        )
    if not part.HasField("value"):
        raise InvalidQueryError("the filter has no value; compare with null by a null_value", field=f"{field}.value")
    data = part.value.SerializeToString()
    try:
        check_value(data)
        return Filter(
            decode_field_path(part.field_path, f"{field}.field_path"),
            _OPERATOR_TEXTS[part.operator],
            decode_value(data),
        )
    except (InvalidValueError, CorruptDataError) as error:
        raise InvalidQueryError(f"the value of the filter: {error}", field=f"{field}.value") from error
    except InvalidQueryError as error:
        if error.field == "value":
            error.field = f"{field}.value"
        raise


def _decode_composite(message: query_pb2.CompositeFilter, field: str) -> Tree:
    if message.joint not in _JOINT_TEXTS:
        raise InvalidQueryError(
            "the composite filter has no joint, or one that this server does not know", field=f"{field}.joint"
        )
    parts = [_decode_filter(part, f"{field}.filters[{i}]") for i, part in enumerate(message.filters)]
    try:
        return Tree(_JOINT_TEXTS[message.joint], parts)
    except InvalidQueryError as error:
        error.field = f"{field}.filters"
        raise


def decode_order(message: query_pb2.Order, field: str) -> Order:
    """The order of a message. Raises InvalidQueryError, with the `field`."""
    direction: str = known(message.direction, _DIRECTIONS, f"{field}.direction")
    return Order(direction + decode_field_path(message.field_path, f"{field}.field_path"))


def decode_field_path(text: str, field: str) -> str:
    """A field path that came in `field`. Raises InvalidQueryError if it is empty or longer than FIELD_PATH_BYTES."""
    if not text:
        raise InvalidQueryError("the field is empty; name one, e.g. 'age' or '__key__'", field=field)
    if len(text.encode()) > FIELD_PATH_BYTES:
        raise InvalidQueryError(f"the path of a field has at most {FIELD_PATH_BYTES:,} bytes of UTF-8", field=field)
    return text
