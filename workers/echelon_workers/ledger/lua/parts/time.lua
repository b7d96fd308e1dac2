-- now: integer milliseconds of server time that never run backwards. Where the server's clock was set back, or a failover came to a host
-- whose clock is behind, time goes on from where it was at the clock's own pace: `ahead` is what it is ahead of that.
local this_moment = 0
-- Nobody has asked for so long: the server was away, and with it the heartbeats. Leases then get so long to be renewed before any lapses.
local AWAY_MS, CALM_MS = 10000, 5000

local function server_now()
  local t = redis.call('TIME')
  local r = redis.call('MGET', K.clock, K.ahead)
  local seen, ahead = tonumber(r[1] or '0'), tonumber(r[2] or '0')
  local now = t[1] * 1000 + math.floor(t[2] / 1000) + ahead
  if now < seen then
    redis.call('SET', K.ahead, string.format('%.0f', ahead + seen - now))
    now = seen
  elseif now > seen then
    if seen > 0 and now - seen > AWAY_MS then redis.call('SET', K.calm, now + CALM_MS, 'PX', CALM_MS) end
    redis.call('SET', K.clock, now)
  end
  this_moment = now
  return now
end
