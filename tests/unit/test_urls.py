"""URLs of stores: what errors reveal of them, and options that are not the driver's."""

from __future__ import annotations

import pytest

import datastore
from datastore.model.errors import DatastoreError, InvalidError
from datastore.model.urls import without_options


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cret@h/x",
        "redis://:s3cret@h/0?nosuch=1",
        "redis://:s3/cret@h/0",
        "redis://:s3cret@[h/0",
        "redis://h\u2100:s3cret@h/0",
        "mongodb://u:s3cret@h",
        "mongodb://u:s3/cret@h/db",
        "mongodb://u:s3cret@h/db?collection=a&collection=b",
        "memcached://u:s3cret@h",
        "nosuch://u:s3cret@h",
        "memory://u:s3cret@h",
        "lmdb://u:s3cret@h/d",
        "file://u:s3cret@h/d",
        "grpc://u:s3cret@h:1",
        "redis://u:s3cret@h\n",
    ],
)
def test_no_error_reveals_a_secret(url: str):
    with pytest.raises(DatastoreError) as raised:
        datastore.open(url)
    assert "s3" not in str(raised.value)
    assert "cret" not in str(raised.value)


def test_our_options_are_removed_from_a_drivers_url():
    url = "redis://h/0?a=%20b&prefix=x%2Fy&c"
    assert without_options(url, ["prefix", "other"]) == ("redis://h/0?a=%20b&c", {"prefix": "x/y"})
    assert without_options("redis://h?prefix=", ["prefix"]) == ("redis://h", {"prefix": ""})
    assert without_options("redis://h", ["prefix"]) == ("redis://h", {})
    with pytest.raises(InvalidError, match="prefix is given twice"):
        without_options("redis://h?prefix=a&prefix=b", ["prefix"])
