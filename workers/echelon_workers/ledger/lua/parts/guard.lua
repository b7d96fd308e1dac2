-- Every command of a script goes through here, so that none stops halfway through its writes because somebody else wrote to Redis.
-- A key of ours that has become something else is set aside under 'damaged:', and a count that is no number begins anew: what
-- was there is lost already, and the doctor finds what belongs there. A queue's list is not only ours: it stays, and the error names it.
local KEPT_ASIDE_MS = 7 * 86400000
local unguarded = redis

local function set_aside(key)
  local aside = KEYS[1]..'damaged:'..string.sub(key, #KEYS[1] + 1)
  if string.sub(key, 1, #KEYS[1]) ~= KEYS[1] or unguarded.pcall('RENAME', key, aside).err then return false end
  unguarded.call('PEXPIRE', aside, KEPT_ASIDE_MS)
  return true
end

local function mended(command, key, field, err)
  if string.find(err, '^WRONGTYPE') then
    if set_aside(key) then return true end
    error({ err = 'WRONGTYPE the key '..key..' is a '..unguarded.call('TYPE', key).ok..' in Redis, and not what is kept there' })
  end
  if not (string.find(command, '^HINCRBY') and string.find(err, '^ERR hash value is not')) then return false end
  if field == 'lease' then -- a fence has to be higher than all before
    unguarded.call('HSET', key, field, unguarded.call('TIME')[1] * 1000)
  else
    unguarded.call('HDEL', key, field)
  end
  return true
end

local run, guarded = redis.pcall, nil

local function again(err, ...)
  local command, key, field = ...
  if key ~= nil and mended(command, key, field, err.err) then return guarded(...) end
  error(err)
end

guarded = function(...)
  local reply = run(...)
  if type(reply) == 'table' and reply.err then return again(reply, ...) end
  return reply
end

local redis = { call = guarded, pcall = redis.pcall, error_reply = redis.error_reply }
