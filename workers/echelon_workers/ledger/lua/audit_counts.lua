#!lua flags=allow-oom
-- audit_counts: count anew what is in use, and set right what says otherwise.
-- Guarantee: all that is counted and all that it is held against is of this one moment. Without '1' it writes nothing.
-- KEYS  own prefix, queue prefix
-- ARGV  '1' to mend or '', then
-- ARGV  'recount', how many jobs that wait or are delayed it may look at, how many scopes, scopes that hold something or did, then for each
--       place where jobs wait: 'list' and a queue, or 'parked', and a queue and a node
--   reply findings; '1' if those that are delayed were counted, and '1' if those that wait were
-- ARGV  'shift', then counters and by how much each is too high
--   reply findings
--@ time places scopes findings
mends = ARGV[1] == '1'
moment()
local most = tonumber(ARGV[3])

-- Whether a counter says what was counted; where it does not, it is set right.
local function hold_against(key, field, subject, said, counted)
  if (tonumber(said) or 0) == counted and (not said or whole(said)) then return end
  if mends then redis.call('HSET', key, field, counted) end
  find('counter', subject, string.format('it says %s, there are %d', said or 'nothing', counted), mends)
end

local function add(sums, name, many) sums[name] = (sums[name] or 0) + many end

local function count_running(counts, used)
  for _, id in ipairs(redis.call('ZRANGE', K.running, 0, -1)) do
    local r = redis.pcall('HMGET', K.job..id, 'state', 'queue', 'scopes')
    if not r.err and r[1] == 'running' then
      add(counts, 'running:'..(r[2] or ''), 1)
      for name in string.gmatch(r[3] or '', '[^ ]+') do add(used, name, 1) end
    end
  end
  local probes = redis.call('HGETALL', K.probes)
  for i = 1, #probes, 2 do
    if string.match(probes[i + 1], '^%d+ %a+ %S+ %d+ %d+$') then
      add(used, 'cluster:', 1)
      add(used, 'model:'..probes[i], 1)
    end
  end
end

local function count_delayed(counts)
  if redis.call('ZCARD', K.delayed) > most then return '' end
  for _, id in ipairs(redis.call('ZRANGE', K.delayed, 0, -1)) do
    local r = redis.pcall('HMGET', K.job..id, 'state', 'queue')
    if not r.err and r[1] == 'delayed' then add(counts, 'delayed:'..(r[2] or ''), 1) end
  end
  return '1'
end

-- All that wait in these queues, or are parked in these places; nil if they are too many for one step.
local function ids_waiting(queues, places)
  local ids, waiting = {}, 0
  for queue in pairs(queues) do
    for number = 0, GUESTS do
      local length = redis.pcall('LLEN', list_of(queue, number))
      if type(length) == 'number' and length > 0 then
        waiting = waiting + length
        if waiting > most then return nil end
        for _, id in ipairs(redis.call('LRANGE', list_of(queue, number), 0, -1)) do ids[id] = true end
      end
    end
  end
  for place in pairs(places) do
    local parked = redis.pcall('ZRANGE', K.parked..place, 0, most)
    waiting = waiting + #parked
    if waiting > most then return nil end
    for _, id in ipairs(parked) do ids[id] = true end
  end
  return ids
end

local function count_waiting(counts, queues, places)
  for _, place in ipairs(redis.call('ZRANGE', K.parks, 0, -1)) do places[place] = true end
  for _, name in ipairs({ K.plans, K.dropped }) do
    for _, queue in ipairs(redis.call('SMEMBERS', name)) do queues[queue] = true end
  end
  local ids = ids_waiting(queues, places)
  if not ids then return '' end
  for id in pairs(ids) do
    local r = redis.pcall('HMGET', K.job..id, 'state', 'node')
    if not r.err and r[1] == 'queued' and (r[2] or '') ~= '' then add(counts, 'waiting:node:'..r[2], 1) end
  end
  return '1'
end

local function recount()
  local counts, used, queues, places = {}, {}, {}, {}
  local last = 4 + tonumber(ARGV[4])
  for i = 5, last do used[ARGV[i]] = 0 end
  for i = last + 1, #ARGV, 2 do (ARGV[i] == 'parked' and places or queues)[ARGV[i + 1]] = true end
  count_running(counts, used)
  local are_counted = { running = '1', delayed = count_delayed(counts), waiting = count_waiting(counts, queues, places) }
  local said, fields = redis.call('HGETALL', K.counts), {}
  for i = 1, #said, 2 do
    fields[said[i]] = said[i + 1]
    counts[said[i]] = counts[said[i]] or 0
  end
  for field, counted in pairs(counts) do
    if are_counted[string.match(field, '^%a+')] == '1' then hold_against(K.counts, field, field, fields[field], counted) end
  end
  for name, counted in pairs(used) do
    local in_use = redis.pcall('HGET', K.scope..name, 'cu')
    if type(in_use) ~= 'table' then
      hold_against(K.scope..name, 'cu', 'scope:'..name, in_use, counted)
      if mends and (tonumber(in_use) or 0) > counted then pass_on(K.waiting, name, this_moment) end
    end
  end
  return { findings, are_counted.delayed, are_counted.waiting }
end

local function shift()
  for i = 3, #ARGV, 2 do
    if mends then redis.call('HINCRBY', K.counts, ARGV[i], -tonumber(ARGV[i + 1])) end
    find('counter', ARGV[i], 'it is '..ARGV[i + 1]..' too high', mends)
  end
  return { findings }
end

if ARGV[2] == 'recount' then return recount() end
return shift()
