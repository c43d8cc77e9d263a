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
-- Entries of the stream, and words of one: four say what is due when.
local NEWS_MAX = 1024
local NEWS_EACH = 4 * 32
local BODY_MS = ${BODY_TTL_MS}

local function key(kind, name) return base .. ':' .. kind .. ':' .. name end
local function epochNow() return tonumber(call('HGET', base, 'epoch') or 1) end
local function slot(epoch, due) return string.format('%012.0f%015.0f', epoch, due + BIAS) end

local clock
local function isLate(deadline)
  if deadline == '0' then return false end
  if not clock then
    local time = call('TIME')
    clock = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
  end
  return clock > tonumber(deadline)
end

-- Each state of a row gets a version that no other state of any row has had.
local stem
local versions = 0
local function newVersion()
  stem = stem or tostring(call('HINCRBY', base, 'version', 1))
  versions = versions + 1
  return stem .. '.' .. versions
end

-- A step may be about many messages, and to call a command costs a script more than most commands do. So what all of them
-- have in common is gathered, by the name of its key, and changed by 'finish' with few commands.
local adding, removing, waiting, unlinking, gone, bodiless, told = {}, {}, {}, {}, {}, {}, {}
local octets, toldBy = 0, nil

local function gather(lists, name, first, second)
  local list = lists[name]
  if not list then list = {}; lists[name] = list end
  list[#list + 1] = first
  list[#list + 1] = second
end

-- A command over a list, with at most so much of it at a time: a script cannot call one with any number of arguments.
local MOST = 1000
local function over(most, list, ...)
  for from = 1, #list, most do
    local command = { ... }
    for at = from, math.min(from + most - 1, #list) do command[#command + 1] = list[at] end
    call(unpack(command))
  end
end

local function load(id)
  if gone[id] then return nil end
  -- What is no row at all must not end the step of others.
  local r = redis.pcall('HMGET', key('m', id), 'v', 'e', 't', 'd', 'a', 'z', 'k', 'h', 'u', 'b')
  if r.err or not r[1] then return nil end
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

local function first(name)
  local entry = call('ZRANGE', name, 0, 0)[1]
  return entry and string.sub(entry, 1, 27)
end

local function schedule(domain, entries, command)
  local name = key('s', domain)
  local before = first(name)
  over(MOST, entries, command, name)
  local after = first(name)
  if before == after then return end
  if before then call('ZREM', base .. ':domains', before .. domain) end
  if after then call('ZADD', base .. ':domains', 0, after .. domain) end
end

local function lift(m)
  call('ZREM', key('state', stateOf(m)), m.id)
  call('ZREM', key('of', m.d), m.id)
  if m.h then call('ZREM', base .. ':leases', m.id) end
  if not m.held and not m.h then schedule(m.d, { slot(m.e, m.t) .. m.id }, 'ZREM') end
end

local function place(m)
  call('ZADD', key('state', stateOf(m)), 0, m.id)
  call('ZADD', key('of', m.d), 0, m.id)
  if m.h then call('ZADD', base .. ':leases', m.u, m.id) end
  if not m.held and not m.h then schedule(m.d, { '0', slot(m.e, m.t) .. m.id }, 'ZADD') end
end

local function save(m)
  local name = key('m', m.id)
  call('HSET', name, 'e', m.e, 't', m.t, 'd', m.d, 'a', m.a, 'k', m.held and '1' or '0')
  if m.h then call('HSET', name, 'h', m.h, 'u', m.u) else call('HDEL', name, 'h', 'u') end
end

local function forget(m)
  gather(removing, key('state', stateOf(m)), m.id)
  gather(removing, key('of', m.d), m.id)
  if m.h then gather(removing, base .. ':leases', m.id) end
  if not m.held and not m.h then schedule(m.d, { slot(m.e, m.t) .. m.id }, 'ZREM') end
  unlinking[#unlinking + 1] = key('m', m.id)
  unlinking[#unlinking + 1] = key('c', m.id)
  gone[m.id] = true
  octets = octets - m.z
  bodiless[#bodiless + 1] = m.b
end

local function tell(origin, id, due)
  toldBy = origin
  for _, word in ipairs({ 'i', id, 't', due }) do told[#told + 1] = word end
end

-- The end of every step.
local function finish()
  for _, body in ipairs(bodiless) do
    if call('HINCRBY', key('b', body), 'refs', -1) <= 0 then unlinking[#unlinking + 1] = key('b', body) end
  end
  over(MOST, unlinking, 'UNLINK')
  for name, members in pairs(removing) do over(MOST, members, 'ZREM', name) end
  for name, members in pairs(adding) do over(MOST, members, 'ZADD', name) end
  for domain, entries in pairs(waiting) do schedule(domain, entries, 'ZADD') end
  if octets ~= 0 then call('HINCRBY', base, 'bytes', octets) end
  if toldBy then over(NEWS_EACH, told, 'XADD', base .. ':news', 'MAXLEN', '~', NEWS_MAX, '*', 'o', toldBy) end
end

-- id, due, domain, size, receivedAt, sender, recipients, progress, attempts, held, record, body: twelve arguments from at.
-- Returns its version, or nothing to show for it when somebody has the id.
local ADD_ARGUMENTS = 12
local function add(at, epoch, holder, untilAt, origin)
  local id, due, domain, held = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 9] == '1'
  local name, version = key('m', id), newVersion()
  if gone[id] or call('HSETNX', name, 'v', version) == 0 then return '' end
  local facts = { 'HSET', name, 'e', epoch, 't', due, 'd', domain, 'a', ARGV[at + 8], 'z', ARGV[at + 3],
    'c', ARGV[at + 4], 's', ARGV[at + 5], 'n', ARGV[at + 6], 'k', ARGV[at + 9] }
  local function fact(field, value) facts[#facts + 1] = field; facts[#facts + 1] = value end
  if holder ~= '' then
    fact('h', holder)
    fact('u', untilAt)
    gather(adding, base .. ':leases', untilAt, id)
  elseif not held then
    gather(waiting, domain, '0', slot(epoch, tonumber(due)) .. id)
    tell(origin, id, due)
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
  local state = stateOf({ held = held, h = holder ~= '', a = tonumber(ARGV[at + 8]) })
  gather(adding, key('state', state), '0', id)
  gather(adding, key('of', domain), '0', id)
  octets = octets + tonumber(ARGV[at + 3])
  return version
end

-- Adds several in a row; returns what came of each.
local function addAll(at, count, epoch, holder, untilAt, origin)
  local added = {}
  for index = 1, count do
    added[index] = add(at + ADD_ARGUMENTS * (index - 1), epoch, holder, untilAt, origin)
  end
  return added
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

-- A lease that is over gives its message back; at most a few at a time. Returns id and due of each. All nodes are told:
-- who finds it may have no room for it, or only be counting.
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
      if not m.held then tell('', id, tostring(m.t)) end
      given[#given + 1] = id
      given[#given + 1] = tostring(m.t)
    else call('ZREM', base .. ':leases', id) end
  end
  return given
end

local function isHeldBy(m, holder, now) return m.h == holder and m.u > now end
`;
