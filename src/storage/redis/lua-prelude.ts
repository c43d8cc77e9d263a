/** A body that no message has, such as a crashed upload, is kept for so long behind its last part. */
export const BODY_TTL_MS: number = 60 * 60_000;

/**
 * The words that all scripts over a queue in Redis are made of. A script is one atomic step and has one key, the queue's
 * base `{prefix}`, whose hash tag puts all keys of the queue into one slot of a cluster:
 *
 *     {p}            hash: epoch, version, bytes, corrupt
 *     {p}:m:ID       hash: the row of one message; see `load`
 *     {p}:c:ID       its record: envelope, and the body when it is small and nobody shares it
 *     {p}:b:BODY     hash: a body in parts 0, 1, ... and `refs`, how many messages have it; expires while nobody does
 *     {p}:state:S    sorted set: ids by state, in the order of ids
 *     {p}:of:DOMAIN  sorted set: ids by domain, in the order of ids
 *     {p}:s:DOMAIN   sorted set: what waits, in the order of (epoch, due): the schedule of one domain
 *     {p}:domains    sorted set: domains with mail that waits, in the order of the first entry of each schedule
 *     {p}:leases     sorted set: leased ids by the end of the lease
 *     {p}:at:NAME    hash: places at a destination by node; expires
 *     {p}:news       stream: what was written or made due, for other nodes
 *     {p}:x:...      what was moved aside, and {p}:corrupt, an index of it
 *
 * All scores but those of leases are 0, so that the order is that of the members (ZRANGEBYLEX). An entry of a schedule is
 * epoch, due and id in digits of fixed width: a flush starts an epoch, and whoever waits in an older one is due.
 */
