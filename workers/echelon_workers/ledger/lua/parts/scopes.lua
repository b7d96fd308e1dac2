-- Permits: what an attempt needs at every scope at once. All are checked, then all are written.
--
-- A scope ('group:fast_group', 'echelon:fast_group.echelon1', 'model:openai-gpt4', 'node:planning', 'pool:all', 'cluster:') is one
-- hash. Publish writes its limits: cl (concurrency), qs and qn (how many may wait, in which queues) and meters (its rates, as
-- `limits/` describes them). Take, finish and lapse write its state: cu (in use), nb (no request before) and nl (429s in a row),
-- share and eased (what is left of its rates, as the provider shows, and since when it recovers), declared and du (meters
-- that the provider states, and until when they are believed), what the algorithms keep, and for an instance on, om, od (how
-- many answers it gave, the mean of their tokens and its mean deviation), ew (how it does lately, outcomes.lua), hp and hr (when
-- it was last probed, and what came of it, probes.lua), and its breaker (breaker.lua). What is not there does not limit.
-- The list log:SCOPE holds when the last requests were granted, whether or not a limit needs them today.
local HISTORY, LEAST_SHARE = 1000, 0.05
--@minute
local NEVER = 2 ^ 53
local scopes = {}

local function share_of(s, now)
  if not s.share or not s.eased then return 1 end
  return math.min(1, s.share + (now - s.eased) / 60000)
end

-- A rate of which only a share is left; it recovers by itself within a minute.
local function lowered(s, size, now)
  local share = share_of(s, now)
  return share >= 1 and size or math.max(1, math.floor(size * share))
end

local function lower(s, share, now)
  if share >= share_of(s, now) then return end
  s.share, s.eased = math.max(LEAST_SHARE, share), now
  redis.call('HSET', K.scope..s.name, 'share', string.format('%.4f', s.share), 'eased', now)
end

-- How many requests of a scope were granted after `from`: the log is in the order of time.
local function starts_since(s, from)
  local log = K.log..s.name
  local length = redis.call('LLEN', log)
  local low, high = 0, length
  while low < high do
    local middle = math.floor((low + high) / 2)
    if (tonumber(redis.call('LINDEX', log, middle)) or 0) > from then high = middle else low = middle + 1 end
  end
  return length - low
end

local algorithms = {}
--@algorithms

