"""The scripts that Redis runs, in one step each, and what goes into and comes out of them. Pure.

The metadata of an entry is a text: its version, its three times, and a digest of the value that it belongs to. It tells
whether another program has replaced the value since.
"""

from __future__ import annotations

from hashlib import sha1
from typing import NamedTuple

from datastore.model.expiry import Expiry
from datastore.model.metadata import Metadata, Precondition
from datastore.model.operations import Delete, Operation, Put

__all__ = [
    "EXPIRIES",
    "RAISE",
    "REFUSED",
    "TOO_LATE",
    "UNMET",
    "VERSIONS_RAISED_TO",
    "WRITE",
    "Known",
    "digest_of",
    "foreign",
    "terms_of",
]

#: The characters of a digest: 48 bits, which Lua's numbers hold exactly.
_DIGEST_CHARACTERS = 12
_MICROSECONDS = 1_000_000
#: How far versions can be raised: a time in the year 2112. Those above 2^53 would not be exact in Lua.
VERSIONS_RAISED_TO = 2**52
#: The digest of a write that changes only the expiry.
_SAME_VALUE = b"="
#: How an answer begins whose write was not made: by its condition, the expiry, or an error of a command.
UNMET, TOO_LATE, REFUSED = b"!", b">", b"-"

#: Makes writes in their order, each by itself. KEYS: the name of the latest version; for each write the names of the
#: entry and of its metadata. ARGV: for each write its terms and its value. Returns the metadata of each entry, '' after
#: a delete, or why the write was not made.
WRITE = r"""
local call, format = redis.call, string.format
local time = call('TIME')
local now_s, now_us = tonumber(time[1]), tonumber(time[2])
local now = format('%.0f', now_s * 1000000 + now_us)
local now_ms = now_s * 1000 + math.floor(now_us / 1000)
local last = tonumber(call('GET', KEYS[1]) or 0)
local version, has_put = math.max(last, tonumber(now) - 1), false

local function digest_of(value)
    return string.sub(redis.sha1hex(value), 1, 12)
end

-- The version of an entry, '0' if there is none, and the digest of its value.
local function found(name, known)
    local value = call('GET', name)
    if not value then
        return '0'
    end
    local actual = digest_of(value)
    local of, digest = string.match(known or '', '^(%d+) .* (%x+)$')
    return digest == actual and of or format('%.0f', 1 + tonumber(actual, 16)), actual
end

local function holds(condition, current)
    if condition == '' then
        return true
    elseif condition == '+' then
        return current ~= '0'
    elseif condition == '-' then
        return current == '0'
    end
    return condition == current
end

-- When an entry expires, in milliseconds, and in microseconds as text; nothing after the year 9999.
local function expiry_of(asked)
    local from, s, us = string.match(asked, '^(%a)(%d+) (%d+)$')
    s, us = tonumber(s), tonumber(us)
    if from == 'w' then
        s, us = s + now_s, us + now_us
        if us >= 1000000 then
            s, us = s + 1, us - 1000000
        end
    end
    if s <= 253402300799 then
        return s * 1000 + math.floor(us / 1000), format('%.0f%06.0f', s, us)
    end
end

local function write(name, beside, terms, value)
    local digest, condition, expiry = terms, '', ''
    if string.find(terms, '|', 1, true) then
        digest, condition, expiry = string.match(terms, '^(.*)|(.*)|(.*)$')
    end
    -- Mostly both of the names exist, or none.
    local count = call('EXISTS', name, beside)
    local exists = count == 2 or (count == 1 and call('EXISTS', name) == 1)
    local known = count == 2 and call('GET', beside)
    local is_touch = digest == '='
    if condition ~= '' or is_touch then
        local current, actual = found(name, known)
        if not holds(condition, current) then
            return '!' .. current
        end
        digest = is_touch and actual or digest
    end
    local at_ms, expires = nil, '0'
    if expiry ~= '' then
        at_ms, expires = expiry_of(expiry)
        if not at_ms then
            return '>'
        end
    end
    if digest == '' or (at_ms and at_ms <= now_ms) then
        call('DEL', name, beside)
        return ''
    end
    version, has_put = version + 1, true
    local created = exists and (known and string.match(known, '^%d+ (%d+)') or '0') or now
    local text = format('%.0f %s %s %s %s', version, created, now, expires, digest)
    if is_touch then
        call('PERSIST', name)
        call('SET', beside, text)
    else
        call('MSET', name, value, beside, text)
    end
    if at_ms then
        call('PEXPIREAT', name, at_ms)
        call('PEXPIREAT', beside, at_ms)
    end
    return text
end

local results = {}
for place = 1, (#KEYS - 1) / 2 do
    local key = 2 * place
    local made, result = pcall(write, KEYS[key], KEYS[key + 1], ARGV[key - 1], ARGV[key])
    if not made then
        result = '-' .. (type(result) == 'table' and result.err or tostring(result))
    end
    results[place] = result
end
if has_put then
    call('SET', KEYS[1], format('%.0f', version))
end
return results
"""

