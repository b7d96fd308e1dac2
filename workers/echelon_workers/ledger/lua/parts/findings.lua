-- What the doctor's scripts share: a finding is four values (code, job or key, detail, '1' if it was mended).
-- Every read of theirs is by pcall: what it looks at may be of any type.
local BY_DOCTOR = 'the doctor put it back'
local ENDED = { answered = true, dead = true, cancelled = true, expired = true }
local findings, mends = {}, false

local function find(code, subject, detail, mended)
  for _, value in ipairs({ code, subject, tostring(detail or ''), mended and '1' or '' }) do findings[#findings + 1] = value end
end

-- The score of a member, false if it is not there; true where the key is no sorted set, which is told elsewhere.
local function score_of(key, member)
  local score = redis.pcall('ZSCORE', key, member)
  if type(score) == 'table' then return true end
  return score
end

-- Whether a job left its id behind, too deep in a long list (`leave_queue`). It may have been sent again since: then its id may be there
-- beside the job's place, and is no fault.
local function left_behind(id) return redis.pcall('HEXISTS', K.job..id, 'tomb') == 1 end

local function whole(value)
  return value and string.match(value, '^%-?%d+$') and #value < 16
end

local function moment() return mends and server_now() or now_to_look() end

-- A counter that is no number would stop the script that counts: it is 0 until it is counted anew.
local function sane(key, field)
  local said = redis.pcall('HGET', key, field)
  if type(said) == 'string' and not whole(said) then
    redis.call('HSET', key, field, 0)
    return said
  end
end

-- Do it, if anything is to be mended. Where it cannot be done (a key of the wrong type), it is told as not mended.
local function mended(work)
  return mends and (pcall(work)) or false
end
