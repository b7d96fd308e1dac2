#!lua
-- publish: put a configuration in force. What take reads of it (limits and plans) changes in the same step, so a
-- changed limit binds the whole cluster between two jobs.
-- Guarantee: the same digest again is the same revision; what is in use of a limit stays as it is. Queues that it does not have any
-- more keep their jobs, and are remembered as dropped.
-- KEYS  own prefix, queue prefix
-- ARGV  digest, document, '1' to let one that is in force stay, ms that a job has which states no deadline, how many scopes, then for each scope: its name, how
--       many fields, and these; then for each queue: its name, its plan
-- reply the revision's number
--@ guard time places breaker
for _, name in ipairs(redis.call('SMEMBERS', K.scopes)) do readmit(name) end
local before = redis.call('HGET', K.revision, 'digest')
if before == ARGV[1] or (before and ARGV[3] == '1') then return redis.call('HGET', K.revision, 'number') end
local probes = {}
for _, name in ipairs(redis.call('SMEMBERS', K.scopes)) do
  probes[name] = redis.call('HGET', K.scope..name, 'bh')
  redis.call('HDEL', K.scope..name, 'cl', 'meters', 'qs', 'qn', 'bt', 'br', 'bh')
end
for _, queue in ipairs(redis.call('SMEMBERS', K.plans)) do
  redis.call('DEL', K.plan..queue)
  redis.call('SADD', K.dropped, queue)
end
redis.call('DEL', K.scopes, K.plans, K.blocked)
local i = 6
for _ = 1, tonumber(ARGV[5]) do
  local name, fields = ARGV[i], tonumber(ARGV[i + 1])
  local values = {}
  for k = 1, 2 * fields do
    values[k] = ARGV[i + 1 + k]
    if k % 2 == 0 and values[k - 1] == 'bh' and probes[name] and probes[name] ~= values[k] then
      probe_anew(string.match(name, '^model:(.*)$'))
    end
  end
  redis.call('HSET', K.scope..name, unpack(values))
  redis.call('SADD', K.scopes, name)
  i = i + 2 + 2 * fields
end
while i < #ARGV do
  redis.call('SET', K.plan..ARGV[i], ARGV[i + 1])
  redis.call('SADD', K.plans, ARGV[i])
  redis.call('SREM', K.dropped, ARGV[i])
  i = i + 2
end
local number = redis.call('HINCRBY', K.revision, 'number', 1)
redis.call('HSET', K.revision, 'digest', ARGV[1], 'document', ARGV[2], 'deadline', ARGV[4])
redis.call('PUBLISH', K.published, number)
return tostring(number)
