/**
 * Who has how many places at a destination: `{p}:at:DESTINATION`, a hash with a field for each node that has or wants some,
 * of what it has, what it wants, until when that counts, and the number of its claim. Time is the server's own: what a node
 * has must end for all at the same instant. The key expires with the last of them.
 *
 * Arguments: node, number of the claim, time to live, and for each destination its name, limit, keeps, takes, wants.
 */
export const CLAIM: string = `
local node, number, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local answer = { string.format('%.0f', now) }

-- What the others have, all together and one by one; and whether a newer claim of this node was here before this one.
local function others(name)
  local sum, list, isLate = 0, {}, false
  local fields = call('HGETALL', name)
  for at = 1, #fields, 2 do
    local held, wants, untilAt, last = string.match(fields[at + 1], '^(%d+) (%d+) (%d+) (%d+)$')
    if fields[at] == node then isLate = tonumber(last) >= number
    elseif tonumber(untilAt) <= now then call('HDEL', name, fields[at])
    else
      sum = sum + tonumber(held)
      list[#list + 1] = { fields[at], held, wants }
    end
  end
  return sum, list, isLate
end

for at = 4, #ARGV, 5 do
  local name = key('at', ARGV[at])
  local limit, keeps, takes, wants = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local sum, list, isLate = others(name)
  local held = keeps + math.max(0, math.min(takes - keeps, limit - sum - keeps))
  if held == 0 and wants == 0 then
    if not isLate then call('HDEL', name, node) end
  elseif not isLate then
    call('HSET', name, node, string.format('%d %d %.0f %.0f', held, wants, now + ttl, number))
    call('PEXPIRE', name, ttl)
    list[#list + 1] = { node, tostring(held), tostring(wants) }
  end
  answer[#answer + 1] = tostring(held)
  answer[#answer + 1] = tostring(#list)
  for _, share in ipairs(list) do
    for _, value in ipairs(share) do answer[#answer + 1] = value end
  end
end
return answer`;
