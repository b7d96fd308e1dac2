#!lua
-- refuse: a foreign message that cannot become a job is buried with its reason, and its sender is told.
-- Guarantee: the message is in exactly one place: `adopting`, or this record. Repeated calls change nothing.
-- KEYS  own prefix, queue prefix
-- ARGV  raw message, id, queue or '', error as JSON, retention ms, then each id under which it is awaited (its
--       sender's may be none that a job can have) and Celery's result for it
-- reply 'done', or 'known' if a job has this id already
--@ guard time places
local raw, id = ARGV[1], ARGV[2]
local now = server_now()
redis.call('ZREM', K.adopting, raw)
if redis.call('EXISTS', K.job..id) == 1 then return 'known' end
redis.call('HSET', K.job..id, 'queue', ARGV[3], 'home', ARGV[3], 'created', now, 'foreign', '1', 'raw', raw)
to_end(id, ARGV[3], nil, 'dead', 'error', ARGV[4], tonumber(ARGV[5]), 'refused')
for i = 6, #ARGV, 2 do foreign_result(ARGV[i], ARGV[i + 1]) end
return 'done'