export const PRELUDE: string = `
local base = KEYS[1]
local call = redis.call
local BIAS = 1e13
local NEWS_MAX = 4096
local BODY_MS = ${BODY_TTL_MS}

local function key(kind, name) return base .. ':' .. kind .. ':' .. name end
local function epochNow() return tonumber(call('HGET', base, 'epoch') or 1) end
local function slot(epoch, due) return string.format('%012.0f%015.0f', epoch, due + BIAS) end

local function isLate(deadline)
  if deadline == '0' then return false end
  local time = call('TIME')
  return tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000 > tonumber(deadline)
end

local function load(id)
  local r = call('HMGET', key('m', id), 'v', 'e', 't', 'd', 'a', 'z', 'k', 'h', 'u', 'b')
  if not r[1] then return nil end
  return { id = id, v = r[1], e = tonumber(r[2]) or 0, t = tonumber(r[3]) or 0, d = r[4] or '',
    a = tonumber(r[5]) or 0, z = tonumber(r[6]) or 0, held = r[7] == '1',
    h = r[8] or nil, u = tonumber(r[9] or nil), b = r[10] or nil }
end

local function stateOf(m)
  if m.held then return 'hold' end
  if m.h then return 'active' end
  if m.a == 0 then return 'incoming' end
  return 'deferred'
end

local function schedule(m, command)
  local name = key('s', m.d)
  local before = call('ZRANGE', name, 0, 0)[1]
  if command == 'ZADD' then call('ZADD', name, 0, slot(m.e, m.t) .. m.id)
  else call('ZREM', name, slot(m.e, m.t) .. m.id) end
  local after = call('ZRANGE', name, 0, 0)[1]
  before = before and string.sub(before, 1, 27)
  after = after and string.sub(after, 1, 27)
  if before == after then return end
  if before then call('ZREM', base .. ':domains', before .. m.d) end
  if after then call('ZADD', base .. ':domains', 0, after .. m.d) end
end

local function lift(m)
  call('ZREM', key('state', stateOf(m)), m.id)
  call('ZREM', key('of', m.d), m.id)
  if m.h then call('ZREM', base .. ':leases', m.id) end
  if not m.held and not m.h then schedule(m, 'ZREM') end
end

local function place(m)
  call('ZADD', key('state', stateOf(m)), 0, m.id)
  call('ZADD', key('of', m.d), 0, m.id)
  if m.h then call('ZADD', base .. ':leases', m.u, m.id) end
  if not m.held and not m.h then schedule(m, 'ZADD') end
end

local function save(m)
  local name = key('m', m.id)
  call('HSET', name, 'e', m.e, 't', m.t, 'd', m.d, 'a', m.a, 'k', m.held and '1' or '0')
  if m.h then call('HSET', name, 'h', m.h, 'u', m.u) else call('HDEL', name, 'h', 'u') end
end

local function letGo(body)
  if call('HINCRBY', key('b', body), 'refs', -1) <= 0 then call('UNLINK', key('b', body)) end
end

local function forget(m)
  lift(m)
  call('UNLINK', key('m', m.id), key('c', m.id))
  call('HINCRBY', base, 'bytes', -m.z)
  if m.b then letGo(m.b) end
end

local function tell(origin, id, due)
  call('XADD', base .. ':news', 'MAXLEN', '~', NEWS_MAX, '*', 'o', origin, 'i', id, 't', due)
end

-- id, due, domain, size, receivedAt, sender, recipients, progress, attempts, held, record, body: twelve arguments from at.
-- The version is what it gets if nobody has the id; then it returns the size, else nothing.
local ADD_ARGUMENTS = 12
local function add(at, epoch, holder, untilAt, origin, version)
  local id = ARGV[at]
  local name = key('m', id)
  if call('HSETNX', name, 'v', version) == 0 then return nil end
  local m = { id = id, e = epoch, t = tonumber(ARGV[at + 1]), d = ARGV[at + 2],
    a = tonumber(ARGV[at + 8]), held = ARGV[at + 9] == '1' }
  local facts = { 'HSET', name, 'e', epoch, 't', ARGV[at + 1], 'd', m.d, 'a', m.a, 'z', ARGV[at + 3],
    'c', ARGV[at + 4], 's', ARGV[at + 5], 'n', ARGV[at + 6], 'k', ARGV[at + 9] }
  local function fact(field, value) facts[#facts + 1] = field; facts[#facts + 1] = value end
  if holder ~= '' then
    m.h = holder
    m.u = tonumber(untilAt)
    fact('h', holder)
    fact('u', untilAt)
  end
  if ARGV[at + 7] ~= '' then fact('p', ARGV[at + 7]) end
  local body = ARGV[at + 11]
  if body ~= '' then
    fact('b', body)
    call('HINCRBY', key('b', body), 'refs', 1)
    call('PERSIST', key('b', body))
  end
  call(unpack(facts))
  call('SET', key('c', id), ARGV[at + 10])
  place(m)
  if not m.held and not m.h then tell(origin, id, ARGV[at + 1]) end
  return tonumber(ARGV[at + 3])
end

-- Adds several in a row; returns the version of each that was not there, and nothing for the others.
local function addAll(at, count, epoch, holder, untilAt, origin)
  if count == 0 then return {} end
  local version = call('HINCRBY', base, 'version', count) - count
  local versions = {}
  local bytes = 0
  for index = 1, count do
    local size = add(at + ADD_ARGUMENTS * (index - 1), epoch, holder, untilAt, origin, version + index)
    versions[index] = size and tostring(version + index) or ''
    bytes = bytes + (size or 0)
  end
  call('HINCRBY', base, 'bytes', bytes)
  return versions
end

-- Bodies that messages of this step refer to: name, count of parts, and the bytes of the only part or nothing when the
-- parts were uploaded. False: an upload has expired.
local function bodies(at, count)
  for index = 0, count - 1 do
    local name = key('b', ARGV[at + 3 * index])
    if ARGV[at + 3 * index + 2] ~= '' then
      call('HSET', name, '0', ARGV[at + 3 * index + 2])
      call('PEXPIRE', name, BODY_MS)
    elseif call('HLEN', name) - call('HEXISTS', name, 'refs') ~= tonumber(ARGV[at + 3 * index + 1]) then
      return false
    end
  end
  return true
end

-- A lease that is over gives its message back; at most a few at a time. Returns id and due of each.
local function expire(now)
  local given = {}
  for _, id in ipairs(call('ZRANGEBYSCORE', base .. ':leases', '-inf', now, 'LIMIT', 0, 200)) do
    local m = load(id)
    if m and m.h then
      lift(m)
      m.h = nil; m.u = nil
      if not m.held then m.e = epochNow() end
      place(m)
      save(m)
      given[#given + 1] = id
      given[#given + 1] = tostring(m.t)
    else call('ZREM', base .. ':leases', id) end
  end
  return given
end

local function isHeldBy(m, holder, now) return m.h == holder and m.u > now end
`;
