"""The scripts that the server runs, each in one step. Lua, and what goes into and comes out of it.

The metadata of an entry is a text: its version, its three times, and a digest of the value that it belongs to. It tells
whether another program has replaced the value since.
"""

from __future__ import annotations

__all__ = [
    "ABORTED",
    "ATOMIC",
    "BEGIN",
    "EXPIRIES",
    "FORGET",
    "FORGOTTEN",
    "INDEX",
    "NOW",
    "OF_ANOTHER",
    "RAISE",
    "READ",
    "REFUSED",
    "REMEMBERED",
    "SWEEP",
    "TOO_LATE",
    "UNFIT",
    "UNMET",
    "WRITE",
]

#: How the answer to a write begins that its condition, its expiry or an error of a command has prevented.
UNMET, TOO_LATE, REFUSED = b"!", b">", b"-"
#: How the answer begins if the request was made before, followed by the answer it got then; if it was one for another
#: entry, followed by the name of that; and if it may have been made before any were remembered.
REMEMBERED, OF_ANOTHER, FORGOTTEN = b'"', b"%", b"^"
#: How a remembered answer begins if a patch could not be applied, followed by the reason; and if another write of the
#: atomic batch failed, followed by its index.
UNFIT, ABORTED = b"~", b"*"

#: The beginning of the scripts that make changes. KEYS: the names of the latest version, of the log's state, of the
#: log, and of the index of the entries that expire. The log is kept if its state exists, whichever client has begun it.
#: Then each change is an item of a stream, whose ID is its version, with the name of the entry and the value.
_CHANGE = r"""
local call, format = redis.call, string.format
local latest, state, stream, index = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local time = call('TIME')
local now_s, now_us = tonumber(time[1]), tonumber(time[2])
local now = format('%.0f', now_s * 1000000 + now_us)
local now_ms = now_s * 1000 + math.floor(now_us / 1000)
local last = tonumber(call('GET', latest) or 0)
local version, has_changed = math.max(last, tonumber(now) - 1), false
local log = call('HMGET', state, 'bytes', 'first', 'most_bytes', 'most_age_us')
local keeps_log, bytes, first, added, floor = log[1] and true, tonumber(log[1] or 0), tonumber(log[2] or 0), 0, nil

local function next_version()
    version = version + 1
    return version
end

-- The size of a change: what the server needs for it besides the texts is assumed.
local function size_of(name, value)
    return 200 + #name + #(value or '')
end

local function add(kind, name, number, value)
    local id = format('%.0f-0', number)
    if value then
        call('XADD', stream, id, kind, name, 'value', value)
    else
        call('XADD', stream, id, kind, name)
    end
    bytes, added, has_changed = bytes + size_of(name, value), added + 1, true
    if first == 0 then
        first = number
    end
end

-- Log entries that have expired for Redis, which hides them and removes them at some time; at most so many.
local function sweep(most)
    for _, name in ipairs(call('ZRANGEBYSCORE', index, '-inf', now_ms - 3, 'LIMIT', 0, most)) do
        call('ZREM', index, name)
        local left_ms = call('PTTL', name)
        if left_ms == -2 then
            add('expire', name, next_version())
        elseif left_ms >= 0 then
            -- Entries are seen as of the beginning of the script, and the server may have been suspended before it read
            -- the time; or another program has postponed the expiry.
            call('ZADD', index, now_ms + left_ms, name)
        end
    end
end

-- Remove the oldest changes beyond the limits, some at a time.
local function trim()
    local oldest, left = version - tonumber(log[4]), 2 * added + 16
    while left > 0 and first > 0 and (bytes > tonumber(log[3]) or first < oldest) do
        local items = call('XRANGE', stream, '-', '+', 'COUNT', 2)
        local item = items[1]
        if not item then
            first, bytes = 0, 0
            break
        end
        call('XDEL', stream, item[1])
        floor = string.match(item[1], '^%d+')
        bytes = bytes - size_of(item[2][2], item[2][4])
        first = items[2] and tonumber(string.match(items[2][1], '^%d+')) or 0
        left = left - 1
    end
end

local function save()
    if has_changed then
        call('SET', latest, format('%.0f', version))
    end
    if added > 0 then
        trim()
        call('HSET', state, 'bytes', format('%.0f', bytes), 'first', format('%.0f', first))
        if floor then
            call('HSET', state, 'floor', floor)
        end
    end
end
"""

