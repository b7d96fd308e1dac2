#!lua flags=allow-oom
-- finish: end one attempt, give back what it held, and carry out its decision, all in one step.
-- Guarantee: exactly once. A repeated call answers 'done' as the first did; a holder whose lease is no longer
-- the job's changes nothing, is counted, and is told 'late'.
-- KEYS  own prefix, queue prefix
-- ARGV  id, lease, decision (answer | retry | wait | bury), payload (the answer or the error as JSON), trail entry,
--       delay ms (retry, wait), instance to avoid or '' (retry), retention ms, foreign result or '',
--       input tokens, output tokens, cost in USD, tokens that count against its limits or '' (nobody knows), what the
--       provider stated of its limits ('requests a minute, how many are left, tokens a minute', each or -) or ''
-- reply 'done' or 'late'
--@ time places scopes lease provider
local id, lease, decision, payload = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local queue, priority = held(id, lease)
local now = server_now()
if not queue then
  if priority == 'late' then
    local home = redis.call('HGET', K.job..id, 'queue')
    if home then redis.call('HINCRBY', K.totals..home, 'late', 1) end
  end
  return priority
end
local job, totals = K.job..id, K.totals..queue
local r = redis.call('HMGET', job, 'instance', 'started')
local instance = r[1] or ''
give_back(id, lease, queue, now, tonumber(ARGV[13]))
if decision ~= 'wait' then
  redis.call('HINCRBY', job, 'attempts', 1)
  redis.call('HDEL', K.scope..'model:'..instance, 'nl')
end
if ARGV[14] ~= '' then stated(instance, ARGV[14], tonumber(r[2]) or now, now) end
redis.call('HSET', job, 'trail', (redis.call('HGET', job, 'trail') or '')..ARGV[5]..'\n')
if decision == 'answer' then
  if tonumber(ARGV[11]) > 0 then answered_with(instance, tonumber(ARGV[11])) end
  to_end(id, queue, 'answered', 'answer', payload, now, tonumber(ARGV[8]))
  foreign_result(id, ARGV[9])
elseif decision == 'bury' then
  to_end(id, queue, 'dead', 'error', payload, now, tonumber(ARGV[8]))
  foreign_result(id, ARGV[9])
elseif decision == 'wait' then
  -- The provider said: not now. That spends no attempt. The job goes on elsewhere, or is the first here.
  rest(instance, now, tonumber(ARGV[6]))
  redis.call('HINCRBY', totals, 'limited', 1)
  redis.call('HSET', job, 'error', payload)
  to_head(id, queue, priority)
else
  redis.call('HSET', job, 'error', payload, 'avoid', ARGV[7])
  redis.call('HINCRBY', totals, 'retries', 1)
  local delay = tonumber(ARGV[6])
  if delay > 0 then to_delay(id, queue, now + delay) else to_head(id, queue, priority) end
end
-- Last, and never in the way: what is added up comes from a provider.
redis.pcall('HINCRBY', totals, 'attempts', 1)
redis.pcall('HINCRBY', totals, 'input_tokens', ARGV[10])
redis.pcall('HINCRBY', totals, 'output_tokens', ARGV[11])
redis.pcall('HINCRBYFLOAT', totals, 'cost_usd', ARGV[12])
return 'done'
