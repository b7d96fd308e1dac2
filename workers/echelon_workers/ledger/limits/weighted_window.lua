-- weighted_window: at most `size` tokens in any `span` ms. The zset `tokens:SCOPE` holds an entry 'id lease tokens' for each call,
-- scored by its grant time, and the scope's field `tu` their sum. An entry is what the call reserved until it is settled
-- with what it used; more than reserved is a debt, which the sum then carries until the window has passed.
-- What has left the window is taken off when the scope is first asked, and forgotten when it is next written.
local function sum_of(s, m, now)
  if s.sum then return s.sum end
  local key = K.tokens..s.name
  local r = redis.call('HMGET', K.scope..s.name, 'tu', 'vq', 'va', 'vu')
  s.sum = tonumber(r[1]) or 0
  if r[2] and (tonumber(r[4]) or 0) > now then s.reserver, s.reserved = r[2], tonumber(r[3]) end
  if s.sum > 0 then
    s.gone = redis.call('ZRANGEBYSCORE', key, '-inf', now - m.span)
    for _, entry in ipairs(s.gone) do s.sum = s.sum - (tonumber(string.match(entry, '%d+$')) or 0) end
    if redis.call('ZCARD', key) == #s.gone then s.sum = 0 end
  end
  return s.sum
end

algorithms.weighted_window = {
  -- What is reserved for the large job of another queue is not there for this one.
  open_at = function(s, m, amount, now, queue)
    if amount > m.size then return NEVER end
    local over = sum_of(s, m, now) + amount - lowered(s, m.size, now)
    if s.reserver and s.reserver ~= queue then over = over + s.reserved end
    if over <= 0 then return 0 end
    local first = s.gone and #s.gone or 0
    local entries = redis.call('ZRANGE', K.tokens..s.name, first, first + 49, 'WITHSCORES')
    local at = now
    for i = 1, #entries, 2 do
      over, at = over - (tonumber(string.match(entries[i], '%d+$')) or 0), tonumber(entries[i + 1])
      if over <= 0 then break end
    end
    return math.max(now + 1, at + m.span)
  end,
  use = function(s, m, amount, entry)
    s.sum = s.sum + amount
    s.entries = s.entries or {}
    s.entries[#s.entries + 1] = entry..' '..amount
  end,
  write = function(s, m, now)
    local key, rows = K.tokens..s.name, {}
    if s.gone and #s.gone > 0 then redis.call('ZREMRANGEBYSCORE', key, '-inf', now - m.span) end
    for _, entry in ipairs(s.entries) do
      rows[#rows + 1] = now
      rows[#rows + 1] = entry
    end
    redis.call('ZADD', key, unpack(rows))
    redis.call('PEXPIRE', key, m.span)
    redis.call('HSET', K.scope..s.name, 'tu', string.format('%.0f', s.sum))
  end,
  -- All windows of a scope share its entries, as those of a sliding window do.
  charge = function(s, m, lost_ms, now)
    local tokens = math.ceil(m.size * math.min(1, lost_ms / m.span)) - (s.charged_tokens or 0)
    if tokens <= 0 then return end
    s.charged_tokens = (s.charged_tokens or 0) + tokens
    redis.call('ZADD', K.tokens..s.name, now, 'forgotten '..string.format('%.0f', now)..':'..s.charged_tokens..' '..tokens)
    redis.call('PEXPIRE', K.tokens..s.name, m.span)
    redis.call('HINCRBY', K.scope..s.name, 'tu', tokens)
  end,
  used = function(s, m, now) return sum_of(s, m, now) end,
  refused = function(s, m, now) lower(s, 0.9 * share_of(s, now), now) end,
}
