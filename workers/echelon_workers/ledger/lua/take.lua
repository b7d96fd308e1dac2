#!lua
-- take: start as many waiting jobs as this worker has room for and as have every permit, and hand out their leases.
-- Guarantee: a job leaves its queue and enters `running`, with all its permits, in this one step; what may not start
-- spends nothing. The same sequence answers with the same grants and starts nothing again; a newer one gives back
-- what was granted and never claimed.
-- KEYS  own prefix, queue prefix
-- ARGV  worker, sequence, last claimed sequence, wanted, '1' if that fills the worker, lease ms, adopting ms,
--       poison, retention ms, inbox queue, then for each queue: its name, its instances separated by commas
-- reply server time, ms until to ask again or '', queues whose keys are not lists, raw messages (count, then each), then 14 fields a grant:
--       id, queue, lease, instance, its home, request, node, target, deadline, created, attempts, foreign, options, trail
--@ time places scopes lease
local worker, seq, claimed = ARGV[1], ARGV[2], ARGV[3]
local want, fills, lease_ms = tonumber(ARGV[4]), ARGV[5] == '1', tonumber(ARGV[6])
local adopting_ms, poison, keep, inbox = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]
local FIRST, MOST_RAWS, LOOK_AHEAD = 11, 50, 200
-- How much later than the worker that found a queue blocked the others ask again: one asks, the others are its spare.
local SPARE_MS = 250
-- A mark without a time of its own (a permit comes back when it does) runs out after this, should a wake-up get lost.
local LONGEST_MARK_MS = 1000
local now = server_now()
local reply, raws, out = {}, {}, {}
local again, passed_over, broken = math.huge, 0, {}

