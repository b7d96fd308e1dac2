-- sliding_window: at most `size` requests in any `span` ms. The log of its scope (`log:SCOPE`, a list of grant times, written
-- by write_scopes for all windows of the scope) holds as many times as the largest limit needs: the window is open when
-- its size-th last grant has left it, which is one LINDEX.
algorithms.sliding_window = {
  open_at = function(s, m, amount, now)
    local size = lowered(s, m.size, now)
    if amount > m.size then return NEVER end
    local at = s.started + amount - 1 - size
    if at >= 0 then return now + m.span end
    local t = redis.call('LINDEX', K.log..s.name, at)
    return t and (tonumber(t) or 0) + m.span or 0
  end,
  -- What a window lets through in so many ms may have been granted and forgotten. All windows of a scope share its log.
  charge = function(s, m, lost_ms, now)
    local coming = math.ceil(m.size * math.min(1, lost_ms / m.span)) - (s.charged or 0)
    for _ = 1, coming do redis.call('RPUSH', K.log..s.name, now) end
    redis.call('LTRIM', K.log..s.name, -s.log_size, -1)
    redis.call('PEXPIRE', K.log..s.name, s.log_ms)
    s.charged = (s.charged or 0) + math.max(0, coming)
  end,
  used = function(s, m, now) return starts_since(s, now - m.span) end,
  -- The provider refused one (429): somebody else uses its limit too, or it is lower than configured.
  refused = function(s, m, now) lower(s, 0.9 * share_of(s, now), now) end,
}
