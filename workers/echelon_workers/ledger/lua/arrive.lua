#!lua flags=allow-oom
-- arrive: the first script that a server is told, because it does not know ours: it is new, was restarted, or has taken another's place.
-- What the last moment before that granted may be forgotten, so every rate counts it as used to the full. Leases get a while to be renewed.
-- Guarantee: repeated calls of the same server change nothing.
-- KEYS  own prefix, queue prefix
-- ARGV  the server's run id, for how many ms before its end a server like this may have forgotten what it was told
-- reply 1 if it is another server than before
--@ guard time places scopes
local known = redis.call('MGET', K.server, K.lease)
local before = known[1]
if before == ARGV[1] then return 0 end
local now, lost_ms = server_now(), tonumber(ARGV[2])
redis.call('SET', K.server, ARGV[1])
if not before then return 0 end
keep_calm(now, lasting(known[2]))
if lost_ms > 0 then
  redis.call('SET', K.epoch, now) -- leases that were forgotten are not minted again
  for _, name in ipairs(redis.call('SMEMBERS', K.scopes)) do
    local s = scope(name)
    for _, m in ipairs(s.meters) do m.is.charge(s, m, lost_ms, now) end
  end
end
return 1
