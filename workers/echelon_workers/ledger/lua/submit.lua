#!lua
-- submit: write the records of new jobs and push their ids onto their queues.
-- Guarantee: a job id is accepted once; a repeated call changes nothing and says 'known'. All or nothing: where an id is known as that of
-- another job, or a queue takes no new ones, nothing is written.
-- KEYS  own prefix, queue prefix
-- ARGV  the raw message being adopted or '', fields a job, then for each job:
--       id, queue, priority, deadline (ms from now, below 0 if it has passed, 0 for none), target, node, foreign ('1' or ''),
--       its size ('input tokens, those in the worst case, tokens of the answer or 0'), options, request
-- reply for each job: 'new' or 'known'; or, when they would be more than may wait somewhere, and nothing was written:
--       'full', the scope, how many may wait there, how many do, in how many ms there will be room; or 'other', the id;
--       or 'draining', the queue
--@ guard time places leaving cancelling pace
local raw, width = ARGV[1], tonumber(ARGV[2])
-- Nothing has started lately: nobody knows when there will be room.
local UNKNOWN_MS, LONGEST_MS = 5000, 3600000
local types, known, coming, under = {}, {}, {}, {}
local function come(scope, queue, many)
  local c = coming[scope] or { queue = queue, many = 0 }
  coming[scope], c.many = c, c.many + many
end
for i = 3, #ARGV, width do
  local id, queue, node = ARGV[i], ARGV[i + 1], ARGV[i + 5]
  local list = list_of(queue, tonumber(ARGV[i + 2]))
  if not types[list] then
    types[list] = redis.call('TYPE', list).ok
    if types[list] ~= 'list' and types[list] ~= 'none' then
      return redis.error_reply('WRONGTYPE the queue '..queue..' is a '..types[list]..' in Redis, not a list')
    end
  end
  local there = redis.call('HMGET', K.job..id, 'state', 'target', 'node', 'options', 'request')
  known[id] = there[1] and true
  if known[id] and raw == '' and (there[2] ~= ARGV[i + 4] or there[3] ~= node or there[4] ~= ARGV[i + 8] or there[5] ~= ARGV[i + 9]) then
    return { 'other', id }
  end
  if not known[id] then
    if raw == '' and not under[queue] and redis.call('SISMEMBER', K.draining, queue) == 1 then return { 'draining', queue } end
    local nodes = under[queue] or {}
    under[queue], nodes[node] = nodes, (nodes[node] or 0) + 1
  end
end
for queue, nodes in pairs(under) do
  local kind, name = string.match(queue, '^([^.]*)%.(.*)$')
  local many = 0
  for node, of_node in pairs(nodes) do
    many = many + of_node
    if node ~= '' then come('node:'..node, queue, of_node) end
  end
  if kind == 'model' then
    come('model:'..name, queue, many)
  elseif kind and kind ~= 'pool' then
    come('group:'..kind, queue, many)
    come('echelon:'..queue, queue, many)
  end
end
local now = server_now()

-- Whether so many more may wait in a scope; if not, since when that will change: as its queues have gone lately.
if raw == '' then
  for name, c in pairs(coming) do
    local r = redis.call('HMGET', K.scope..name, 'qs', 'qn')
    local size = tonumber(r[1]) or 0
    if size > 0 then
      local waiting = how_many_wait(name, r[2] or '')
      local over = waiting + c.many - size
      if over > 0 then
        local pace = 0
        for queue in string.gmatch(r[2] ~= '' and r[2] or c.queue, '%S+') do
          pace = pace + pace_of(queue, now)
        end
        local wait = pace > 1e-6 and math.min(LONGEST_MS, math.ceil(over / pace)) or UNKNOWN_MS
        return { 'full', name, tostring(size), tostring(waiting), string.format('%.0f', wait) }
      end
    end
  end
end

local reply, fresh, pushed, due = {}, {}, {}, {}
for i = 3, #ARGV, width do
  local id, queue, priority, wait, node = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 5]
  if known[id] then
    reply[#reply + 1] = 'known'
  else
    known[id] = true -- should it be there twice
    enter(id, nil, 'queued', 'submitted', node, 'queue', queue, 'home', queue, 'priority', priority, 'created', now,
      'deadline', wait ~= 0 and now + wait or 0, 'target', ARGV[i + 4], 'node', node, 'foreign', ARGV[i + 6],
      'size', ARGV[i + 7], 'options', ARGV[i + 8], 'request', ARGV[i + 9])
    if wait ~= 0 then
      due[#due + 1] = now + wait
      due[#due + 1] = id
    end
    local list = list_of(queue, tonumber(priority))
    pushed[list] = pushed[list] or {}
    pushed[list][#pushed[list] + 1] = id
    fresh[queue] = (fresh[queue] or 0) + 1
    reply[#reply + 1] = 'new'
  end
end
for list, ids in pairs(pushed) do redis.call('LPUSH', list, unpack(ids)) end
if #due > 0 then redis.call('ZADD', K.deadlines, unpack(due)) end
if raw ~= '' then
  redis.call('ZREM', K.adopting, raw)
  -- Its sender revoked it before it got here.
  if fresh[ARGV[4]] and redis.call('DEL', K.revoked..ARGV[3]) == 1 then cancel(ARGV[3], DAY_MS, REVOKED) end
end
for queue, many in pairs(fresh) do
  redis.call('HINCRBY', K.totals..queue, 'submitted', many)
  wake(queue, many)
end
return reply
