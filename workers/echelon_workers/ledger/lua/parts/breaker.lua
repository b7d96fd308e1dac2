-- The breaker of an instance, shared by the fleet, in its scope 'model:INSTANCE'. Publish writes bt (failures in a row that open it),
-- br (ms that it stays open) and bh (probes while half open); what happens writes bf (failures in a row), bo (open until; once
-- that has passed it is half open; not there: closed), bn (how often it opened in a row: its phase), bp and bk (probes
-- started and succeeded in this phase), bw (why), bs (when the first of the failures in a row came) and bc (when it last closed). A job that is a probe has the phase in its record.
local LONGEST_OPEN = 4 -- times the configured recovery: it doubles each time that a probe fails
local FOR_EVER = 10 * 365 * 86400000

local function open_breaker(instance, now, for_ms, why)
  local key, till = K.scope..'model:'..instance, string.format('%.0f', now + for_ms)
  local before = tonumber(redis.call('HGET', key, 'bo') or 0)
  if before > now then -- it is open: that is only ever extended
    if now + for_ms <= before then return end
    redis.call('HSET', key, 'bo', till, 'bw', why)
  else
    redis.call('HSET', key, 'bo', till, 'bp', 0, 'bk', 0, 'bw', why)
    redis.call('HINCRBY', key, 'bn', 1)
  end
  redis.call('ZADD', K.out, till, instance)
end

-- Queues that waited for a probe go on.
local function open_waiting(name)
  for _, queue in ipairs(redis.call('SMEMBERS', K.waiting..name)) do
    redis.call('HDEL', K.blocked, queue)
    wake(queue, 1)
  end
  redis.call('DEL', K.waiting..name)
end

local function close_breaker(instance)
  redis.call('HDEL', K.scope..'model:'..instance, 'bf', 'bo', 'bn', 'bp', 'bk', 'bw')
  redis.call('HSET', K.scope..'model:'..instance, 'bc', string.format('%.0f', this_moment))
  redis.call('ZREM', K.out, instance)
  open_waiting('model:'..instance)
end

-- A key that was refused may be another one now.
local function readmit(scope_name)
  local instance = string.match(scope_name, '^model:(.*)$')
  local why = instance and redis.call('HGET', K.scope..scope_name, 'bw')
  if why == 'authentication_failed' or why == 'instance_unusable' then close_breaker(instance) end
end

-- The attempt failed in a way that counts against its instance. `rest`: ms that it is out whatever came before (quota), -1 until the
-- configuration is loaded anew (its key was refused), 0 when its breaker decides. `began`: when the attempt was granted.
local function instance_failed(instance, phase, now, rest, why, began)
  local key = K.scope..'model:'..instance
  local r = redis.call('HMGET', key, 'bt', 'br', 'bo', 'bn', 'bc')
  local threshold, recovery, is_open, times = tonumber(r[1]) or 0, tonumber(r[2]) or 0, r[3], tonumber(r[4]) or 0
  if rest ~= 0 then
    open_breaker(instance, now, rest > 0 and rest or FOR_EVER, why)
  elseif not is_open and (began or now) < (tonumber(r[5]) or 0) then
    return -- it began before the breaker opened and closed again
  elseif not is_open then
    local row = redis.call('HINCRBY', key, 'bf', 1)
    if row == 1 then redis.call('HSET', key, 'bs', string.format('%.0f', now)) end
    if row >= threshold and threshold > 0 then open_breaker(instance, now, recovery, why) end
  elseif phase == r[4] then
    open_breaker(instance, now, recovery * math.min(LONGEST_OPEN, 2 ^ times), why)
  end -- what began before it opened says nothing new
end

-- It answered, if only that it will not do this. What it was asked before the failures in a row began says nothing of these.
local function instance_answered(instance, phase, began)
  local key = K.scope..'model:'..instance
  local r = redis.call('HMGET', key, 'bf', 'bo', 'bn', 'bh', 'bs')
  if not r[2] then
    if r[1] and (not began or began >= (tonumber(r[5]) or 0)) then redis.call('HDEL', key, 'bf', 'bs') end
  elseif phase ~= '' and phase == r[3] and redis.call('HINCRBY', key, 'bk', 1) >= (tonumber(r[4]) or 1) then
    close_breaker(instance)
  end
end

-- How many probes are let through has changed while it is half open: what these have shown so far no longer says enough.
local function probe_anew(instance)
  local key = K.scope..'model:'..instance
  if redis.call('HEXISTS', key, 'bo') == 1 then
    redis.call('HSET', key, 'bp', 0, 'bk', 0)
    redis.call('HINCRBY', key, 'bn', 1)
    open_waiting('model:'..instance)
  end
end

-- A probe ended without a verdict: another may start in its place.
local function probe_given_up(instance, phase)
  local key = K.scope..'model:'..instance
  if phase == redis.call('HGET', key, 'bn') and redis.call('HEXISTS', key, 'bo') == 1 then
    redis.call('HINCRBY', key, 'bp', -1)
    open_waiting('model:'..instance)
  end
end
