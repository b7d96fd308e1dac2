-- Where a job is. It is in exactly one place: a queue's list, parked beside it, `running`, `delayed`, or ended (dead, ...).

-- Wake workers that found this queue empty or blocked, at most `many`; returns how many. One whose connection is gone receives
-- nothing (PUBLISH answers 0) and is passed over; the safety poll covers one that dies at this very moment.
local function wake(queue, many)
  local woken = 0
  while woken < many do
    local worker = redis.call('SPOP', K.idle..queue)
    if not worker then break end
    if redis.call('PUBLISH', K.wake..worker, queue) > 0 then woken = woken + 1 end
  end
  return woken
end

-- The lists beside the plain one, which is that of priority 0. That of GUESTS has the jobs that fell back to this queue: they take
-- turns with its own.
local function higher_lists(queue)
  local lists = {}
  for p = GUESTS, 1, -1 do lists[#lists + 1] = list_of(queue, p) end
  return lists
end

local function has_jobs(queue)
  return redis.call('EXISTS', list_of(queue, 0), unpack(higher_lists(queue))) > 0
end

-- How many jobs of a node wait in a queue or parked beside it; it is counted where they come and go.
local function node_waits(node, change)
  if node and node ~= '' then redis.call('HINCRBY', K.counts, 'waiting:node:'..node, change) end
end

-- How many jobs of a queue wait: in its lists, and parked beside it.
local function queue_waits(queue)
  local lists, waiting = higher_lists(queue), redis.call('LLEN', list_of(queue, 0))
  if redis.call('EXISTS', unpack(lists)) > 0 then
    for _, list in ipairs(lists) do waiting = waiting + redis.call('LLEN', list) end
  end
  for _, place in ipairs(redis.call('ZRANGE', K.parks, 0, -1)) do
    if string.match(place, '^%S+') == queue then waiting = waiting + redis.call('ZCARD', K.parked..place) end
  end
  return waiting
end

-- How many jobs wait in a scope: in its queues, or under its node.
local function how_many_wait(name, queues)
  local node = string.match(name, '^node:(.*)$')
  if node then return tonumber(redis.call('HGET', K.counts, 'waiting:node:'..node)) or 0 end
  local waiting = 0
  for queue in string.gmatch(queues, '%S+') do waiting = waiting + queue_waits(queue) end
  return waiting
end

local function to_delay(id, queue, due)
  redis.call('HSET', K.job..id, 'state', 'delayed')
  redis.call('ZADD', K.delayed, due, id)
  redis.call('HINCRBY', K.counts, 'delayed:'..queue, 1)
end

-- The head of a queue is the right end of its list: kombu pushes left and pops right. A list that somebody made something
-- else of cannot take it: the job is delayed, and tried again until the key is mended.
local function to_head(id, queue, priority)
  local r = redis.call('HMGET', K.job..id, 'state', 'node', 'home')
  local list = r[3] and r[3] ~= queue and GUESTS or tonumber(priority) or 0
  local pushed = redis.pcall('RPUSH', list_of(queue, list), id)
  if type(pushed) == 'table' then
    if r[1] == 'queued' then node_waits(r[2], -1) end
    return to_delay(id, queue, (tonumber(redis.call('GET', K.clock)) or 0) + 10000)
  end
  if r[1] ~= 'queued' then node_waits(r[2], 1) end
  redis.call('HSET', K.job..id, 'state', 'queued')
  redis.call('HDEL', K.job..id, 'waits', 'since')
  wake(queue, 1)
end

-- Where a job falls back to, and its record says already that it is: it is the last of that queue's guests.
local function to_guests(id, queue)
  local pushed = redis.pcall('LPUSH', list_of(queue, GUESTS), id)
  if type(pushed) == 'table' then
    return to_delay(id, queue, (tonumber(redis.call('GET', K.clock)) or 0) + 10000)
  end
  node_waits(redis.call('HGET', K.job..id, 'node'), 1)
  redis.call('HSET', K.job..id, 'state', 'queued')
  redis.call('HDEL', K.job..id, 'waits', 'since')
  wake(queue, 1)
end

-- An end for good: answered, dead, cancelled or expired. Whoever waits is told; the record stays for `keep` ms.
local function to_end(id, queue, state, field, value, now, keep)
  redis.call('HSET', K.job..id, 'state', state, 'ended', now, field, value)
  redis.call('PEXPIRE', K.job..id, keep)
  if state == 'dead' then redis.call('ZADD', K.dead, now, id) end
  redis.call('HINCRBY', K.totals..queue, state, 1)
  redis.call('PUBLISH', K.ended..id, state)
end

-- A job that ended without a worker: its sender, if it is a foreign Celery client, is told all the same.
local function foreign_failure(id, message)
  if redis.call('HGET', K.job..id, 'foreign') ~= '1' then return end
  local result = '{"status":"FAILURE","result":{"exc_type":"RuntimeError","exc_message":["'..message..'"],'
    ..'"exc_module":"builtins"},"traceback":null,"children":[],"date_done":null,"task_id":"'..id..'"}'
  redis.call('SET', K.result..id, result, 'EX', 86400)
  redis.call('PUBLISH', K.result..id, result)
end

-- The answer of a job that a foreign Celery client sent, where its Redis result backend looks.
local function foreign_result(id, result)
  if result == '' then return end
  redis.call('SET', K.result..id, result, 'EX', 86400)
  redis.call('PUBLISH', K.result..id, result)
end
