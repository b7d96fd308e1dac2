-- How an instance does lately, in the field `ew` of its scope: 'how many outcomes, share of successes, ms an answer took, ms that is
-- usual, as of when'. Moving averages: of successes over about 10 outcomes, of times over 8, of what is usual over 64. What
-- went wrong is forgotten by itself within minutes, because an instance that is given less work has less to show.
local OUTCOMES, ANSWERS, USUAL = 10, 8, 64
local FORGET_MS = 300000

local function note_outcome(instance, now, ok, took)
  local key = K.scope..'model:'..instance
  local n, success, latency, usual, at = string.match(redis.call('HGET', key, 'ew') or '', '^(%d+) (%S+) (%S+) (%S+) (%d+)$')
  n, success, latency, usual = (tonumber(n) or 0) + 1, tonumber(success) or 1, tonumber(latency) or 0, tonumber(usual) or 0
  success = 1 - (1 - success) * math.exp(((tonumber(at) or now) - now) / FORGET_MS)
  success = success + ((ok and 1 or 0) - success) / OUTCOMES
  if took then
    if usual == 0 then latency, usual = took, took end
    latency = latency + (took - latency) / ANSWERS
    usual = usual + (took - usual) / math.min(n, USUAL)
  end
  redis.call('HSET', key, 'ew', string.format('%d %.4f %.1f %.1f %.0f', n, success, latency, usual, now))
end
