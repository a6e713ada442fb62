"""The reference of filtered queries: a bare grpc.aio server with a scan of LMDB that was written by hand.

`python -m bench.by_hand DIRECTORY ENTRIES` stores the maps of the benchmarks in an environment there, as serialized
Values, and serves until its standard input ends; its first line of output is its URL. `/bare/Filter` decodes every
value with protobuf, and streams the entries of one country.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from functools import partial
from itertools import islice

import grpc
import lmdb

from bench.bare import serve
from bench.things import COUNTRY, grouped_row, key
from datastore.v1 import service_pb2
from datastore.v1.value_pb2 import Value
from datastore.wire import encode_value

#: The size of the environment in bytes, how many entries are looked at before other calls run, and how many of them a
#: message has.
MAP_BYTES, LOOKS, ENTRIES = 2**30, 2000, 500


def _filled(directory: str, entries: int) -> lmdb.Environment:
    environment = lmdb.open(directory, map_size=MAP_BYTES)
    with environment.begin(write=True) as transaction:
        for number in range(entries):
            transaction.put(key(number).encode(), encode_value(grouped_row(number)).data, append=True)
    return environment


async def _filter(environment: lmdb.Environment, request: bytes, context: object) -> AsyncIterator[bytes]:
    with environment.begin() as transaction, transaction.cursor() as cursor:
        items = cursor.iternext()
        response = service_pb2.QueryResponse()
        while looked_at := list(islice(items, LOOKS)):
            for text, data in looked_at:
                value = Value.FromString(data)
                if value.map_value.fields["country"].string_value == COUNTRY:
                    entry = response.entries.add()
                    entry.key.text = text.decode()
                    entry.value.CopyFrom(value)
            if len(response.entries) >= ENTRIES:
                yield response.SerializeToString()
                response.Clear()
            await asyncio.sleep(0)
        yield response.SerializeToString()


if __name__ == "__main__":
    found = partial(_filter, _filled(sys.argv[1], int(sys.argv[2])))
    asyncio.run(serve({"/bare/Filter": grpc.unary_stream_rpc_method_handler(found)}))
