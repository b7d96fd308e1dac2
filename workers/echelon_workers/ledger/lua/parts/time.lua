-- now: integer milliseconds of server time that never run backwards. Where the server's clock was set back, or a failover came to a host
-- whose clock is behind, time goes on from where it was at the clock's own pace: `ahead` is what it is ahead of that.
local this_moment = 0
-- Nobody has asked for half as long as a lease lasts (each worker's heartbeat comes three times in a lease): the server was away. Leases
-- then get a while to be renewed before any lapses: workers try to reach it every second or two.
local LEASE_MS, LEAST_CALM_MS = 10000, 3000

-- No time is as late as this: somebody wrote to Redis.
local LATEST = 2 ^ 47

local function as_ms(text)
  local ms = tonumber(text or '0')
  return ms and ms >= 0 and ms < LATEST and ms or 0
end

local function lasting(lease)
  local ms = as_ms(lease)
  return ms > 0 and ms or LEASE_MS
end

local function keep_calm(now, lease_ms)
  local calm_ms = math.max(LEAST_CALM_MS, math.ceil(lease_ms / 2))
  redis.call('SET', K.calm, now + calm_ms, 'PX', calm_ms)
end

local function server_now()
  local t = redis.call('TIME')
  local r = redis.call('MGET', K.clock, K.ahead, K.lease)
  local seen, ahead, lease_ms = as_ms(r[1]), as_ms(r[2]), lasting(r[3])
  local now = t[1] * 1000 + math.floor(t[2] / 1000) + ahead
  if now < seen then
    redis.call('SET', K.ahead, string.format('%.0f', ahead + seen - now))
    now = seen
  elseif now > seen then
    if seen > 0 and now - seen > lease_ms / 2 then keep_calm(now, lease_ms) end
    redis.call('SET', K.clock, now)
  end
  this_moment = now
  return now
end

-- The same for a script that only looks: it does not move the clock.
local function now_to_look()
  local t, kept = redis.call('TIME'), redis.call('MGET', K.clock, K.ahead)
  this_moment = math.max(t[1] * 1000 + math.floor(t[2] / 1000) + as_ms(kept[2]), as_ms(kept[1]))
  return this_moment
end
