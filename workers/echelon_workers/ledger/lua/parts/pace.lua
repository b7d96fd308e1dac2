-- How fast the jobs of a queue start: what a full queue tells those it refuses. `pace` keeps a count that fades over PACE_MS, as
-- of when, and since when it has been kept.
local PACE_MS = 30000

local function faded(queue, now)
  local count, at, began = string.match(redis.call('HGET', K.pace, queue) or '', '^(%S+) (%d+) (%d+)$')
  if not count then return 0, now end
  return tonumber(count) * math.exp((tonumber(at) - now) / PACE_MS), tonumber(began)
end

local function keep_pace(queue, started, now)
  local count, began = faded(queue, now)
  if count < 0.01 then count, began = 0, now end
  redis.call('HSET', K.pace, queue, string.format('%.3f %.0f %.0f', count + started, now, began))
end

-- Jobs a ms, as they have started lately.
local function pace_of(queue, now)
  local count, began = faded(queue, now)
  return count / (PACE_MS * (1 - math.exp(-math.max(1000, now - began) / PACE_MS)))
end
