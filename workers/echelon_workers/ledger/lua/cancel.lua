#!lua flags=allow-oom
-- cancel: end jobs that nobody wants any more. One that waits ends here; one that runs is stopped by its worker, which is told at once
-- and again with each heartbeat; should the worker die, the job ends when its lease lapses.
-- Guarantee: repeated calls change nothing. A job that has ended stays as it is; an answer that was there first is kept.
-- KEYS  own prefix, queue prefix
-- ARGV  retention ms, reason as JSON, for how many ms an id that is not known (yet) is remembered or 0, then ids
-- reply for each 'cancelled', 'stopping', 'answered', 'dead', 'expired' or 'unknown'
--@ guard time places leaving cancelling
server_now()
local reply = {}
for i = 4, #ARGV do
  local said = cancel(ARGV[i], tonumber(ARGV[1]), ARGV[2])
  if said == 'unknown' and ARGV[3] ~= '0' then redis.call('SET', K.revoked..ARGV[i], '1', 'PX', ARGV[3]) end
  reply[#reply + 1] = said
end
return reply