#: When the strings of the names KEYS expire, in microseconds since 1970; 0 for never.
EXPIRIES = r"""
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local expiries = {}
for place, name in ipairs(KEYS) do
    local at_ms = redis.pcall('PEXPIRETIME', name)
    if type(at_ms) ~= 'number' then
        -- A release before 7.0.
        local left_ms = redis.call('PTTL', name)
        at_ms = left_ms < 0 and left_ms or now_ms + left_ms
    end
    expiries[place] = at_ms < 0 and '0' or string.format('%.0f', at_ms * 1000)
end
return expiries
"""

#: Makes later versions greater than ARGV[1]. KEYS: the name of the latest version.
RAISE = r"""
if tonumber(ARGV[1]) > tonumber(redis.call('GET', KEYS[1]) or 0) then
    redis.call('SET', KEYS[1], ARGV[1])
end
"""


class Known(NamedTuple):
    """The metadata of an entry as stored: its text, cut at the spaces, and the digest of the value it belongs to."""

    metadata: Metadata
    digest: bytes

    @classmethod
    def read(cls, text: bytes) -> Known:
        """The metadata of its text."""
        *numbers, digest = text.split()
        return cls(Metadata(*map(int, numbers)), digest)


def foreign(digest: bytes) -> Metadata:
    """The metadata of a value with this digest that another program stored.

    The version depends on the value, and is below every version that is given: these are times since 1970.
    """
    return Metadata(1 + int(digest, 16), 0, 0)


def digest_of(value: bytes) -> bytes:
    """The digest of a stored value, which is not meant to withstand attacks."""
    return sha1(value, usedforsecurity=False).hexdigest()[:_DIGEST_CHARACTERS].encode()


def terms_of(operation: Operation, value: bytes) -> bytes:
    """For WRITE: the digest of the value to store, empty for a delete; then the condition and expiry, if any."""
    digest = b"" if isinstance(operation, Delete) else digest_of(value) if isinstance(operation, Put) else _SAME_VALUE
    if operation.condition is None and operation.expiry is None:
        return digest
    return b"|".join((digest, _condition(operation.condition), _expiry(operation.expiry)))


def _condition(condition: Precondition | None) -> bytes:
    if condition is None:
        return b""
    if condition.exists is None:
        return b"%d" % (condition.version or 0)
    return b"+" if condition.exists else b"-"


def _expiry(expiry: Expiry | None) -> bytes:
    """In seconds and microseconds, since 1970 or from the write on: as one number, some are beyond those of Lua."""
    if expiry is None or (expiry.in_us is None and expiry.at_us is None):
        return b""
    if expiry.in_us is not None:
        return b"w%d %d" % divmod(expiry.in_us, _MICROSECONDS)
    return b"a%d %d" % divmod(expiry.at_us or 0, _MICROSECONDS)