local function tell(id, lease)
  local r = redis.call('HMGET', K.job..id, 'queue', 'instance', 'via', 'request', 'node', 'target', 'deadline', 'created',
    'attempts', 'foreign', 'options', 'trail')
  local row = { id, r[1], lease, r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9] or '0', r[10], r[11], r[12] or '' }
  for i = 1, 14 do reply[#reply + 1] = row[i] end
end

-- The previous take of this worker: repeat it, or give back what its lost reply granted.
local before = redis.call('HMGET', K.taker..worker, 'seq', 'out')
local repeated = before[1] == seq
if before[1] and before[1] ~= claimed then
  for id, lease in string.gmatch(before[2], '(%S+) (%S+)') do
    local queue, priority = held(id, lease)
    if queue and repeated then
      tell(id, lease)
    elseif queue then
      give_back(id, lease, queue, now)
      to_head(id, queue, priority)
    end
  end
end

local function lists_of(q)
  if not q.lists then
    q.lists, q.plain = {}, list_of(q.name, 0)
    for p = 9, 1, -1 do q.lists[#q.lists + 1] = list_of(q.name, p) end
  end
  return q.lists
end

local function anything(q)
  return redis.call('EXISTS', list_of(q.name, 0), unpack(lists_of(q))) > 0
end

-- The id at the head of a queue, highest priority first, and the list it came from. A key that is not a list (somebody
-- wrote to it) is reported, and the other queues are served.
local function pop(q)
  local higher = lists_of(q)
  if redis.call('EXISTS', unpack(higher)) == 0 then higher = {} end
  for i = 1, #higher + 1 do
    local list = higher[i] or q.plain
    local id = redis.pcall('RPOP', list)
    if type(id) == 'table' then
      broken[#broken + 1] = q.name
      return nil
    end
    if id then return id, list end
  end
end

-- The instances of a queue that this worker can call, each with its scopes, as this revision plans them.
local function members_of(q)
  if q.members then return q.members end
  q.members = {}
  local usable, plan = ','..q.instances..',', redis.call('GET', K.plan..q.name)
  if not plan then plan = string.gsub(q.instances, '[^,]+', '%0 |;') end
  for instance, home, names in string.gmatch(plan, '([^|;, ]+) ([^|;]*)|([^;]*)') do
    if string.find(usable, ','..instance..',', 1, true) then
      local member = { instance = instance, home = home, names = names, scopes = {} }
      for name in string.gmatch(names, '[^ ]+') do member.scopes[#member.scopes + 1] = scope(name) end
      q.members[#q.members + 1] = member
    end
  end
  q.turn = tonumber(redis.call('HGET', K.cursor, q.name) or '0')
  q.first = q.turn
  return q.members
end

-- The next member in turn, not one of `avoid`, that has every shared permit now. Without one: when there will be one,
-- and what binds. A job that avoids all the members there are avoids none.
local function next_member(q, avoid)
  local members = members_of(q)
  local left = 0
  for _, member in ipairs(members) do
    if not string.find(avoid, ','..member.instance..',', 1, true) then left = left + 1 end
  end
  local first_at, binds, full = math.huge, 'no instance', {}
  for i = 1, #members do
    local member = members[(q.turn + i - 1) % #members + 1]
    if left == 0 or not string.find(avoid, ','..member.instance..',', 1, true) then
      local at, by = now, nil
      for _, s in ipairs(member.scopes) do
        local open = free_at(s, now)
        if open > at then at, by = open, s.name end
      end
      if not by then
        q.turn = q.turn + i
        return member
      end
      if at == math.huge then full[#full + 1] = by end
      if at <= first_at then first_at, binds = at, by end
    end
  end
  return nil, first_at, binds, full
end

-- Nothing of this queue may start: mark it, so that the next to ask is told at the cost of one field.
local function block(q, at, binds, full)
  q.closed = true
  for _, name in ipairs(full) do redis.call('SADD', K.waiting..name, q.name) end
  at = math.max(now + 1, math.min(at, now + LONGEST_MARK_MS))
  redis.call('HSET', K.blocked, q.name, string.format('%.0f %s %s', at, worker, binds))
  redis.call('SADD', K.idle..q.name, worker)
  again = math.min(again, at)
end

local function park(id, q, node, at, created)
  redis.call('ZADD', K.parked..q.name..' '..node, created, id)
  redis.call('ZADD', K.parks, math.min(at, now + LONGEST_MARK_MS), q.name..' '..node)
  redis.call('SADD', K.waiting..'node:'..node, q.name)
  passed_over = passed_over + 1
end

-- One job that has left its list: start it, unless it has ended meanwhile, its node has no permit, or no instance that it
-- does not avoid has one. Returns 1 if it runs.
local function start(id, list, q)
  local r = redis.pcall('HMGET', K.job..id, 'state', 'deadline', 'avoid', 'node', 'created')
  if r.err then redis.call('ZADD', K.dead, now, id) return 0 end
  if r[1] ~= 'queued' then return 0 end
  local deadline = tonumber(r[2]) or 0
  if deadline > 0 and deadline <= now then
    to_end(id, q.name, 'expired', 'error', '{"code":"expired","message":"its deadline passed while it waited"}', now, keep)
    foreign_failure(id, 'expired: its deadline passed while it waited')
    return 0
  end
  local node = r[4] and r[4] ~= '' and scope('node:'..r[4])
  if node then
    local at = free_at(node, now)
    if at > now then park(id, q, r[4], at, r[5]) return 0 end
  end
  local member, at, binds, full = next_member(q, ','..(r[3] or '')..',')
  if not member then
    redis.call('RPUSH', list, id)
    block(q, at, binds, full)
    return 0
  end
  local names = member.names
  for _, s in ipairs(member.scopes) do use(s) end
  if node then
    use(node)
    names = names..' '..node.name
  end
  local lease = redis.call('HINCRBY', K.job..id, 'lease', 1)
  redis.call('HSET', K.job..id, 'state', 'running', 'queue', q.name, 'worker', worker, 'started', now,
    'instance', member.instance, 'via', member.home, 'scopes', names)
  redis.call('ZADD', K.running, now + lease_ms, id)
  redis.call('HINCRBY', K.counts, 'running:'..q.name, 1)
  tell(id, tostring(lease))
  out[#out + 1] = id..' '..lease
  return 1
end

local function adopt(raw)
  redis.call('ZADD', K.adopting, now + adopting_ms, raw)
  raws[#raws + 1] = raw
end

-- The queues that may have something to start: neither paused nor marked as blocked.
local function open_queues(queues)
  local names, open = {}, {}
  for i, q in ipairs(queues) do names[i] = q.name end
  if #names == 0 then return open end
  local marks, paused = redis.call('HMGET', K.blocked, unpack(names)), redis.call('SMISMEMBER', K.paused, unpack(names))
  for i, q in ipairs(queues) do
    local at, keeper = string.match(marks[i] or '', '^(%d+) (%S+)')
    if paused[i] == 1 then
      redis.call('SADD', K.idle..q.name, worker)
    elseif at and tonumber(at) > now then
      again = math.min(again, tonumber(at) + (keeper == worker and 0 or SPARE_MS))
    else
      open[#open + 1] = q
    end
  end
  return open
end

local function empty(q)
  q.closed = true
  redis.call('SADD', K.idle..q.name, worker)
end

-- One turn of one queue: its share of what is wanted. Returns how many were started.
local function serve(q, share)
  local started = 0
  while started < share and not q.closed and passed_over < LOOK_AHEAD do
    local member, at, binds, full = next_member(q, '')
    if not member then
      block(q, at, binds, full)
    else
      q.turn = q.turn - 1 -- only looked at: the job itself takes the turn
      local id, list = pop(q)
      if not id then
        empty(q)
      elseif string.sub(id, 1, 1) == '{' then
        adopt(id)
      else
        started = started + start(id, list, q)
      end
    end
  end
  return started
end

if not repeated then
  lapse(now, 20, poison, keep)
  promote(now, 100)
  local queues = {}
  for i = FIRST, #ARGV, 2 do queues[#queues + 1] = { name = ARGV[i], instances = ARGV[i + 1] } end
  local box = { name = inbox }
  while #raws < MOST_RAWS do
    local raw = pop(box)
    if not raw then empty(box) break end
    adopt(raw)
  end
  local open, busy = open_queues(queues), {}
  for _, q in ipairs(open) do
    if anything(q) then busy[#busy + 1] = q else empty(q) end
  end
  -- In turns of one share a queue, so that no queue fills a worker that serves several.
  local started, share = 0, math.max(1, math.floor(want / math.max(1, #busy)))
  local progress = true
  while progress and started < want do
    progress = false
    for _, q in ipairs(busy) do
      local more = serve(q, math.min(share, want - started))
      started, progress = started + more, progress or more > 0
    end
  end
  if passed_over >= LOOK_AHEAD then again = now + 1 end -- there may be more behind those that were parked
  write_scopes(now)
  for _, q in ipairs(busy) do
    if q.turn and q.turn ~= q.first then redis.call('HSET', K.cursor, q.name, q.turn) end
  end
  if fills and started >= want then
    for _, q in ipairs(queues) do redis.call('SREM', K.idle..q.name, worker) end
  end
  if redis.call('HSET', K.taker..worker, 'seq', seq, 'out', table.concat(out, ' ')) > 0 then
    redis.call('EXPIRE', K.taker..worker, 86400)
  end
end

local due = redis.call('ZRANGE', K.delayed, 0, 0, 'WITHSCORES')[2]
local look = redis.call('ZRANGE', K.parks, 0, 0, 'WITHSCORES')[2]
again = math.min(again, tonumber(due) or again, tonumber(look) or again)
local head = { string.format('%.0f', now), again < math.huge and string.format('%.0f', math.max(0, again - now)) or '',
  table.concat(broken, ' '), #raws }
for _, raw in ipairs(raws) do head[#head + 1] = raw end
for _, field in ipairs(reply) do head[#head + 1] = field end
return head
