-- Leases: (job id, delivery counter). The counter is minted by take, one per attempt: it is the fence.

-- Is this lease still the job's? Returns its record's queue and priority when it is, and whether somebody wants it cancelled; otherwise
-- why not: 'done' if this very lease was settled before (a repeated call), 'late' if the job has gone on without it.
local function held(id, lease)
  local r = redis.call('HMGET', K.job..id, 'lease', 'state', 'queue', 'priority', 'settled', 'cancel')
  if r[1] == lease and r[2] == 'running' then return r[3], r[4], r[6] end
  return nil, (r[5] == lease) and 'done' or 'late'
end

-- Give back all that a running job holds. Only after `held` said yes. `tokens`: how many its call used, or nil if nobody knows:
-- then what it reserved stays reserved until its window has passed. `unused`: no call was made.
local function give_back(id, lease, queue, now, tokens, unused)
  local r = redis.call('HMGET', K.job..id, 'scopes', 'reserved', 'started', 'lease', 'probe', 'instance', 'keeps')
  local names = r[1] or ''
  redis.call('ZREM', K.running, id)
  redis.call('HINCRBY', K.counts, 'running:'..queue, -1)
  if unused then
    tokens = 0
    refund_requests(names, r[3], now)
  end
  if tokens and not unused and r[7] == '1' then tokens = math.max(tokens, tonumber(r[2]) or 0) end
  if tokens and r[2] and r[2] ~= '' then settle_tokens(names, id..' '..r[4], tonumber(r[2]), tokens, r[3], now) end
  if r[5] and r[5] ~= '' then probe_given_up(r[6], r[5]) end
  release_scopes(names, now)
  redis.call('HSET', K.job..id, 'settled', lease)
end

-- Leases that lapsed: their worker is dead or stopped. The jobs go back to the head of their queues; one that has outlived `poison`
-- leases kills its workers and is buried. A call that was made on such a lease may still be under way at the provider.
local function lapse(now, most, poison, keep)
  local ids = redis.call('ZRANGEBYSCORE', K.running, '-inf', now, 'LIMIT', 0, most)
  if #ids == 0 or now < (tonumber(redis.call('GET', K.calm)) or 0) then return end
  for _, id in ipairs(ids) do
    local r = redis.call('HMGET', K.job..id, 'queue', 'priority', 'lease', 'worker', 'state', 'instance', 'started', 'cancel')
    if r[5] ~= 'running' or not r[1] then
      redis.call('ZREM', K.running, id) -- its record was deleted or written to: the doctor counts anew what it held
    else
      give_back(id, '', r[1], now)
      note(id, noted('lapse', 'queue', r[1], 'instance', r[6] or '', 'worker', r[4] or '', 'lease', r[3], 'started_ms', tonumber(r[7]) or 0))
      redis.call('HINCRBY', K.totals..r[1], 'lapsed', 1)
      if redis.call('HINCRBY', K.job..id, 'lapses', 1) >= poison and not r[8] then
        local why = '{"code":"poison","message":"its lease lapsed '..poison..' times: it stops its workers"}'
        to_end(id, r[1], 'running', 'dead', 'error', why, keep, 'poison')
        foreign_failure(id, 'poison: its lease lapsed '..poison..' times')
      else
        to_head(id, r[1], r[2], 'its lease lapsed')
      end
    end
  end
end

-- Parked jobs whose node has permits again go to the head of their queue, the oldest first.
local function unpark(now, most)
  for _, place in ipairs(redis.call('ZRANGEBYSCORE', K.parks, '-inf', now, 'LIMIT', 0, most)) do
    local queue, node = string.match(place, '^(%S+) (%S+)$')
    local s, ids = scope('node:'..node), {}
    if free_at(s, now, 1, queue) <= now then
      local free = s.limit > 0 and s.limit - s.used or most
      ids = redis.call('ZPOPMIN', K.parked..place, math.min(most, free))
    end
    for i = #ids - 1, 1, -2 do 
      local r = redis.call('HMGET', K.job..ids[i], 'priority', 'state')
      if r[2] == 'queued' then to_head(ids[i], queue, r[1], 'its node has a permit') end
    end
    if redis.call('EXISTS', K.parked..place) == 0 then
      redis.call('ZREM', K.parks, place)
    else
      redis.call('ZADD', K.parks, now + 1000, place)
      redis.call('SADD', K.waiting..'node:'..node, queue)
    end
  end
end

-- Delays that are over go to the head of their queues, and parked jobs whose time has come; messages that nobody adopted go back to the inbox.
local function promote(now, most)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.delayed, '-inf', now, 'LIMIT', 0, most)) do
    redis.call('ZREM', K.delayed, id)
    local r = redis.call('HMGET', K.job..id, 'queue', 'priority', 'state')
    if r[3] == 'delayed' then
      redis.call('HINCRBY', K.counts, 'delayed:'..r[1], -1)
      to_head(id, r[1], r[2], 'its delay is over')
    end
  end
  unpark(now, most)
end