local function add_meters(s, text, declared)
  for algorithm, unit, size, span, within in string.gmatch(text, '(%S+) (%S+) (%S+) (%S+) (%S+);') do
    local m = { is = algorithms[algorithm], name = algorithm, unit = unit, size = tonumber(size), span = tonumber(span),
                declared = declared }
    s.meters[#s.meters + 1] = m
    s.within = math.min(s.within or math.huge, tonumber(within))
    if unit == 'tokens' then
      s.tokens = s.tokens or m
      s.most_tokens = math.min(s.most_tokens or math.huge, m.size)
    elseif algorithm == 'sliding_window' then
      s.log_size, s.log_ms = math.max(s.log_size, m.size), math.max(s.log_ms, m.span)
    end
  end
end

local function scope(name)
  local s = scopes[name]
  if s then return s end
  local r = redis.call('HMGET', K.scope..name, 'cl', 'cu', 'nb', 'meters', 'share', 'eased', 'declared', 'du', 'bo', 'bp', 'bh',
    'bn')
  s = { name = name, limit = tonumber(r[1]) or 0, used = tonumber(r[2]) or 0, not_before = tonumber(r[3]) or 0, started = 0,
        share = tonumber(r[5]), eased = tonumber(r[6]), meters = {}, log_size = HISTORY, log_ms = MINUTE_MS,
        open_until = tonumber(r[9]), probes = tonumber(r[10]) or 0, most_probes = tonumber(r[11]) or 1, phase = r[12] }
  if r[4] then add_meters(s, r[4], false) end
  if r[7] and (tonumber(r[8]) or 0) > this_moment then add_meters(s, r[7], true) end
  scopes[name] = s
  return s
end

-- Whether an instance is out: its breaker is open, or half open with all its probes under way.
local function is_out(s, now)
  return s.open_until and (s.open_until > now or s.probes >= s.most_probes)
end

-- When the requests of this scope allow one more attempt, apart from its tokens: math.huge when a permit comes back.
local function requests_at(s, now)
  if s.asked == s.started then return s.answer end
  local at = s.not_before
  if s.limit > 0 and s.used >= s.limit then at = math.huge end
  if is_out(s, now) then at = math.max(at, s.open_until > now and s.open_until or math.huge) end
  for _, m in ipairs(s.meters) do
    if m.unit == 'requests' then at = math.max(at, m.is.open_at(s, m, 1, now)) end
  end
  s.asked, s.answer = s.started, at
  return at
end

-- When this scope allows one more attempt of so many tokens, by a job of this queue; at most now if it does so now. NEVER if
-- it is more than the limit.
local function free_at(s, now, tokens, queue)
  local at = requests_at(s, now)
  if s.tokens then
    for _, m in ipairs(s.meters) do
      if m.unit == 'tokens' then
        -- What only the provider states says nothing of what can never be: a job above it waits for an empty window.
        local amount = m.declared and math.min(tokens, m.size) or tokens
        at = math.max(at, m.is.open_at(s, m, amount, now, queue))
      end
    end
  end
  return at
end

local function use(s, tokens, lease)
  s.used, s.started = s.used + 1, s.started + 1
  if s.open_until then s.probes = s.probes + 1 end
  if s.tokens then s.tokens.is.use(s, s.tokens, tokens, lease) end
end

-- Write what was used: once for each scope, however many attempts it was.
local function write_scopes(now)
  for name, s in pairs(scopes) do
    if s.started > 0 then
      redis.call('HINCRBY', K.scope..name, 'cu', s.started)
      if s.open_until then redis.call('HSET', K.scope..name, 'bp', s.probes) end
      local stamps = {}
      for i = 1, s.started do stamps[i] = now end
      redis.call('RPUSH', K.log..name, unpack(stamps))
      redis.call('LTRIM', K.log..name, -s.log_size, -1)
      redis.call('PEXPIRE', K.log..name, s.log_ms)
      for _, m in ipairs(s.meters) do
        if m.is.write and (m.unit == 'requests' or m == s.tokens) then m.is.write(s, m, now) end
      end
    end
  end
end

-- Open the queues that wait for a permit of this scope (`waiting`) or for tokens of it (`short`) until one has jobs and a worker that was
-- woken for them: a permit that nobody comes for would lie idle until a mark runs out. Jobs parked for their node are
-- looked at again.
local function pass_on(waiting, name, now)
  for _ = 1, 20 do
    local queue = redis.call('SPOP', waiting..name)
    if not queue then return end
    local node = string.match(name, '^node:(.*)$')
    if node then
      redis.call('ZADD', K.parks, 'XX', now, queue..' '..node)
    else
      local since = string.match(redis.call('HGET', K.blocked, queue) or '', '^%d+ %S+ (.*)$')
      if since then redis.call('HSET', K.blocked, queue, '0 - '..since) end
    end
    if (node or has_jobs(queue)) and wake(queue, 1) > 0 then return end
  end
end

-- One concurrency permit of each scope comes back.
local function release_scopes(names, now)
  for name in string.gmatch(names, '[^ ]+') do
    redis.call('HINCRBY', K.scope..name, 'cu', -1)
    pass_on(K.waiting, name, now)
  end
end

-- What a call reserved becomes what it used.
local function settle_tokens(names, entry, reserved, actual, granted, now)
  for name in string.gmatch(names, '[^ ]+') do
    if redis.call('ZREM', K.tokens..name, entry..' '..reserved) == 1 then
      if actual > 0 then redis.call('ZADD', K.tokens..name, granted, entry..' '..actual) end
      redis.call('HINCRBY', K.scope..name, 'tu', actual - reserved)
      if actual > reserved then redis.call('HINCRBY', K.scope..name, 'to', actual - reserved) end
      if actual < reserved then pass_on(K.short, name, now) end
    end
  end
end

-- A grant that no call was made on: its requests are as if they had never been granted.
local function refund_requests(names, granted, now)
  for name in string.gmatch(names, '[^ ]+') do
    local s = scope(name)
    redis.call('LREM', K.log..name, -1, granted)
    for _, m in ipairs(s.meters) do
      if m.is.unused then m.is.unused(s, m, now) end
    end
    scopes[name] = nil
  end
end
