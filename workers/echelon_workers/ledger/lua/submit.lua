#!lua
-- submit: write the records of new jobs and push their ids onto their queues.
-- Guarantee: a job id is accepted once; a repeated call changes nothing and says 'known'. All or nothing.
-- KEYS  own prefix, queue prefix
-- ARGV  the raw message being adopted or '', fields a job, then for each job:
--       id, queue, priority, deadline (ms from now, below 0 if it has passed, 0 for none), target, node, foreign ('1' or ''), options, request
-- reply for each job: 'new' or 'known'
--@ time places
local raw, width = ARGV[1], tonumber(ARGV[2])
local types = {}
for i = 3, #ARGV, width do
  local list = list_of(ARGV[i + 1], tonumber(ARGV[i + 2]))
  if not types[list] then
    types[list] = redis.call('TYPE', list).ok
    if types[list] ~= 'list' and types[list] ~= 'none' then
      return redis.error_reply('WRONGTYPE the queue '..ARGV[i + 1]..' is a '..types[list]..' in Redis, not a list')
    end
  end
end
local now = server_now()
local reply, fresh, pushed = {}, {}, {}
for i = 3, #ARGV, width do
  local id, queue, priority, wait = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local job = K.job..id
  if redis.call('EXISTS', job) == 1 then
    reply[#reply + 1] = 'known'
  else
    redis.call('HSET', job, 'state', 'queued', 'queue', queue, 'home', queue, 'priority', priority, 'created', now,
      'deadline', wait ~= 0 and now + wait or 0, 'target', ARGV[i + 4], 'node', ARGV[i + 5], 'foreign', ARGV[i + 6],
      'options', ARGV[i + 7], 'request', ARGV[i + 8])
    local list = list_of(queue, tonumber(priority))
    pushed[list] = pushed[list] or {}
    pushed[list][#pushed[list] + 1] = id
    fresh[queue] = (fresh[queue] or 0) + 1
    reply[#reply + 1] = 'new'
  end
end
for list, ids in pairs(pushed) do redis.call('LPUSH', list, unpack(ids)) end
if raw ~= '' then redis.call('ZREM', K.adopting, raw) end
for queue, many in pairs(fresh) do
  redis.call('HINCRBY', K.totals..queue, 'submitted', many)
  wake(queue, many)
end
return reply
