-- token_bucket: bursts of up to `size` requests, then `span` of them a ms. The scope's fields rv and rt: what the bucket held, and
-- when. A bucket that was never used is full.
local function level_of(s, m, now)
  if not s.level then
    local r = redis.call('HMGET', K.scope..s.name, 'rv', 'rt')
    s.level = math.min(m.size, (tonumber(r[1]) or m.size) + (now - (tonumber(r[2]) or now)) * m.span)
  end
  return s.level
end

local function keep_level(s, m, level, now)
  redis.call('HSET', K.scope..s.name, 'rv', string.format('%.6f', level), 'rt', now)
end

algorithms.token_bucket = {
  open_at = function(s, m, amount, now)
    if amount > m.size then return NEVER end
    local short = s.started + amount - level_of(s, m, now)
    return short > 0 and now + math.ceil(short / m.span) or 0
  end,
  write = function(s, m, now) keep_level(s, m, s.level - s.started, now) end,
  unused = function(s, m, now) keep_level(s, m, math.min(m.size, level_of(s, m, now) + 1), now) end,
  charge = function(s, m, lost_ms, now) keep_level(s, m, level_of(s, m, now) - lost_ms * m.span, now) end,
  used = function(s, m, now) return m.size - level_of(s, m, now) end,
  -- The provider's own bucket is empty, so ours is.
  refused = function(s, m, now) keep_level(s, m, 0, now) end,
}
