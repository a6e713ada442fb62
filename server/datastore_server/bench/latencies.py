"""A histogram of latencies of any size, with an error of at most 1/256. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import msgspec

__all__ = ["PERCENTILES", "Latencies", "bucket_of", "highest_in"]

#: The percentiles that are reported, in thousandths of a percent.
PERCENTILES = {"p50": 50_000, "p90": 90_000, "p99": 99_000, "p99.9": 99_900, "p99.99": 99_990}
_WHOLE = 100_000
#: Each power of two is divided into this many buckets, as a power of two: a bucket is at most 1/256 of its values wide.
_SUB_BUCKET_BITS = 8


class Latencies(msgspec.Struct):
    """Counts of latencies in buckets whose width grows with the latency. Takes memory for the buckets in use only.

    Source: Gil Tene, HdrHistogram. Microseconds are exact below 512; above that, a percentile is the largest latency
    of its bucket, so it is never too low, and at most 1/256 too high.
    """

    #: By bucket; see `bucket_of`.
    counts: dict[int, int] = {}
    total_us: int = 0
    longest_us: int = 0

    def add(self, seconds: float) -> None:
        """Count a latency."""
        us = round(seconds * 1_000_000)
        bucket = bucket_of(us)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.total_us += us
        self.longest_us = max(self.longest_us, us)

    def merge(self, other: Self) -> None:
        """Add the counts of another."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.total_us += other.total_us
        self.longest_us = max(self.longest_us, other.longest_us)

    @property
    def count(self) -> int:
        """How many latencies were counted."""
        return sum(self.counts.values())

    def at(self, *thousandths: int) -> Iterator[int]:
        """The latencies, in microseconds, that these parts of all do not exceed, in ascending thousandths of a percent.

        There must be a latency.
        """
        buckets = iter(sorted(self.counts.items()))
        count, below, bucket = self.count, 0, 0
        for part in thousandths:
            rank = max(1, -(-count * part // _WHOLE))
            while below < rank:
                bucket, in_bucket = next(buckets)
                below += in_bucket
            yield min(highest_in(bucket), self.longest_us)

    def above(self, us: int) -> int:
        """How many latencies are in buckets above that of `us`."""
        return sum(count for bucket, count in self.counts.items() if bucket > bucket_of(us))


def bucket_of(us: int) -> int:
    """The number of the bucket for a latency in microseconds; buckets ascend with the latency, without gaps."""
    shift = max(us.bit_length() - _SUB_BUCKET_BITS - 1, 0)
    return (shift << _SUB_BUCKET_BITS) + (us >> shift)


def highest_in(bucket: int) -> int:
    """The largest latency of a bucket, in microseconds."""
    shift = max((bucket >> _SUB_BUCKET_BITS) - 1, 0)
    return ((bucket - (shift << _SUB_BUCKET_BITS) + 1) << shift) - 1
