#!lua flags=no-writes
-- status: the whole cluster as it is at one moment.
-- Guarantee: writes nothing. All numbers are of the same moment, so a job is counted in one place.
-- KEYS  own prefix, queue prefix
-- ARGV  queue names
-- reply server time in ms; INFO (server and memory); workers: name, last heartbeat, what it says of itself, three a
--       worker, for those whose entry has not expired; then for each queue: the lengths of its lists of priority 0 to 9,
--       how many are parked for their nodes, running, delayed, its totals (field, value, ...), 1 if it is paused, and the
--       scope that holds its jobs back or ''
local t = redis.call('TIME')
local now = math.max(t[1] * 1000 + math.floor(t[2] / 1000), tonumber(redis.call('GET', K.clock) or '0'))
local workers = {}
local beats = redis.call('ZRANGE', K.workers, 0, -1, 'WITHSCORES')
for i = 1, #beats, 2 do
  local about = redis.call('GET', K.worker..beats[i])
  if about then
    for _, value in ipairs({ beats[i], beats[i + 1], about }) do workers[#workers + 1] = value end
  end
end
local counts, where = redis.call('HGETALL', K.counts), {}
for i = 1, #counts, 2 do where[counts[i]] = tonumber(counts[i + 1]) end
local parked = {}
for _, place in ipairs(redis.call('ZRANGE', K.parks, 0, -1)) do
  local queue = string.match(place, '^%S+')
  parked[queue] = (parked[queue] or 0) + redis.call('ZCARD', K.parked..place)
end
local function length(list)
  local n = redis.pcall('LLEN', list)
  return type(n) == 'number' and n or 0
end
local reply = { string.format('%.0f', now), redis.call('INFO', 'server')..redis.call('INFO', 'memory'), workers }
for _, queue in ipairs(ARGV) do
  local lengths, higher = { length(list_of(queue, 0)) }, {}
  for p = 1, 9 do higher[p] = list_of(queue, p) end
  if redis.call('EXISTS', unpack(higher)) > 0 then
    for p = 1, 9 do lengths[p + 1] = length(higher[p]) end
  end
  local at, binds = string.match(redis.call('HGET', K.blocked, queue) or '', '^(%d+) %S+ (.*)$')
  if not at or tonumber(at) + 1000 < now then binds = '' end
  reply[#reply + 1] = { lengths, parked[queue] or 0, where['running:'..queue] or 0, where['delayed:'..queue] or 0,
    redis.call('HGETALL', K.totals..queue), redis.call('SISMEMBER', K.paused, queue), binds }
end
return reply
