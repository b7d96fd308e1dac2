-- Leaving a place from its middle: for a job that is cancelled, expires or is moved while it waits.
-- A list is searched so far from each of its ends. An id further in stays there; take passes it over, because its record says that
-- the job is not queued any more.
local SEARCHED = 10000

-- Out of whichever place a queued job is in: parked, in the list of its priority, or among the guests (a job that moved back home is
-- one too). One that is not found within reach leaves its queue in its record (`tomb`).
local function leave_queue(id, queue, priority, node)
  if node and node ~= '' and redis.call('ZREM', K.parked..queue..' '..node, id) == 1 then return end
  for _, number in ipairs({ as_priority(priority), GUESTS }) do
    for _, from in ipairs({ -1, 1 }) do
      local at = redis.pcall('LPOS', list_of(queue, number), id, 'RANK', from, 'MAXLEN', SEARCHED)
      if type(at) == 'number' then
        redis.call('LREM', list_of(queue, number), from, id)
        return
      end
    end
  end
  redis.call('HSET', K.job..id, 'tomb', queue)
end

-- Out of the place where a job waits: a queue, or the delay. What it held is nothing.
local function leave(id, r)
  if r.state == 'delayed' then
    if redis.call('ZREM', K.delayed, id) == 1 then redis.call('HINCRBY', K.counts, 'delayed:'..r.queue, -1) end
  else
    leave_queue(id, r.queue, r.priority, r.node)
  end
end

local function place_of(id)
  local r = redis.pcall('HMGET', K.job..id, 'state', 'queue', 'priority', 'node')
  if r.err or not r[1] then return nil end
  return { state = r[1], queue = r[2] or '', priority = r[3], node = r[4] }
end

-- Its deadline has passed while it waited.
local function expired(id, queue, from, keep, node)
  local why = 'its deadline passed while it waited'
  to_end(id, queue, from, 'expired', 'error', '{"code":"expired","message":"'..why..'"}', keep, 'its deadline passed', node)
  foreign_failure(id, 'expired: '..why)
end

-- Jobs whose deadline has passed while they waited; one that runs is stopped by its worker. Returns how many it looked at.
local function expire(now, most, keep)
  local ids = redis.call('ZRANGEBYSCORE', K.deadlines, '-inf', now, 'LIMIT', 0, most)
  for _, id in ipairs(ids) do
    local r = place_of(id)
    if r and r.state == 'running' then
      redis.call('ZADD', K.deadlines, now + 5000, id)
    else
      redis.call('ZREM', K.deadlines, id)
    end
    if r and (r.state == 'queued' or r.state == 'delayed') then
      leave(id, r)
      expired(id, r.queue, r.state, keep, r.node)
    end
  end
  return #ids
end
