#!lua flags=allow-oom
-- relocate: move jobs that wait in one queue to another, because an operator wants them there: the heads of its lists first, then those
-- parked beside it, then the delayed, which come to the new queue when they are due. What runs goes on.
-- Guarantee: each job is in one of the two at any moment; a repeated call moves those that are left.
-- KEYS  own prefix, queue prefix
-- ARGV  from which queue, to which, how many to look at, and of the delayed behind how many
-- reply how many were moved, how many are left that wait or are delayed, and behind how many of the delayed to go on, or '' when all
--       were looked at; or 'no queue': this revision has no such target, or it is no list
--@ guard time places
local from, to, most, behind = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
server_now()
if redis.call('SISMEMBER', K.plans, to) == 0 then return { 'no queue' } end
for number = 0, GUESTS do
  local kind = redis.call('TYPE', list_of(to, number)).ok
  if kind ~= 'list' and kind ~= 'none' then return { 'no queue' } end
end
if from == to then return { '0', tostring(queue_waits(from)), '' } end
local looked, raws, counted = 0, 0, 0

-- Its record says where it is from now on. One that fell back to the old queue stays a guest, unless this is its home.
local function resettle(id, home, priority)
  home = home == from and to or home
  redis.call('HSET', K.job..id, 'queue', to, 'home', home or to, 'avoid', '', 'stays', 0)
  redis.call('HDEL', K.job..id, 'waits', 'since')
  note(id, noted('relocate', 'from', from, 'to', to))
  counted = counted + 1
  return home ~= to and GUESTS or as_priority(priority)
end

local function push(id)
  local r = redis.pcall('HMGET', K.job..id, 'state', 'home', 'priority', 'node', 'queue')
  looked = looked + 1
  if r.err or r[1] ~= 'queued' or r[5] ~= from then return end -- cancelled while it waited, or its id was left behind
  redis.call('LPUSH', list_of(to, resettle(id, r[2], r[3])), id)
  enter(id, 'queued', 'queued', 'moved by an operator', r[4])
end

for number = GUESTS, 0, -1 do
  local list = list_of(from, number)
  while looked < most and redis.call('TYPE', list).ok == 'list' do
    local id = redis.call('RPOP', list)
    if not id then break end
    if string.sub(id, 1, 1) == '{' then -- a foreign message: it is adopted from wherever it is
      redis.call('LPUSH', list_of(to, 0), id)
      looked, raws = looked + 1, raws + 1
    else
      push(id)
    end
  end
end
for _, place in ipairs(redis.call('ZRANGE', K.parks, 0, -1)) do
  if string.match(place, '^%S+') == from then
    while looked < most do
      local id = redis.call('ZPOPMIN', K.parked..place)[1]
      if not id then break end
      push(id)
    end
    if redis.call('EXISTS', K.parked..place) == 0 then redis.call('ZREM', K.parks, place) end
  end
end
local next = looked < most and '' or tostring(behind)
if looked < most and (tonumber(redis.call('HGET', K.counts, 'delayed:'..from)) or 0) > 0 then
  -- They keep their places there.
  local ids = redis.call('ZRANGE', K.delayed, behind, behind + most - 1)
  if #ids == most then next = tostring(behind + most) end
  for _, id in ipairs(ids) do
    local r = redis.pcall('HMGET', K.job..id, 'state', 'home', 'priority', 'queue')
    if not r.err and r[1] == 'delayed' and r[4] == from then
      resettle(id, r[2], r[3])
      redis.call('HINCRBY', K.counts, 'delayed:'..from, -1)
      redis.call('HINCRBY', K.counts, 'delayed:'..to, 1)
    end
  end
end
if counted > 0 then
  redis.call('HINCRBY', K.totals..from, 'relocated', counted)
  wake(to, counted)
end
return { tostring(counted + raws), tostring(queue_waits(from) + math.max(0, tonumber(redis.call('HGET', K.counts, 'delayed:'..from)) or 0)),
  next }
