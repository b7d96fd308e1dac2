#!lua flags=allow-oom
-- renew: one worker's heartbeat. It extends the leases of what its pool holds in its hand, and nothing else;
-- then it reaps: leases that lapsed, of jobs and of probes, delays that are over, and deadlines that have passed.
-- Guarantee: a lease that is no longer the job's is not extended, and is named in the reply.
-- KEYS  own prefix, queue prefix
-- ARGV  worker, lease ms, poison, retention ms, what the worker says of itself (JSON), how long that holds in ms,
--       inbox queue, the instances it has keys for separated by commas, then for each job: id, lease
-- reply number and digest of the revision in force or '', '1' if there is more to reap, how many leases are lost, id and lease of each,
--       then id and lease of each job that is to be cancelled
--@ guard time places scopes breaker lease leaving probes
local worker, now = ARGV[1], server_now()
local lost, unwanted = {}, {}
for i = 9, #ARGV, 2 do
  local id, lease = ARGV[i], ARGV[i + 1]
  local queue, _, cancel = held(id, lease)
  if queue then
    redis.call('ZADD', K.running, 'XX', now + tonumber(ARGV[2]), id)
    if cancel then
      unwanted[#unwanted + 1] = id
      unwanted[#unwanted + 1] = lease
    end
  else
    lost[#lost + 1] = id
    lost[#lost + 1] = lease
  end
end
redis.call('SET', K.lease, ARGV[2])
redis.call('SET', K.worker..worker, ARGV[5], 'PX', ARGV[6])
redis.call('ZADD', K.workers, now, worker)
redis.call('EXPIRE', K.taker..worker, 86400)
for instance in string.gmatch(ARGV[8], '[^,]+') do redis.call('ZADD', K.served, now, instance) end
redis.call('ZREMRANGEBYSCORE', K.workers, '-inf', now - 86400000)
redis.call('ZREMRANGEBYSCORE', K.dead, '-inf', now - tonumber(ARGV[4])) -- their records have expired by now
lapse(now, 200, tonumber(ARGV[3]), tonumber(ARGV[4]))
lapse_probes(now)
promote(now, 200)
local more = expire(now, 200, tonumber(ARGV[4])) == 200
for _, raw in ipairs(redis.call('ZRANGEBYSCORE', K.adopting, '-inf', now, 'LIMIT', 0, 20)) do
  redis.call('ZREM', K.adopting, raw)
  redis.call('RPUSH', list_of(ARGV[7], 0), raw)
end
local revision = redis.call('HMGET', K.revision, 'number', 'digest')
local reply = { revision[1] and revision[1]..' '..(revision[2] or '') or '', more and '1' or '', tostring(#lost / 2) }
for _, told in ipairs({ lost, unwanted }) do
  for _, value in ipairs(told) do reply[#reply + 1] = value end
end
return reply
