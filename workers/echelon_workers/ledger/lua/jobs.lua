#!lua flags=no-writes
-- jobs: some of the jobs that are in one place, the last to come first.
-- Guarantee: writes nothing, and looks at no more jobs than it is told to.
-- KEYS  own prefix, queue prefix
-- ARGV  the place: 'dead', 'running' or 'delayed'; 'list' or 'parked' of a queue; then the queue ('' in the first three: of any),
--       the number of its list or the node they are parked for, the id to go on behind or '', how many to pass over should
--       that be gone, how many to look at, and the fields to read
-- reply how many were looked at, the last of them or '', what holds the queue back or '', 1 if it is paused; then for each job its id
--       and its fields
--@ guard
local place, queue, of, behind, from, most = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local fields, ids = {}, {}
for i = 7, #ARGV do fields[#fields + 1] = ARGV[i] end
if place == 'list' then
  ids = redis.pcall('LRANGE', list_of(queue, tonumber(of)), from, from + most - 1)
else
  local key = place == 'parked' and K.parked..queue..' '..of or K[place]
  local rank = behind ~= '' and redis.call('ZREVRANK', key, behind)
  if rank then from = rank + 1 end
  ids = redis.call('ZREVRANGE', key, from, from + most - 1)
end
local here = place == 'list' or place == 'parked'
local reply = { #ids, ids[#ids] or '', here and redis.call('HGET', K.blocked, queue) or '',
  here and redis.call('SISMEMBER', K.paused, queue) or 0 }
for _, id in ipairs(ids) do
  local is_job = string.sub(id, 1, 1) ~= '{' and (here or queue == '' or redis.pcall('HGET', K.job..id, 'queue') == queue)
  local values = is_job and redis.pcall('HMGET', K.job..id, unpack(fields))
  if values and not values.err then
    reply[#reply + 1] = id
    for k = 1, #fields do reply[#reply + 1] = values[k] end
  end
end
return reply
