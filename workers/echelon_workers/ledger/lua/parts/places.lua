-- Where a job is. It is in exactly one place: a queue's list, `running`, `delayed`, or ended (dead, answered, ...).

-- Wake workers that found this queue empty, at most `many`. One whose connection is gone receives nothing
-- (PUBLISH answers 0) and is passed over; the safety poll covers one that dies at this very moment.
local function wake(queue, many)
  while many > 0 do
    local worker = redis.call('SPOP', K.idle..queue)
    if not worker then return end
    if redis.call('PUBLISH', K.wake..worker, queue) > 0 then many = many - 1 end
  end
end

local function to_delay(id, queue, due)
  redis.call('HSET', K.job..id, 'state', 'delayed')
  redis.call('ZADD', K.delayed, due, id)
  redis.call('HINCRBY', K.counts, 'delayed:'..queue, 1)
end

-- The head of a queue is the right end of its list: kombu pushes left and pops right. A list that somebody made something
-- else of cannot take it: the job is delayed, and tried again until the key is mended.
local function to_head(id, queue, priority)
  local pushed = redis.pcall('RPUSH', list_of(queue, tonumber(priority) or 0), id)
  if type(pushed) == 'table' then return to_delay(id, queue, (tonumber(redis.call('GET', K.clock)) or 0) + 10000) end
  redis.call('HSET', K.job..id, 'state', 'queued')
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
