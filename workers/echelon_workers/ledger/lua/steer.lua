#!lua flags=allow-oom
-- steer: pause queues, drain them, or let them go on. A paused queue keeps its jobs, takes new ones, and starts none; what runs goes on.
-- One that drains takes no new jobs (but those that fall back to it, and those sent again), and starts those it has.
-- Readmit instances that are out because their key was refused: a worker has started, perhaps with another one.
-- Guarantee: repeated calls change nothing.
-- KEYS  own prefix, queue prefix
-- ARGV  'pause', 'drain' or 'resume' and queue names, or 'readmit' and scope names of instances
-- reply how many of the queues this changed
--@ guard time places breaker
local changed = 0
for i = 2, #ARGV do
  if ARGV[1] == 'readmit' then
    readmit(ARGV[i])
  elseif ARGV[1] == 'pause' then
    changed = changed + redis.call('SADD', K.paused, ARGV[i])
  elseif ARGV[1] == 'drain' then
    changed = changed + redis.call('SADD', K.draining, ARGV[i])
  else
    changed = changed + math.max(redis.call('SREM', K.paused, ARGV[i]), redis.call('SREM', K.draining, ARGV[i]))
    wake(ARGV[i], 1000)
  end
end
return changed
