-- Probes: calls that find out how an instance is, and no job's. An instance has at most one at a time in the whole fleet; what it holds
-- stands in `probes` ('fence kind phase granted reserved'), and until when in `probing`, so that a dead worker's comes back.
-- A `list` (of models; no provider counts it against a limit of requests) holds a permit of concurrency; a `paid` one, a
-- call of one token, holds what a job would, and is one of the breaker's probes while that is half open: then it has a phase.
local function probe_scopes(instance) return 'cluster: model:'..instance end

local function hold_probe(instance, kind, phase, reserved, now, lease_ms)
  local fence = redis.call('HINCRBY', K.probes, '', 1)
  redis.call('HSET', K.probes, instance, string.format('%d %s %s %.0f %d', fence, kind, phase or '-', now, reserved))
  redis.call('ZADD', K.probing, now + lease_ms, instance)
  return tostring(fence)
end

-- Give back what a probe holds: its kind and phase, or nil if it is not this one's any more. Without a `fence`: whichever it is.
-- `tokens`: how many it used, nil: nobody knows. `unused`: no call was made.
local function release_probe(instance, fence, now, tokens, unused)
  local held, kind, phase, granted, reserved =
    string.match(redis.call('HGET', K.probes, instance) or '', '^(%d+) (%a+) (%S+) (%d+) (%d+)$')
  if not held or (fence and fence ~= held) then return nil end
  redis.call('HDEL', K.probes, instance)
  redis.call('ZREM', K.probing, instance)
  local names = probe_scopes(instance)
  if kind == 'paid' then
    if unused then
      tokens = 0
      refund_requests(names, granted, now)
    end
    if tokens and tonumber(reserved) > 0 then
      settle_tokens(names, 'probe:'..instance..' '..held, tonumber(reserved), tokens, granted, now)
    end
  end
  release_scopes(names, now)
  return kind, phase ~= '-' and phase or ''
end

-- Probes whose worker is gone.
local function lapse_probes(now)
  for _, instance in ipairs(redis.call('ZRANGEBYSCORE', K.probing, '-inf', now, 'LIMIT', 0, 100)) do
    local kind, phase = release_probe(instance, nil, now)
    if kind == 'paid' and phase ~= '' then probe_given_up(instance, phase) end
    redis.call('ZREM', K.probing, instance)
  end
end
