#!lua
-- redrive: jobs that ended without an answer go back to their home queues as if they were new: no attempt spent, a deadline as long
-- as they had, last in line. What was tried stays in their trails, before a line that says so.
-- Guarantee: once. The same call again (its token) changes nothing and answers as the first did. A job that has not ended, or
-- that has its answer, stays as it is. As many may wait as may: it was accepted before. An id that was left deep in a list (its field
-- `tomb`) stays there beside the new one: take starts whichever comes first, and passes over the other.
-- KEYS  own prefix, queue prefix
-- ARGV  token of the call, then job ids
-- reply for each: 'done', 'not ended', 'answered', 'unknown' (no record, or no more), 'no job' (a foreign message that never
--       became one), or 'no queue' (its home is not in this revision any more, or is no list)
--@ guard time places
local token, now = ARGV[1], server_now()
local usual_ms = tonumber(redis.call('HGET', K.revision, 'deadline')) or 3600000
local ENDED = { dead = true, expired = true, cancelled = true }
local has_plans = redis.call('EXISTS', K.plans) == 1
local reply, sent = {}, {}

local function is_served(queue)
  return not has_plans or redis.call('SISMEMBER', K.plans, queue) == 1
end

local function send_again(id, r)
  local home, job, created = r.home, K.job..id, tonumber(r.created) or now
  local deadline = tonumber(r.deadline) or 0
  local lasts = deadline - created
  -- One that was late before it came here had no time at all.
  if deadline > 0 and lasts <= 0 then lasts = usual_ms end
  local line = '{"decision":"redrive","at_ms":'..string.format('%.0f', now)..',"state":"'..r.state..'","created_ms":'
    ..string.format('%.0f', created)..',"ended_ms":'..(r.ended or '0')..',"reason":'
    ..string.gsub(r.error and r.error ~= '' and r.error or 'null', '\n', ' ')..'}'
  enter(id, r.state, 'queued', 'sent again', r.node, 'queue', home, 'created', now, 'deadline', lasts > 0 and now + lasts or 0, 'redrive', token)
  if lasts > 0 then redis.call('ZADD', K.deadlines, now + lasts, id) end
  note(id, line)
  redis.call('HDEL', job, 'attempts', 'lapses', 'avoid', 'strategy', 'stays', 'error', 'ended', 'waits', 'since', 'started',
    'worker', 'instance', 'probe', 'cancel', 'late')
  redis.call('PERSIST', job)
  redis.call('ZREM', K.dead, id)
  if r.foreign == '1' then redis.call('DEL', K.result..id) end
  redis.call('HINCRBY', K.totals..home, 'redriven', 1)
  sent[home] = (sent[home] or 0) + 1
end

local FIELDS = { 'state', 'home', 'priority', 'created', 'deadline', 'node', 'ended', 'error', 'foreign', 'redrive' }
for i = 2, #ARGV do
  local id, r = ARGV[i], {}
  local values = redis.pcall('HMGET', K.job..id, unpack(FIELDS))
  for k, name in ipairs(FIELDS) do r[name] = values[k] or nil end
  if not r.state then
    reply[#reply + 1] = 'unknown'
  elseif r.redrive == token then
    reply[#reply + 1] = 'done'
  elseif not ENDED[r.state] then
    reply[#reply + 1] = r.state == 'answered' and 'answered' or 'not ended'
  elseif redis.call('HEXISTS', K.job..id, 'request') == 0 then
    reply[#reply + 1] = 'no job'
  elseif not is_served(r.home) or type(redis.pcall('LPUSH', list_of(r.home, as_priority(r.priority)), id)) == 'table' then
    reply[#reply + 1] = 'no queue'
  else
    send_again(id, r)
    reply[#reply + 1] = 'done'
  end
end
for queue, many in pairs(sent) do wake(queue, many) end
return reply
