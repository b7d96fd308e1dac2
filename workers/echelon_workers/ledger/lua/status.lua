#!lua flags=no-writes
-- status: the whole cluster as it is at one moment.
-- Guarantee: writes nothing. All numbers are of the same moment, so a job is counted in one place.
-- KEYS  own prefix, queue prefix
-- ARGV  how many queues, the fields of a scope that say how an instance is, queue names, then for each scope: its name, the queues whose jobs wait for it
-- reply server time in ms; INFO (server and memory); workers: name, last heartbeat, what it says of itself, three a
--       worker, for those whose entry has not expired; queues of earlier revisions that still have jobs; then for each queue, these
--       last: the lengths of its lists of priority 0 to 9, how many are parked for their nodes or guests from another queue, running,
--       delayed, its totals (field, value, ...), 1 if it is paused, the scope that holds its jobs back or '', since when, and 1 if
--       it drains; then for each scope: its limit of attempts in flight, how many are, how many jobs may wait, how many do, when
--       one more may start ('' when one ends), until when its provider wants no calls, tokens used beyond what was reserved,
--       and its meters: algorithm, unit, size, span, size at present, used; and of an instance those fields
--@ guard time places scopes
local now = now_to_look()
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
local dropped = {}
for _, queue in ipairs(redis.call('SMEMBERS', K.dropped)) do
  if queue_waits(queue) + (where['running:'..queue] or 0) + (where['delayed:'..queue] or 0) > 0 then dropped[#dropped + 1] = queue end
end
local reply = { string.format('%.0f', now), redis.call('INFO', 'server')..redis.call('INFO', 'memory'), workers, dropped }
local waits, about = {}, {}
for name in string.gmatch(ARGV[2], '%S+') do about[#about + 1] = name end

local function add_queue(queue)
  local lengths, higher = { length(list_of(queue, 0)) }, {}
  for p = 1, 9 do higher[p] = list_of(queue, p) end
  if redis.call('EXISTS', unpack(higher)) > 0 then
    for p = 1, 9 do lengths[p + 1] = length(higher[p]) end
  end
  parked[queue] = (parked[queue] or 0) + length(list_of(queue, GUESTS))
  waits[queue] = parked[queue]
  for _, n in ipairs(lengths) do waits[queue] = waits[queue] + n end
  local at, since, binds = string.match(redis.call('HGET', K.blocked, queue) or '', '^(%d+) %S+ (%d+) (.*)$')
  if not at or tonumber(at) + 1000 < now then since, binds = '0', '' end
  reply[#reply + 1] = { lengths, parked[queue] or 0, where['running:'..queue] or 0, where['delayed:'..queue] or 0,
    redis.call('HGETALL', K.totals..queue), redis.call('SISMEMBER', K.paused, queue), binds, since,
    redis.call('SISMEMBER', K.draining, queue) }
end

local function add_scope(name, queues)
  local s, node = scope(name), string.match(name, '^node:(.*)$')
  local r = redis.call('HMGET', K.scope..name, 'qs', 'to')
  local waiting = node and (where['waiting:node:'..node] or 0) or 0
  for queue in string.gmatch(queues, '%S+') do waiting = waiting + (waits[queue] or 0) end
  local at, meters = free_at(s, now, 1, ''), {}
  for _, m in ipairs(s.meters) do
    meters[#meters + 1] = { m.name, m.unit, tostring(m.size), tostring(m.span), tostring(lowered(s, m.size, now)),
      string.format('%.3f', m.is.used(s, m, now)) }
  end
  local free = at >= NEVER and '' or string.format('%.0f', math.max(at, now))
  reply[#reply + 1] = { s.limit, s.used, tonumber(r[1]) or 0, waiting, free, string.format('%.0f', s.not_before),
    tonumber(r[2]) or 0, meters, string.sub(name, 1, 6) == 'model:' and redis.call('HMGET', K.scope..name, unpack(about)) or {} }
end

for i = 3, tonumber(ARGV[1]) + 2 do add_queue(ARGV[i]) end
for _, queue in ipairs(dropped) do add_queue(queue) end
for i = tonumber(ARGV[1]) + 3, #ARGV, 2 do add_scope(ARGV[i], ARGV[i + 1]) end
return reply
