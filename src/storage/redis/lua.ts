import { CLAIM } from "./lua-places.ts";
import { PRELUDE } from "./lua-prelude.ts";

/** What works also when the server is out of memory: it ends mail, or changes little. */
const SMALL = "#!lua flags=allow-oom";
/** What needs room is refused as a whole before it has changed anything. */
const LARGE = "#!lua";
const READ = "#!lua flags=no-writes,allow-oom";

function script(shebang: string, body: string): string {
  return `${shebang}\n${PRELUDE}\nlocal function step()\n${body}\nend\nlocal answer = step()\nfinish()\nreturn answer`;
}

/** By name; each is one step. What its arguments are is said by who runs it. */
export const SCRIPTS = {
  write: script(
    LARGE,
    `
local origin = ARGV[1]
local epoch = epochNow()
local answer = {}
local at = 2
while at <= #ARGV do
  local deadline, holder, untilAt, messages, count = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local first = at + 5 + 3 * count
  local unit = { 'ok' }
  if isLate(deadline) then unit[1] = 'late'
  elseif not bodies(at + 5, count) then unit[1] = 'expired'
  else
    for index, version in ipairs(addAll(first, messages, epoch, holder, untilAt, origin)) do
      unit[index + 1] = version
    end
  end
  answer[#answer + 1] = unit
  at = first + ADD_ARGUMENTS * messages
end
return answer`,
  ),

  settle: script(
    SMALL,
    `
local origin, now = ARGV[1], tonumber(ARGV[2])
local function settle(at, messages, count)
  local deadline, id, holder, version = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local ends, attempts, domain, progress, due, held = unpack(ARGV, at + 4, at + 9)
  if isLate(deadline) then return 'late' end
  local m = load(id)
  if not m then return 'gone' end
  if holder ~= '' and not isHeldBy(m, holder, now) then return 'lost' end
  if m.v ~= version then return 'stale' end
  if not bodies(at + 12, count) then return 'expired' end
  if messages > 0 then addAll(at + 12 + 3 * count, messages, epochNow(), '', '', origin) end
  if ends == '1' then forget(m); return 'ok' end
  lift(m)
  local endsLease = holder ~= ''
  local wasHeld = m.held
  if held ~= '' then m.held = held == '1' end
  if not m.held and (due ~= '' or endsLease or wasHeld) then m.e = epochNow() end
  if endsLease then m.h = nil; m.u = nil end
  if due ~= '' then m.t = tonumber(due) end
  m.a = tonumber(attempts)
  m.d = domain
  place(m)
  save(m)
  call('HSET', key('m', id), 'v', newVersion())
  if progress == '' then call('HDEL', key('m', id), 'p') else call('HSET', key('m', id), 'p', progress) end
  if not m.held and not m.h then tell(origin, id, tostring(m.t)) end
  return 'ok'
end
local answer = {}
local at = 3
while at <= #ARGV do
  local messages, count = tonumber(ARGV[at + 10]), tonumber(ARGV[at + 11])
  answer[#answer + 1] = settle(at, messages, count)
  at = at + 12 + 3 * count + ADD_ARGUMENTS * messages
end
return answer`,
  ),

  remove: script(
    SMALL,
    `
for at = 1, #ARGV do
  local m = load(ARGV[at])
  if m then forget(m) end
end
return 1`,
  ),

  discard: script(
    SMALL,
    `
local name = key('b', ARGV[1])
if call('HEXISTS', name, 'refs') == 1 then return 0 end
return call('UNLINK', name)`,
  ),

  withdraw: script(
    SMALL,
    `
local count = 0
for at = 2, #ARGV do
  local m = load(ARGV[at])
  if m and m.a == 0 and not m.held and (not m.h or m.h == ARGV[1]) then forget(m); count = count + 1 end
end
return count`,
  ),

  peek: script(
    SMALL,
    `
local now, early, timely, domainsMax, rowsMax, timelyOnly = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
expire(now)
local epoch = epochNow()
local start = string.format('%012.0f', epoch)
local stop = '(' .. slot(epoch, now + 1)
local function walk(from, to)
  if from == 'end' then return {}, 'end' end
  local found = call('ZRANGEBYLEX', base .. ':domains', from, to, 'LIMIT', 0, domainsMax)
  if #found < tonumber(domainsMax) then return found, 'end' end
  return found, '(' .. found[#found]
end
local first, nextEarly = walk(early == '' and '-' or early, '(' .. start)
local second, nextTimely = walk(timely == '' and '[' .. start or timely, stop)
local each = math.max(4, math.ceil(rowsMax / math.max(1, #first + #second)))
local answer = { nextEarly, nextTimely, '0' }
local function rows(domain, from, to, flushed)
  local found = call('ZRANGEBYLEX', key('s', domain), from, to, 'LIMIT', 0, each)
  if #found == each then answer[3] = '1' end
  for _, entry in ipairs(found) do
    answer[#answer + 1] = domain
    answer[#answer + 1] = string.sub(entry, 28)
    answer[#answer + 1] = tostring(tonumber(string.sub(entry, 13, 27)) - BIAS)
    answer[#answer + 1] = flushed
  end
end
for _, entry in ipairs(first) do
  local domain = string.sub(entry, 28)
  if timelyOnly == '0' then rows(domain, '-', '(' .. start, '1') end
  rows(domain, '[' .. start, stop, '0')
end
for _, entry in ipairs(second) do rows(string.sub(entry, 28), '[' .. start, stop, '0') end
return answer`,
  ),

  take: script(
    SMALL,
    `
local now, holder, untilAt = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local epoch = epochNow()
local answer = {}
for at = 4, #ARGV do
  local m = load(ARGV[at])
  if m and not m.held and not m.h and (m.e < epoch or m.t <= now) then
    lift(m)
    m.h = holder; m.u = untilAt
    if m.t > now then m.t = now end
    place(m)
    save(m)
    answer[#answer + 1] = m.id
    answer[#answer + 1] = m.d
    answer[#answer + 1] = tostring(m.t)
  end
end
return answer`,
  ),

  renew: script(
    SMALL,
    `
local now, holder, untilAt = tonumber(ARGV[1]), ARGV[2], ARGV[3]
for at = 4, #ARGV do
  local held = call('HMGET', key('m', ARGV[at]), 'h', 'u')
  if held[1] == holder and tonumber(held[2]) > now then
    call('HSET', key('m', ARGV[at]), 'u', untilAt)
    call('ZADD', base .. ':leases', untilAt, ARGV[at])
  end
end
return 1`,
  ),

  release: script(
    SMALL,
    `
local now, holder, origin = tonumber(ARGV[1]), ARGV[2], ARGV[3]
for at = 4, #ARGV do
  local m = load(ARGV[at])
  if m and isHeldBy(m, holder, now) then
    lift(m)
    m.h = nil; m.u = nil
    if not m.held then m.e = epochNow() end
    place(m)
    save(m)
    if not m.held then tell(origin, m.id, tostring(m.t)) end
  end
end
return 1`,
  ),

  expire: script(SMALL, "return expire(tonumber(ARGV[1]))"),

  claim: script(SMALL, CLAIM),

  nextDue: script(
    SMALL,
    `
expire(tonumber(ARGV[1]))
local first = call('ZRANGE', base .. ':domains', 0, 0)[1]
if not first then return '' end
if tonumber(string.sub(first, 1, 12)) < epochNow() then return 'flushed' end
return tostring(tonumber(string.sub(first, 13, 27)) - BIAS)`,
  ),

  flush: script(
    SMALL,
    `
local waiting = call('ZCARD', key('state', 'incoming')) + call('ZCARD', key('state', 'deferred'))
if waiting > 0 then
  call('HSET', base, 'epoch', epochNow() + 1)
  tell(ARGV[1], '', '0')
end
return waiting`,
  ),

  hold: script(
    SMALL,
    `
local deadline, origin, now, id, wanted = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1'
if isLate(deadline) then return 'late' end
local m = load(id)
if not m then return 'gone' end
if m.held == wanted then return 'same' end
lift(m)
m.held = wanted
if not wanted then m.t = tonumber(now); m.e = epochNow() end
place(m)
save(m)
if not m.held and not m.h then tell(origin, id, now) end
return 'ok'`,
  ),

  moveAside: script(
    SMALL,
    `
local m = load(ARGV[1])
if not m then return 0 end
lift(m)
call('HSET', key('m', m.id), 'reason', ARGV[2], 'at', ARGV[3])
call('RENAME', key('m', m.id), key('x', 'm:' .. m.id))
if call('EXISTS', key('c', m.id)) == 1 then call('RENAME', key('c', m.id), key('x', 'c:' .. m.id)) end
call('ZADD', base .. ':corrupt', 0, m.id)
call('HINCRBY', base, 'bytes', -m.z)
return call('HINCRBY', base, 'corrupt', 1)`,
  ),

  read: script(
    READ,
    `
return { call('HMGET', key('m', ARGV[1]), unpack(ARGV, 2)), call('GET', key('c', ARGV[1])) }`,
  ),

  rows: script(
    READ,
    `
local fields = tonumber(ARGV[1])
local answer = {}
for at = 2 + fields, #ARGV do
  local row = redis.pcall('HMGET', key('m', ARGV[at]), unpack(ARGV, 2, 1 + fields))
  answer[#answer + 1] = row.err and {} or row
end
return answer`,
  ),

  list: script(
    READ,
    `
local after, limit, state, domain = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local from = after == '' and '-' or '(' .. after
local names = {}
if domain ~= '' then names[1] = key('of', domain)
elseif state ~= '' then names[1] = key('state', state)
else for _, each in ipairs({ 'incoming', 'active', 'deferred', 'hold' }) do names[#names + 1] = key('state', each) end end
local ids = {}
for _, name in ipairs(names) do
  for _, id in ipairs(call('ZRANGEBYLEX', name, from, '+', 'LIMIT', 0, limit)) do ids[#ids + 1] = id end
end
table.sort(ids)
local answer = {}
for index = 1, math.min(limit, #ids) do
  answer[#answer + 1] = ids[index]
  answer[#answer + 1] = call('HMGET', key('m', ids[index]), unpack(ARGV, 5))
end
return answer`,
  ),

  info: script(
    READ,
    `
local states = { 'incoming', 'active', 'deferred', 'hold' }
local answer = { call('HGET', base, 'bytes') or '0', call('HGET', base, 'corrupt') or '0', '' }
local first
for _, state in ipairs(states) do
  local name = key('state', state)
  answer[#answer + 1] = tostring(call('ZCARD', name))
  local id = call('ZRANGE', name, 0, 0)[1]
  if id and (not first or id < first) then first = id end
end
if first then answer[3] = call('HGET', key('m', first), 'c') or '' end
return answer`,
  ),
} as const;

export type ScriptName = keyof typeof SCRIPTS;
