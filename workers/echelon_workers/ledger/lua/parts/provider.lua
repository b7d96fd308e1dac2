-- What the provider's answers say about an instance: that it wants no calls now, what it allows, how long its answers are.

-- A 429: the instance rests, fleet-wide, as long as the provider asked, or twice as long each time if it did not say; a rest is
-- only ever extended. Its rates are lowered, and recover by themselves.
local function rest(instance, now, retry_after)
  local s = scope('model:'..instance)
  local row = redis.call('HINCRBY', K.scope..s.name, 'nl', 1)
  local pause = retry_after > 0 and retry_after or 500 * 2 ^ math.min(row, 7)
  redis.call('HSET', K.scope..s.name, 'nb', string.format('%.0f', math.max(s.not_before, now + pause)))
  for _, m in ipairs(s.meters) do
    if m.is.refused then m.is.refused(s, m, now) end
  end
end

-- The provider stated its limits: requests a minute and how many of them are left, tokens a minute; '-' where it did not. What is
-- below the configured limit (or where none is configured) is a meter of its own, for as long as the provider says so. Is
-- more of its limit gone than we have used, somebody else uses it too: that much less is ours, until it recovers.
local function stated(instance, said, granted, now)
  local s = scope('model:'..instance)
  local requests, left, tokens = string.match(said, '^(%S+) (%S+) (%S+)$')
  local declared, per_minute = '', math.huge
  for _, stated in ipairs({ { 'sliding_window requests', tonumber(requests), 'requests' },
                            { 'weighted_window tokens', tonumber(tokens), 'tokens' } }) do
    local kind, limit, unit = stated[1], stated[2], stated[3]
    local own = math.huge
    for _, m in ipairs(s.meters) do
      if m.declared or m.unit ~= unit then
        -- not ours, or of something else
      elseif m.name == 'token_bucket' then
        own = math.min(own, math.floor(m.span * 60000 + 0.5))
      elseif m.span == MINUTE_MS then
        own = math.min(own, m.size)
      end
    end
    if limit and limit > 0 and limit < own then
      declared = declared..kind..' '..string.format('%.0f', limit)..' '..MINUTE_MS..' '..MINUTE_USE_MS..';'
    end
    if unit == 'requests' then per_minute = math.min(own, limit or math.huge) end
  end
  local r = redis.call('HMGET', K.scope..s.name, 'declared', 'du')
  if (r[1] or '') ~= declared or (declared ~= '' and tonumber(r[2] or '0') < now + 60000) then
    redis.call('HSET', K.scope..s.name, 'declared', declared, 'du', now + 120000)
  end
  local limit, remaining = tonumber(requests), tonumber(left)
  if limit and remaining and remaining < limit / 2 then
    -- Calls granted a moment after this one may have arrived before it.
    local foreign = (limit - remaining) - (starts_since(s, granted - MINUTE_MS) - starts_since(s, granted + 1000))
    if foreign > math.max(2, limit / 50) and per_minute < math.huge then lower(s, (limit - foreign) / per_minute, now) end
  end
end

-- How long the answers of an instance are: a mean and a mean deviation, kept as TCP keeps its round trip times (RFC 6298).
local function answered_with(instance, tokens)
  local key = K.scope..'model:'..instance
  local r = redis.call('HMGET', key, 'on', 'om', 'od')
  local n, mean, deviation = (tonumber(r[1]) or 0) + 1, tonumber(r[2]) or tokens, tonumber(r[3]) or tokens / 2
  deviation = deviation + (math.abs(tokens - mean) - deviation) / 4
  mean = mean + (tokens - mean) / 8
  redis.call('HSET', key, 'on', n, 'om', string.format('%.2f', mean), 'od', string.format('%.2f', deviation))
end
