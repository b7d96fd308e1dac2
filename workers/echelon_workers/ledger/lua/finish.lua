#!lua flags=allow-oom
-- finish: end one attempt, give back what it held, and carry out its decision, all in one step.
-- Guarantee: exactly once. A repeated call answers 'done' as the first did; a holder whose lease is no longer
-- the job's changes nothing, is counted, and is told 'late'.
-- KEYS  own prefix, queue prefix
-- ARGV  id, lease, decision (answer | retry | wait | move | hold | bury | expire), payload (the answer or the error as JSON), trail entry,
--       delay ms (retry, wait, move), instances to avoid or '' (retry, move), retention ms, foreign result or '',
--       input tokens, output tokens, cost in USD, tokens that count against its limits or '' (nobody knows), what the
--       provider stated of its limits ('requests a minute, how many are left, tokens a minute', each or -) or '', what this
--       says of its instance ('ok', 'failed' or ''), for how many ms that is out all the same (0: its breaker decides, -1: until
--       the configuration is loaded anew), the outcome's code, the queue to move to, the strategy that chose it, what the
--       fleet's history keeps of that (JSON)
-- reply 'done' or 'late'
--@ guard time places scopes breaker lease provider outcomes
local id, lease, decision, payload = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local queue, priority, cancel = held(id, lease)
local now = server_now()
if not queue then
  if priority == 'late' then
    local r = redis.call('HMGET', K.job..id, 'queue', 'late')
    if r[1] and r[2] ~= lease then
      redis.call('HINCRBY', K.totals..r[1], 'late', 1)
      redis.call('HSET', K.job..id, 'late', lease)
      note(id, noted('late', 'lease', lease, 'outcome', decision == 'answer' and 'answered' or ARGV[17]))
    end
  end
  return priority
end
local job, totals = K.job..id, K.totals..queue
local r = redis.call('HMGET', job, 'instance', 'started', 'probe', 'strategy')
local instance, phase, strategy = r[1] or '', r[3] or '', r[4] or ''
if ARGV[15] ~= '' then
  redis.call('HSET', job, 'probe', '')
  if ARGV[15] == 'ok' then instance_answered(instance, phase, tonumber(r[2]))
  else instance_failed(instance, phase, now, tonumber(ARGV[16]), ARGV[17], tonumber(r[2])) end
  note_outcome(instance, now, ARGV[15] == 'ok', decision == 'answer' and now - (tonumber(r[2]) or now))
end
give_back(id, lease, queue, now, tonumber(ARGV[13]))
if decision ~= 'wait' and instance ~= '' then
  redis.call('HINCRBY', job, 'attempts', 1)
  redis.call('HDEL', K.scope..'model:'..instance, 'nl')
end
if ARGV[14] ~= '' then stated(instance, ARGV[14], tonumber(r[2]) or now, now) end
if ARGV[5] ~= '' then note(id, ARGV[5]) end
if decision == 'answer' then
  if tonumber(ARGV[11]) > 0 then answered_with(instance, tonumber(ARGV[11])) end
  if cancel then redis.call('HDEL', job, 'cancel') end -- it was there first
  to_end(id, queue, 'running', 'answered', 'answer', payload, tonumber(ARGV[8]), 'answered')
  foreign_result(id, ARGV[9])
elseif cancelled_instead(id, queue, 'running', cancel) then
  decision = 'cancelled'
elseif decision == 'bury' or decision == 'expire' then
  local expired = decision == 'expire'
  to_end(id, queue, 'running', expired and 'expired' or 'dead', 'error', payload, tonumber(ARGV[8]), expired and 'its deadline passed' or ARGV[17])
  foreign_result(id, ARGV[9])
elseif decision == 'wait' then
  -- The provider said: not now. That spends no attempt. The job goes on elsewhere, or is the first here.
  rest(instance, now, tonumber(ARGV[6]))
  redis.call('HINCRBY', totals, 'limited', 1)
  redis.call('HSET', job, 'error', payload)
  to_head(id, queue, priority, ARGV[17])
elseif decision == 'hold' then
  -- Every instance here is out, and there is nowhere to go: it stays the first, and is asked again after a while.
  redis.call('HSET', job, 'stays', now + tonumber(ARGV[6]))
  to_head(id, queue, priority, 'its instances are out')
elseif decision == 'move' then
  redis.call('HSET', job, 'error', payload, 'avoid', ARGV[7], 'strategy', ARGV[19], 'stays', 0)
  redis.call('HINCRBY', totals, 'moved', 1)
  redis.call('HINCRBY', K.moves, 'move '..ARGV[19], 1)
  redis.call('HINCRBY', K.moves, 'to '..ARGV[18], 1)
  local lost = r[2] and instance ~= '' and now - r[2] or 0
  redis.call('HINCRBY', K.moves, 'lost_ms '..ARGV[19], lost)
  redis.call('HINCRBY', K.moves, 'lost_at '..queue, lost)
  redis.call('LPUSH', K.history, ARGV[20])
  redis.call('LTRIM', K.history, 0, 999)
  local delay = tonumber(ARGV[6])
  redis.call('HSET', job, 'queue', ARGV[18])
  if delay > 0 then
    to_delay(id, ARGV[18], 'running', now + delay, ARGV[17])
  else
    -- The last of that queue's guests.
    into_list('LPUSH', id, ARGV[18], GUESTS, 'running', ARGV[17], redis.call('HGET', job, 'node'))
  end
else
  redis.call('HSET', job, 'error', payload, 'avoid', ARGV[7])
  redis.call('HINCRBY', totals, 'retries', 1)
  local delay = tonumber(ARGV[6])
  if delay > 0 then to_delay(id, queue, 'running', now + delay, ARGV[17]) else to_head(id, queue, priority, ARGV[17]) end
end
if strategy ~= '' and (decision == 'answer' or decision == 'bury' or decision == 'expire') then
  redis.call('HINCRBY', K.moves, (decision == 'answer' and 'answer ' or 'bury ')..strategy, 1)
end
-- Last, and never in the way: what is added up comes from a provider.
if instance ~= '' then redis.pcall('HINCRBY', totals, 'attempts', 1) end
redis.pcall('HINCRBY', totals, 'input_tokens', ARGV[10])
redis.pcall('HINCRBY', totals, 'output_tokens', ARGV[11])
redis.pcall('HINCRBYFLOAT', totals, 'cost_usd', ARGV[12])
return 'done'
