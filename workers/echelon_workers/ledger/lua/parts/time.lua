-- now: integer milliseconds of server time that never run backwards (a failover may set the clock back).
local this_moment = 0

local function server_now()
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  local seen = tonumber(redis.call('GET', K.clock) or '0')
  if now <= seen then now = seen else redis.call('SET', K.clock, now) end
  this_moment = now
  return now
end
