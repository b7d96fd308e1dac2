#!lua
-- score: publish the scores of queues whose members take turns by them, if it is this worker that does so.
-- Guarantee: one worker in the fleet does; when it is gone another one does, and until then scores go out of date by
-- themselves, to the weights in the plan.
-- KEYS  own prefix, queue prefix
-- ARGV  'read', worker, for how many ms it is the one from now, the fields of a scope that say how an instance is, instances
--   reply server time and, for each instance, those fields; nothing if it is another worker
-- ARGV  'publish', worker, for how many ms the scores hold, then for each queue: its name, how many scores, then instance and
--       score of each
--   reply '1', or '0' if it is another worker by now, and nothing was published
--@ guard time
local holder = redis.call('GET', K.scorer)

local function read(worker, holds_ms, fields)
  if holder and holder ~= worker then return {} end
  redis.call('SET', K.scorer, worker, 'PX', holds_ms)
  local names, reply = {}, { string.format('%.0f', server_now()) }
  for name in string.gmatch(fields, '%S+') do names[#names + 1] = name end
  for i = 5, #ARGV do reply[#reply + 1] = redis.call('HMGET', K.scope..'model:'..ARGV[i], unpack(names)) end
  return reply
end

local function publish(worker, valid_ms)
  if holder ~= worker then return '0' end
  local i = 4
  while i < #ARGV do
    local key, many = K.scores..ARGV[i], tonumber(ARGV[i + 1])
    redis.call('DEL', key)
    if many > 0 then
      local fields = {}
      for k = 1, 2 * many do fields[k] = ARGV[i + 1 + k] end
      redis.call('HSET', key, unpack(fields))
      redis.call('PEXPIRE', key, valid_ms)
    end
    i = i + 2 + 2 * many
  end
  return '1'
end

if ARGV[1] == 'read' then return read(ARGV[2], ARGV[3], ARGV[4]) end
return publish(ARGV[2], ARGV[3])
