"""Converts aggregates, their states and their results to messages and back. Knows no calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datastore.engine.states import CountState, State, SumState, state_of
from datastore.engine.tally import Group
from datastore.model.aggregates import Aggregate, Aggregation, Avg, Count, Max, Min, Sum
from datastore.model.errors import CorruptDataError, InvalidQueryError
from datastore.model.limits import FIELDS, ORDERS
from datastore.v1 import service_pb2
from datastore.wire.queries import (
    check_count,
    decode_field_path,
    decode_order,
    decode_query,
    encode_field_path,
    encode_query,
    known,
)
from datastore.wire.values import decode_value, value_message

__all__ = ["decode_aggregate", "decode_group", "encode_aggregate", "encode_group", "encode_row"]

_Aggregation = service_pb2.Aggregation
_FUNCTIONS: dict[type[Aggregation], service_pb2.Aggregation.Function.ValueType] = {
    Count: _Aggregation.FUNCTION_COUNT,
    Sum: _Aggregation.FUNCTION_SUM,
    Avg: _Aggregation.FUNCTION_AVG,
    Min: _Aggregation.FUNCTION_MIN,
    Max: _Aggregation.FUNCTION_MAX,
}
_KINDS: dict[int, Any] = {number: kind for kind, number in _FUNCTIONS.items()}
#: The exponents of finite doubles' lowest bits, and of ints.
_EXPONENTS = range(-1074, 1)


# Requests


def encode_aggregate(asked: Aggregate) -> service_pb2.AggregateRequest:
    """The request for the groups of an aggregate with their states; without its orders and limit. Raises as queries."""
    return service_pb2.AggregateRequest(
        query=encode_query(asked.query),
        aggregations=[
            _Aggregation(
                name=encode_field_path(name),
                function=_FUNCTIONS[type(part)],
                field_path=encode_field_path(part.field or ""),
            )
            for name, part in asked.aggregations.items()
        ],
        group_by=map(encode_field_path, asked.group_by),
        partial_state=True,
    )


def decode_aggregate(message: service_pb2.AggregateRequest, *, most_groups: int) -> Aggregate:
    """The aggregate of a request.

    Raises InvalidQueryError, with the `field`, and the errors of `decode_query`.
    """
    check_count("fields", len(message.aggregations) + len(message.group_by), FIELDS)
    check_count("orders", len(message.orders), ORDERS)
    if message.partial_state and (message.orders or message.HasField("limit")):
        raise InvalidQueryError("partial states are sent without orders and limit", field="partial_state")
    aggregations: dict[str, Aggregation] = {}
    for i, part in enumerate(message.aggregations):
        name = decode_field_path(part.name, f"aggregations[{i}].name")
        if name in aggregations:
            raise InvalidQueryError(f"two aggregations are named {name!r}", field=f"aggregations[{i}].name")
        aggregations[name] = _decode_aggregation(part, f"aggregations[{i}]")
    return Aggregate.checked(
        decode_query(message.query),
        aggregations,
        group_by=[decode_field_path(path, f"group_by[{i}]") for i, path in enumerate(message.group_by)],
        orders=[decode_order(order, f"orders[{i}]") for i, order in enumerate(message.orders)],
        limit=message.limit if message.HasField("limit") else None,
        most_groups=most_groups,
    )


def _decode_aggregation(message: service_pb2.Aggregation, field: str) -> Aggregation:
    kind = known(message.function, _KINDS, f"{field}.function")
    if kind is Count and not message.field_path:
        return Count()
    aggregation: Aggregation = kind(decode_field_path(message.field_path, f"{field}.field_path"))
    return aggregation


# Groups


def encode_group(group: Group) -> service_pb2.AggregateResponse.Group:
    """The message of a group with its states."""
    return service_pb2.AggregateResponse.Group(
        values=map(value_message, group.values), states=map(_encode_state, group.states)
    )


def encode_row(asked: Aggregate, row: Mapping[str, Any]) -> service_pb2.AggregateResponse.Group:
    """The message of a group with its results."""
    return service_pb2.AggregateResponse.Group(
        values=[value_message(row[path]) for path in asked.group_by],
        results=[value_message(row[name]) for name in asked.aggregations],
    )


def decode_group(asked: Aggregate, message: service_pb2.AggregateResponse.Group) -> Group:
    """The group of a message with states. Raises CorruptDataError if it does not belong to the aggregate."""
    parts = asked.aggregations.values()
    if len(message.values) != len(asked.group_by) or len(message.states) != len(parts):
        raise CorruptDataError(
            f"the server sent a group of {len(message.values)} values and {len(message.states)} states for"
            f" {len(asked.group_by)} fields and {len(parts)} aggregations"
        )
    states = [_decode_state(part, state) for part, state in zip(parts, message.states, strict=True)]
    return Group([decode_value(value.SerializeToString()) for value in message.values], states)


def _encode_state(state: State) -> service_pb2.AggregationState:
    if isinstance(state, CountState):
        return service_pb2.AggregationState(count=state.count)
    if not isinstance(state, SumState):
        return service_pb2.AggregationState(extreme=value_message(state.value))
    mantissa, exponent = state.exact()
    return service_pb2.AggregationState(
        sum=service_pb2.AggregationState.Sum(
            numbers=state.numbers,
            mantissa=mantissa.to_bytes(_bytes_needed(mantissa), "big", signed=True),
            exponent=exponent,
            has_doubles=state.has_doubles,
            non_finite=state.non_finite,
        )
    )


def _bytes_needed(number: int) -> int:
    """The fewest bytes in two's complement; 0 for 0."""
    return ((number if number >= 0 else ~number).bit_length() + 8) // 8 if number else 0


def _decode_state(aggregation: Aggregation, message: service_pb2.AggregationState) -> State:
    state = state_of(aggregation)
    kind = "count" if isinstance(state, CountState) else "sum" if isinstance(state, SumState) else "extreme"
    if message.WhichOneof("kind") != kind:
        raise CorruptDataError(f"the server sent a state of another kind than {kind} for {aggregation}")
    if isinstance(state, CountState):
        return CountState(message.count)
    if isinstance(state, SumState):
        return _decode_sum(message.sum)
    state.value = decode_value(message.extreme.SerializeToString())
    return state


def _decode_sum(message: service_pb2.AggregationState.Sum) -> SumState:
    if message.exponent not in _EXPONENTS:
        raise CorruptDataError(f"the server sent a sum with the exponent {message.exponent}, not one of -1074 to 0")
    mantissa = int.from_bytes(message.mantissa, "big", signed=True)
    return SumState(
        message.numbers, mantissa, message.exponent, has_doubles=message.has_doubles, non_finite=message.non_finite
    )