#: How the scripts that make writes decide about each, and then make it. KEYS[5]: the name of the requests, a hash. It
#: has the outcome of each request by its id, the ids in their order, and since when none was forgotten.
_WRITES = r"""
local requests = KEYS[5]

-- A request: its id, since when it may have been made, '' if not at all, when the client was opened, how many requests
-- are kept, and the name of its entry.
local function request_of(text, name)
    local id, first, opened, most = string.match(text, '^(%x+) (%d*) (%d+) (%d+)$')
    return {id = id, first = first, opened = tonumber(opened), most = tonumber(most), name = name}
end

-- The answer to a request that was made, or that cannot be; nothing if it is to be made.
local function remembered(request)
    local outcome = call('HGET', requests, 'i' .. request.id)
    if outcome then
        local length, at = string.match(outcome, '^%d+ (%d+) ()')
        local name = string.sub(outcome, at, at + length - 1)
        return name == request.name and '"' .. string.sub(outcome, at + length) or '%' .. name
    end
    local since = request.first ~= '' and tonumber(call('HGET', requests, 'since') or request.opened)
    if since and tonumber(request.first) <= since then
        return '^'
    end
end

-- Remember how a request ended, and forget up to two others beyond the limit.
local function note(request, answer)
    local head = call('HMGET', requests, 'first', 'next', 'since')
    local first, following = tonumber(head[1] or 1), tonumber(head[2] or 1)
    local since = tonumber(head[3] or request.opened)
    local outcome = now .. ' ' .. #request.name .. ' ' .. request.name .. answer
    call('HSET', requests, 'i' .. request.id, outcome)
    call('HSET', requests, 't' .. following, request.id)
    following = following + 1
    for _ = 1, 2 do
        if following - first > request.most then
            local id = call('HGET', requests, 't' .. first)
            local oldest = call('HGET', requests, 'i' .. id)
            since = math.max(since, oldest and tonumber(string.match(oldest, '^%d+')) or 0)
            call('HDEL', requests, 't' .. first, 'i' .. id)
            first = first + 1
        end
    end
    call('HMSET', requests, 'first', first, 'next', following, 'since', format('%.0f', since))
end

local function digest_of(value)
    return string.sub(redis.sha1hex(value), 1, 12)
end

-- Log an entry that has expired before its write.
local function log_expired(name)
    if call('ZREM', index, name) == 1 then
        add('expire', name, next_version())
    end
end

-- Whether a name has an entry, and the text of its metadata, if it has that.
local function stored(name, beside)
    -- Mostly both of the names exist, or none.
    local count = call('EXISTS', name, beside)
    local exists = count == 2 or (count == 1 and call('EXISTS', name) == 1)
    local known = count == 2 and call('GET', beside)
    if keeps_log and not exists then
        log_expired(name)
    end
    return exists, known
end

-- The version of an entry, '0' if there is none, its value, and the digest of that. `written` is a value that belongs
-- to the metadata.
local function found(name, exists, known, written)
    if written then
        return string.match(known, '^%d+'), written, string.match(known, '%x+$')
    end
    local value = exists and call('GET', name)
    if not value then
        return '0'
    end
    local actual = digest_of(value)
    local of, digest = string.match(known or '', '^(%d+) .* (%x+)$')
    return digest == actual and of or format('%.0f', 1 + tonumber(actual, 16)), value, actual
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

-- The last millisecond in which an entry is shown, and when it expires, in microseconds as text; nothing after the year
-- 9999.
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
        return s * 1000 + math.floor(us / 1000) - 1, format('%.0f%06.0f', s, us)
    end
end

-- The answer to a write, given the entry before it. If it is to be made, also its version, false for a delete that
-- changes nothing; and for a put or touch the value, the last millisecond, and whether it is a touch.
local function decide(name, terms, value, exists, known, written)
    local digest, condition, expiry = terms, '', ''
    if string.find(terms, '|', 1, true) then
        digest, condition, expiry = string.match(terms, '^(.*)|(.*)|(.*)$')
    end
    local is_touch = digest == '='
    if condition ~= '' or is_touch then
        local current, old, actual = found(name, exists, known, written)
        if not holds(condition, current) then
            return '!' .. current
        end
        if is_touch then
            value, digest = old, actual
        end
    end
    if digest == '?' then
        return '?'
    end
    local until_ms, expires = nil, '0'
    if expiry ~= '' then
        until_ms, expires = expiry_of(expiry)
        if not until_ms then
            return '>'
        end
    end
    if digest == '' or (until_ms and until_ms <= now_ms) then
        return '', keeps_log and exists and next_version()
    end
    local created = exists and (known and string.match(known, '^%d+ (%d+)') or '0') or now
    local number = next_version()
    local text = format('%.0f %s %s %s %s', number, created, now, expires, digest)
    return text, number, value, until_ms, is_touch
end

-- Make a write that was decided.
local function make(name, beside, text, number, value, until_ms, is_touch)
    if text == '' then
        call('DEL', name, beside)
        if number then
            call('ZREM', index, name)
            add('delete', name, number)
        end
        return
    end
    if is_touch then
        call('PERSIST', name)
        call('SET', beside, text)
    else
        call('MSET', name, value, beside, text)
    end
    has_changed = true
    if until_ms then
        call('PEXPIREAT', name, until_ms)
        call('PEXPIREAT', beside, until_ms)
    end
    if keeps_log then
        add('put', name, number, value)
        if until_ms then
            call('ZADD', index, until_ms, name)
        else
            call('ZREM', index, name)
        end
    end
end

local function is_made(answer)
    return not string.find(answer, '^[!>?%-]')
end

local function refused(raised)
    return '-' .. (type(raised) == 'table' and raised.err or tostring(raised))
end

if keeps_log then
    sweep(16 + #KEYS)
end
"""

