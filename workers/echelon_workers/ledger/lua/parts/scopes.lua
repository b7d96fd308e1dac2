-- Permits: what an attempt needs at every scope at once. All are checked, then all are written.
--
-- A scope ('group:fast_group', 'echelon:fast_group.echelon1', 'model:openai-gpt4', 'node:planning', 'pool:all', 'cluster:') is one
-- hash. Publish writes its limits: cl (concurrency); rl, rw and sl, sw (at most rl requests in any rw ms, likewise sl, sw); rb, rr
-- (a bucket of rb requests, refilled by rr a ms). Take, finish and lapse write its state: cu (in use), rv and rt (what the
-- bucket held, and when), nb (no request before). What is not there does not limit.
-- The list log:SCOPE holds when the last requests were granted, as many as the largest limit: a window is open when
-- its limit-th last request has left it. So a check is one LINDEX, and changed limits find what they need.
local scopes = {}

local function scope(name)
  local s = scopes[name]
  if s then return s end
  local r = redis.call('HMGET', K.scope..name, 'cl', 'cu', 'rl', 'rw', 'sl', 'sw', 'rb', 'rr', 'rv', 'rt', 'nb')
  s = { name = name, limit = tonumber(r[1]) or 0, used = tonumber(r[2]) or 0, started = 0, windows = {},
        bucket = tonumber(r[7]) or 0, refill = tonumber(r[8]), level = tonumber(r[9]), at = tonumber(r[10]),
        not_before = tonumber(r[11]) or 0 }
  for i = 3, 5, 2 do
    if r[i] then s.windows[#s.windows + 1] = { limit = tonumber(r[i]), ms = tonumber(r[i + 1]) } end
  end
  scopes[name] = s
  return s
end

-- Whether this scope allows one more attempt now (0), or when it will: math.huge when one of its permits comes back.
local function free_at(s, now)
  if s.asked == s.started then return s.answer end
  local at = 0
  if s.not_before > now then at = s.not_before end
  if s.limit > 0 and s.used >= s.limit then at = math.huge end
  for _, w in ipairs(s.windows) do
    local open = now + w.ms
    if s.started < w.limit then
      local t = redis.call('LINDEX', K.log..s.name, s.started - w.limit)
      open = t and tonumber(t) + w.ms or 0
    end
    if open > now and open > at then at = open end
  end
  if s.bucket > 0 then
    s.holds = s.holds or math.min(s.bucket, (s.level or s.bucket) + (now - (s.at or now)) * s.refill)
    local short = 1 - (s.holds - s.started)
    if short > 0 then at = math.max(at, now + math.ceil(short / s.refill)) end
  end
  s.asked, s.answer = s.started, at
  return at
end

local function use(s)
  s.used, s.started = s.used + 1, s.started + 1
end

-- Write what was used: once for each scope, however many attempts it was.
local function write_scopes(now)
  for name, s in pairs(scopes) do
    if s.started > 0 then
      redis.call('HINCRBY', K.scope..name, 'cu', s.started)
      local longest, most = 0, 0
      for _, w in ipairs(s.windows) do longest, most = math.max(longest, w.ms), math.max(most, w.limit) end
      if most > 0 then
        local stamps = {}
        for i = 1, s.started do stamps[i] = now end
        redis.call('RPUSH', K.log..name, unpack(stamps))
        redis.call('LTRIM', K.log..name, -most, -1)
        redis.call('PEXPIRE', K.log..name, longest)
      end
      if s.bucket > 0 then
        redis.call('HSET', K.scope..name, 'rv', string.format('%.6f', s.holds - s.started), 'rt', now)
      end
    end
  end
end

-- One concurrency permit of each scope comes back. A queue that waits for it is opened, and one of its workers woken;
-- should that worker be gone, the queue's mark runs out within a second. Jobs parked for their node are looked at again.
local function release_scopes(names, now)
  for name in string.gmatch(names, '[^ ]+') do
    redis.call('HINCRBY', K.scope..name, 'cu', -1)
    local queue = redis.call('SPOP', K.waiting..name)
    if queue then
      local node = string.match(name, '^node:(.*)$')
      if node then
        redis.call('ZADD', K.parks, 'XX', now, queue..' '..node)
      else
        redis.call('HDEL', K.blocked, queue)
      end
      wake(queue, 1)
    end
  end
end
