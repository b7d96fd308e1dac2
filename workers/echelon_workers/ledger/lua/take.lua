#!lua
-- take: start as many waiting jobs as this worker has room for, and hand out their leases.
-- Guarantee: the same sequence answers with the same grants and starts nothing again; a newer one gives back
-- what was granted and never claimed. A job leaves its queue and enters `running` in this one step.
-- KEYS  own prefix, queue prefix
-- ARGV  worker, sequence, last claimed sequence, wanted, '1' if that fills the worker, lease ms, adopting ms,
--       poison, retention ms, inbox queue, then for each queue: its name, its instances separated by commas
-- reply server time, ms to the next delayed job or '', raw messages (count, then each), then 13 fields a grant:
--       id, queue, lease, instance, request, node, target, deadline, created, attempts, foreign, options, trail
--@ time places lease
local worker, seq, claimed = ARGV[1], ARGV[2], ARGV[3]
local want, fills, lease_ms = tonumber(ARGV[4]), ARGV[5] == '1', tonumber(ARGV[6])
local adopting_ms, poison, keep, inbox = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]
local FIRST = 11
local now = server_now()
local reply, raws, out = {}, {}, {}

local function tell(id, lease, instance)
  local r = redis.call('HMGET', K.job..id, 'queue', 'request', 'node', 'target', 'deadline', 'created', 'attempts',
    'foreign', 'options', 'trail')
  local row = { id, r[1], lease, instance, r[2], r[3], r[4], r[5], r[6], r[7] or '0', r[8], r[9], r[10] or '' }
  for i = 1, 13 do reply[#reply + 1] = row[i] end
end

-- The previous take of this worker: repeat it, or give back what its lost reply granted.
local before = redis.call('HMGET', K.taker..worker, 'seq', 'out')
local repeated = before[1] == seq
if before[1] and before[1] ~= claimed then
  for id, lease in string.gmatch(before[2], '(%S+) (%S+)') do
    local queue, priority = held(id, lease)
    if queue and repeated then
      tell(id, lease, redis.call('HGET', K.job..id, 'instance'))
    elseif queue then
      give_back(id, lease, queue)
      to_head(id, queue, priority)
    end
  end
end

local function pop(queue)
  local higher = {}
  for p = 9, 1, -1 do higher[#higher + 1] = list_of(queue, p) end
  if redis.call('EXISTS', unpack(higher)) > 0 then
    for _, list in ipairs(higher) do
      local id = redis.call('RPOP', list)
      if id then return id end
    end
  end
  return redis.call('RPOP', list_of(queue, 0))
end

local function pick(queue, instances, avoid)
  local turn = redis.call('HINCRBY', K.cursor, queue, 1)
  for i = 0, #instances - 1 do
    local instance = instances[(turn + i) % #instances + 1]
    if not string.find(avoid, ','..instance..',', 1, true) then return instance end
  end
  return instances[turn % #instances + 1]
end

-- One job that has left its list: start it, unless it has ended meanwhile. Returns 1 if it runs.
local function start(id, queue, instances)
  local r = redis.pcall('HMGET', K.job..id, 'state', 'deadline', 'avoid')
  if r.err then redis.call('ZADD', K.dead, now, id) return 0 end
  if r[1] ~= 'queued' then return 0 end
  local deadline = tonumber(r[2]) or 0
  if deadline > 0 and deadline <= now then
    to_end(id, queue, 'expired', 'error', '{"code":"expired","message":"its deadline passed while it waited"}', now, keep)
    return 0
  end
  local instance = pick(queue, instances, ','..(r[3] or '')..',')
  local lease = redis.call('HINCRBY', K.job..id, 'lease', 1)
  redis.call('HSET', K.job..id, 'state', 'running', 'queue', queue, 'worker', worker, 'started', now, 'instance', instance)
  redis.call('ZADD', K.running, now + lease_ms, id)
  redis.call('HINCRBY', K.counts, 'running:'..queue, 1)
  tell(id, tostring(lease), instance)
  out[#out + 1] = id..' '..lease
  return 1
end

if not repeated then
  lapse(now, 20, poison, keep)
  promote(now, 100)
  local queues, open = {}, 0
  for i = FIRST, #ARGV, 2 do
    local instances = {}
    for name in string.gmatch(ARGV[i + 1], '[^,]+') do instances[#instances + 1] = name end
    queues[#queues + 1] = { name = ARGV[i], instances = instances }
  end
  local function adopt(raw)
    redis.call('ZADD', K.adopting, now + adopting_ms, raw)
    raws[#raws + 1] = raw
  end
  while #raws < 50 do
    local raw = pop(inbox)
    if not raw then break end
    adopt(raw)
  end
  if #raws < 50 then redis.call('SADD', K.idle..inbox, worker) end
  -- In turns of one share a queue, so that no queue fills a worker that serves several.
  local started, share = 0, math.max(1, math.floor(want / math.max(1, #queues)))
  local progress = true
  while progress and started < want do
    progress = false
    for _, q in ipairs(queues) do
      local turn = 0
      while turn < share and started < want and not q.empty do
        local id = pop(q.name)
        if not id then
          q.empty = true
          redis.call('SADD', K.idle..q.name, worker)
        elseif string.sub(id, 1, 1) == '{' then
          adopt(id)
        else
          started = started + start(id, q.name, q.instances)
        end
        turn, progress = turn + 1, true
      end
    end
  end
  if fills and started >= want then
    for _, q in ipairs(queues) do redis.call('SREM', K.idle..q.name, worker) end
  end
  if redis.call('HSET', K.taker..worker, 'seq', seq, 'out', table.concat(out, ' ')) > 0 then
    redis.call('EXPIRE', K.taker..worker, 86400)
  end
end

local due = redis.call('ZRANGE', K.delayed, 0, 0, 'WITHSCORES')[2]
local head = { tostring(string.format('%.0f', now)), due and string.format('%.0f', math.max(0, due - now)) or '', #raws }
for _, raw in ipairs(raws) do head[#head + 1] = raw end
for _, field in ipairs(reply) do head[#head + 1] = field end
return head