#: Makes writes in their order, each by itself. KEYS: five names as above; for each write those of the entry and of its
#: metadata. ARGV: for each write its terms, which may end with its request, and its value. Returns the metadata of
#: each entry, '' after a delete, or why the write was not made.
WRITE = (
    _CHANGE
    + _WRITES
    + r"""
local function write(name, beside, terms, value)
    local request
    if string.find(terms, '@', 1, true) then
        local own, text = string.match(terms, '^(.*)@(.*)$')
        terms, request = own, request_of(text, name)
        local answer = remembered(request)
        if answer then
            return answer
        end
    end
    local answer, number, stored_value, until_ms, is_touch = decide(name, terms, value, stored(name, beside))
    if is_made(answer) then
        make(name, beside, answer, number, stored_value, until_ms, is_touch)
    end
    if request and (is_made(answer) or request.first ~= '') then
        note(request, answer)
    end
    return answer
end

local results = {}
for place = 1, (#KEYS - 5) / 2 do
    local key, arg = 2 * place + 4, 2 * place - 1
    local made, result = pcall(write, KEYS[key], KEYS[key + 1], ARGV[arg], ARGV[arg + 1])
    results[place] = made and result or refused(result)
end
save()
return results
"""
)

#: Makes writes in their order, all or none. KEYS as for WRITE. ARGV: for each write its terms, its value, and its place
#: in the batch, or '' if it only checks whether the batch is up to date; then for each place its request and the name
#: of its entry, or nothing. If all requests were made before, returns the answers to them; if one cannot be made, the
#: answers up to it. Otherwise all writes are decided, each after those before it, and then made. Returns the answers as
#: WRITE does, up to that of the first write that fails; or why none can be made, e.g. because the server is full: that
#: fails the first command that writes, if any.
ATOMIC = (
    _CHANGE
    + _WRITES
    + r"""
local count = (#KEYS - 5) / 2
local after, answers, decided, asked = {}, {}, {}, {}

local function decide_next(place)
    local key, arg = 2 * place + 4, 3 * place - 2
    local name, beside = KEYS[key], KEYS[key + 1]
    local entry = after[name] or {stored(name, beside)}
    local answer, number, value, until_ms, is_touch =
        decide(name, ARGV[arg], ARGV[arg + 1], entry[1], entry[2], entry[3])
    if is_made(answer) then
        after[name] = {answer ~= '', answer, value}
        decided[#decided + 1] = {name, beside, answer, number, value, until_ms, is_touch}
    end
    return answer
end

-- The answers to the requests, if all of them have one, or up to the first that cannot be made.
local function answers_before()
    local found, is_any_new = {}, false
    for arg = 3 * count + 1, #ARGV, 2 do
        local request = request_of(ARGV[arg], ARGV[arg + 1])
        asked[#asked + 1] = request
        found[#asked] = remembered(request) or ''
        if string.find(found[#asked], '^[%^%%]') then
            return found
        end
        is_any_new = is_any_new or found[#asked] == ''
    end
    return #asked > 0 and not is_any_new and found
end

-- Of a failure only repeated requests are noted.
local function note_failure(place, answer)
    local failed, terms = ARGV[3 * place], ARGV[3 * place - 2]
    if failed == '' or string.sub(answer, 1, 1) == '-' then
        return
    end
    for each, request in ipairs(asked) do
        if request.first ~= '' then
            local is_it = each == tonumber(failed) + 1
            local unfit = terms == '?|never|' and '~' .. ARGV[3 * place - 1]
            note(request, is_it and (unfit or answer) or '*' .. failed)
        end
    end
end

local function note_all()
    for place = 1, count do
        local request = asked[tonumber(ARGV[3 * place] or '') and ARGV[3 * place] + 1]
        if request then
            note(request, answers[place])
        end
    end
end

local function make_all()
    for _, each in ipairs(decided) do
        make(unpack(each, 1, 7))
    end
end

local before = answers_before()
if before then
    save()
    return before
end
if keeps_log then
    -- Expiries have versions before all writes.
    for key = 6, #KEYS, 2 do
        if call('EXISTS', KEYS[key]) == 0 then
            log_expired(KEYS[key])
        end
    end
end
for place = 1, count do
    local could, answer = pcall(decide_next, place)
    answers[place] = could and answer or refused(answer)
    if answers[place] ~= '?' and not is_made(answers[place]) then
        note_failure(place, answers[place])
        save()
        return answers
    end
end
local made, raised = pcall(make_all)
if made then
    note_all()
end
save()
return made and answers or refused(raised)
"""
)

