-- Where a job is. It is in exactly one place: a queue's list, parked beside it, `running`, `delayed`, or ended (dead, ...). Every change
-- of its state goes through `enter`, which keeps the rules of docs/job-life.md and writes why (`cause`) and when (`at`).
local LIFE = {
  queued = ' queued delayed running cancelled expired ', delayed = ' queued delayed cancelled expired ',
  running = ' queued delayed answered dead cancelled expired ',
  answered = '', dead = ' queued ', cancelled = ' queued ', expired = ' queued ',
}
-- A trail that has grown longer than this loses its oldest lines.
local LONGEST_TRAIL = 65536

-- Wake workers that found this queue empty or blocked, at most `many`; returns how many. One whose connection is gone receives
-- nothing (PUBLISH answers 0) and is passed over; the safety poll covers one that dies at this very moment.
local function wake(queue, many)
  local woken = 0
  while woken < many do
    local worker = redis.call('SPOP', K.idle..queue)
    if not worker then break end
    if redis.call('PUBLISH', K.wake..worker, queue) > 0 then woken = woken + 1 end
  end
  return woken
end

-- The lists beside the plain one, which is that of priority 0. That of GUESTS has the jobs that fell back to this queue: they take
-- turns with its own.
local function higher_lists(queue)
  local lists = {}
  for p = GUESTS, 1, -1 do lists[#lists + 1] = list_of(queue, p) end
  return lists
end

local function has_jobs(queue)
  return redis.call('EXISTS', list_of(queue, 0), unpack(higher_lists(queue))) > 0
end

-- How many jobs of a node wait in a queue or parked beside it; it is counted where they come and go.
local function node_waits(node, change)
  if node and node ~= '' then redis.call('HINCRBY', K.counts, 'waiting:node:'..node, change) end
end

-- How many jobs of a queue wait: in its lists, and parked beside it.
local function queue_waits(queue)
  local lists, waiting = higher_lists(queue), redis.call('LLEN', list_of(queue, 0))
  if redis.call('EXISTS', unpack(lists)) > 0 then
    for _, list in ipairs(lists) do waiting = waiting + redis.call('LLEN', list) end
  end
  for _, place in ipairs(redis.call('ZRANGE', K.parks, 0, -1)) do
    if string.match(place, '^%S+') == queue then waiting = waiting + redis.call('ZCARD', K.parked..place) end
  end
  return waiting
end

-- How many jobs wait in a scope: in its queues, or under its node.
local function how_many_wait(name, queues)
  local node = string.match(name, '^node:(.*)$')
  if node then return tonumber(redis.call('HGET', K.counts, 'waiting:node:'..node)) or 0 end
  local waiting = 0
  for queue in string.gmatch(queues, '%S+') do waiting = waiting + queue_waits(queue) end
  return waiting
end

-- Whether a job's life goes that way. A record without a state is a new one.
local function may_enter(from, to)
  return not from or (LIFE[from] and string.find(LIFE[from], ' '..to..' ', 1, true)) and true or false
end

-- A job goes from one state to another, with what else changes in its record. False, and nothing is written, where its life
-- does not go that way: somebody wrote to Redis.
local function enter(id, from, to, cause, node, ...)
  if not may_enter(from, to) then return false end
  if from == 'queued' and to ~= 'queued' then node_waits(node, -1) end
  if to == 'queued' and from ~= 'queued' then node_waits(node, 1) end
  redis.call('HSET', K.job..id, 'state', to, 'cause', cause, 'at', this_moment, ...)
  return true
end

-- Without its oldest lines that are no attempt, or spent none: decisions count those that did. Should that not do, without the oldest.
local MINOR = { wait = true, late = true, lapse = true, relocate = true }
local function shortened(trail)
  local kept, over = {}, #trail - LONGEST_TRAIL * 3 / 4
  for line in string.gmatch(trail, '[^\n]*\n') do
    if over > 0 and MINOR[string.match(line, '"decision": ?"(%a+)"') or ''] then over = over - #line else kept[#kept + 1] = line end
  end
  local first = 1
  while over > 0 and first <= #kept do
    over, first = over - #kept[first], first + 1
  end
  return table.concat(kept, '', first)
end

-- A line about a job, among its attempts in its trail: what `noted` makes.
local function note(id, line)
  local trail = (redis.call('HGET', K.job..id, 'trail') or '')..line..'\n'
  if #trail > LONGEST_TRAIL then trail = shortened(trail) end
  redis.call('HSET', K.job..id, 'trail', trail)
end

local function noted(decision, ...)
  local fields, values = {}, { ... }
  for i = 1, #values, 2 do
    local value = tostring(values[i + 1])
    fields[#fields + 1] = string.format(',"%s":%s', values[i], type(values[i + 1]) == 'number' and string.format('%.0f', values[i + 1])
      or '"'..string.gsub(value, '[%c"\\]', '?')..'"')
  end
  return '{"decision":"'..decision..'","at_ms":'..string.format('%.0f', this_moment)..table.concat(fields)..'}'
end

-- A job that ended without a worker: its sender, if it is a foreign Celery client, is told all the same, as Celery itself would tell it.
local function foreign_end(id, status, exc_type, exc_module, message)
  if redis.call('HGET', K.job..id, 'foreign') ~= '1' then return end
  local result = '{"status":"'..status..'","result":{"exc_type":"'..exc_type..'","exc_message":["'..message..'"],'
    ..'"exc_module":"'..exc_module..'"},"traceback":null,"children":[],"date_done":null,"task_id":"'..id..'"}'
  redis.call('SET', K.result..id, result, 'EX', 86400)
  redis.call('PUBLISH', K.result..id, result)
end

local function foreign_failure(id, message) foreign_end(id, 'FAILURE', 'RuntimeError', 'builtins', message) end

local function foreign_revoked(id) foreign_end(id, 'REVOKED', 'TaskRevokedError', 'celery.exceptions', 'cancelled') end

-- An end for good: answered, dead, cancelled or expired. Whoever waits is told; the record stays for `keep` ms.
local function to_end(id, queue, from, state, field, value, keep, cause, node)
  if not enter(id, from, state, cause, node, 'ended', this_moment, field, value) then return false end
  -- What it held, and what kept it from starting, is nobody's business any more: it is stored for a day.
  redis.call('HDEL', K.job..id, 'scopes', 'reserved', 'within', 'keeps', 'probe', 'avoid', 'stays', 'waits', 'since', 'via')
  redis.call('PEXPIRE', K.job..id, keep)
  redis.call('ZREM', K.deadlines, id)
  if state == 'dead' then redis.call('ZADD', K.dead, this_moment, id) end
  redis.call('HINCRBY', K.totals..queue, state, 1)
  redis.call('PUBLISH', K.ended..id, state)
  return true
end

-- Somebody wanted a job cancelled while it ran (its field `cancel`: how long its record then stays, and the reason): that is its end,
-- wherever else it was to go.
local function cancelled_instead(id, queue, from, asked, node)
  if not asked then return false end
  local keep, reason = string.match(asked, '^(%d+) (.*)$')
  redis.call('HDEL', K.job..id, 'cancel')
  to_end(id, queue, from, 'cancelled', 'error', reason or '{"code":"cancelled"}', tonumber(keep) or 86400000, 'cancelled', node)
  foreign_revoked(id)
  return true
end

local function to_delay(id, queue, from, due, cause, node)
  if not enter(id, from, 'delayed', cause, node) then return false end
  redis.call('ZADD', K.delayed, due, id)
  redis.call('HINCRBY', K.counts, 'delayed:'..queue, 1)
  return true
end

-- Somebody may have written another: a job is never put into a list that nobody looks at.
local function as_priority(text)
  local priority = tonumber(text)
  return priority and priority >= 0 and priority < GUESTS and priority == math.floor(priority) and priority or 0
end

-- Into one of a queue's lists, at its head or its end. A list that somebody made something else of cannot take it: the job is
-- delayed, and tried again until the key is mended.
local function into_list(command, id, queue, list, from, cause, node)
  if not may_enter(from, 'queued') then return false end
  local pushed = redis.pcall(command, list_of(queue, list), id)
  if type(pushed) == 'table' then return to_delay(id, queue, from, this_moment + 10000, 'its queue is no list', node) end
  enter(id, from, 'queued', cause, node)
  redis.call('HDEL', K.job..id, 'waits', 'since')
  wake(queue, 1)
  return true
end

-- The head of a queue is the right end of its list: kombu pushes left and pops right.
local function to_head(id, queue, priority, cause)
  local r = redis.call('HMGET', K.job..id, 'state', 'node', 'home', 'cancel')
  if not r[1] or not may_enter(r[1], 'queued') then return false end
  if cancelled_instead(id, queue, r[1], r[4], r[2]) then return false end
  return into_list('RPUSH', id, queue, r[3] and r[3] ~= queue and GUESTS or as_priority(priority), r[1], cause, r[2])
end

-- The answer of a job that a foreign Celery client sent, where its Redis result backend looks.
local function foreign_result(id, result)
  if result == '' then return end
  redis.call('SET', K.result..id, result, 'EX', 86400)
  redis.call('PUBLISH', K.result..id, result)
end