#: Logs up to ARGV[1] entries that have expired. KEYS: as above. Returns the latest version, and for how many
#: milliseconds there is nothing more to log, at most ARGV[2].
SWEEP = (
    _CHANGE
    + r"""
local wait_ms = tonumber(ARGV[2])
if keeps_log then
    sweep(tonumber(ARGV[1]))
    save()
    local due = call('ZRANGE', index, 0, 0, 'WITHSCORES')[2]
    wait_ms = due and math.max(1, math.min(wait_ms, tonumber(due) + 4 - now_ms)) or wait_ms
end
return {call('GET', latest) or '0', wait_ms}
"""
)

#: Begins the log, unless it has been begun, and sets its limits. KEYS: the names of the latest version and of the log's
#: state. ARGV: the identity of a new log, the most bytes and the greatest age in microseconds. Returns its identity,
#: and whether INDEX has been run.
BEGIN = r"""
if redis.call('HSETNX', KEYS[2], 'id', ARGV[1]) == 1 then
    redis.call('HSET', KEYS[2], 'floor', redis.call('GET', KEYS[1]) or '0', 'bytes', '0', 'first', '0')
end
redis.call('HSET', KEYS[2], 'most_bytes', ARGV[2], 'most_age_us', ARGV[3])
return {redis.call('HGET', KEYS[2], 'id'), redis.call('HEXISTS', KEYS[2], 'indexed')}
"""

#: Adds entries that were written before the log was begun to the index, if they expire. KEYS: the name of the index;
#: for each entry its name and that of its metadata.
INDEX = r"""
for place = 2, #KEYS, 2 do
    local known = redis.call('EXISTS', KEYS[place]) == 1 and redis.call('GET', KEYS[place + 1])
    local at_ms = known and string.match(known, '^%d+ %d+ %d+ (%d+)%d%d%d ')
    if at_ms then
        redis.call('ZADD', KEYS[1], tonumber(at_ms) - 1, KEYS[place])
    end
end
"""

#: Some changes of the log. KEYS: the names of its state and of the log. ARGV: the identity of the log, the version
#: after which to begin, and about how many changes and bytes. Returns the items, or nil if the log does not have them
#: all.
READ = r"""
local log = redis.call('HMGET', KEYS[1], 'id', 'floor')
local after = tonumber(ARGV[2])
if log[1] ~= ARGV[1] or after < tonumber(log[2]) then
    return false
end
local items, bytes, some = {}, 0, nil
repeat
    some = redis.call('XRANGE', KEYS[2], string.format('%.0f', after + 1), '+', 'COUNT', 16)
    for _, item in ipairs(some) do
        items[#items + 1] = item
        bytes = bytes + #(item[2][4] or '')
        after = tonumber(string.match(item[1], '^%d+'))
    end
until #some < 16 or #items >= tonumber(ARGV[3]) or bytes >= tonumber(ARGV[4])
return items
"""

#: When the strings of the names KEYS expire, in microseconds since 1970; 0 for never.
EXPIRIES = r"""
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local expiries = {}
for place, name in ipairs(KEYS) do
    local until_ms = redis.pcall('PEXPIRETIME', name)
    if type(until_ms) ~= 'number' then
        -- A release before 7.0.
        local left_ms = redis.call('PTTL', name)
        until_ms = left_ms < 0 and left_ms or now_ms + left_ms
    end
    -- Redis hides it after this millisecond.
    expiries[place] = until_ms < 0 and '0' or string.format('%.0f', (until_ms + 1) * 1000)
end
return expiries
"""

#: The time of the server, in seconds and microseconds. KEYS: any name, which says which server.
NOW = "return redis.call('TIME')"

#: Refuses repeated requests from before now that are not known. KEYS: the name of the requests.
FORGET = r"""
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local since = math.max(now, tonumber(redis.call('HGET', KEYS[1], 'since') or 0))
redis.call('HSET', KEYS[1], 'since', string.format('%.0f', since))
"""

#: Makes later versions greater than ARGV[1]. KEYS: the name of the latest version.
RAISE = r"""
if tonumber(ARGV[1]) > tonumber(redis.call('GET', KEYS[1]) or 0) then
    redis.call('SET', KEYS[1], ARGV[1])
end
"""
