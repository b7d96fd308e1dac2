#!lua flags=allow-oom
-- probe: look after the health of instances: begin the probes that are due, make one a paid one, end some.
-- Guarantee: an instance has at most one probe in the fleet; a probe holds permits as a job does, and they come back by themselves;
-- what it finds feeds the breaker exactly once, and while that is half open it is one of the probes that it allows.
-- KEYS  own prefix, queue prefix
-- ARGV  'start', lease ms, then for each instance: its name, ms between two looks at it
--   reply ms until to ask again, then for each probe that is to be made: instance, fence, '1' if the instance is not healthy
-- ARGV  'pay', lease ms, instance, fence, tokens it may need
--   reply fence, within how many ms of being asked for it has to be used or ''; or nothing: give it up, nothing is held
-- ARGV  'end', then for each probe: instance, fence, what it says of the instance ('ok', 'failed' or ''; 'unused': no call was made), for how many ms
--       that is out all the same (as finish), the outcome's code, tokens used or '' (nobody knows)
--   reply for each 'done' or 'late'
--@ guard time places scopes breaker outcomes probes
local now = server_now()
-- While an instance is half open it is looked at so often, should its interval be longer.
local SOON_MS = 5000

local function start(lease_ms)
  local names, every = {}, {}
  for i = 3, #ARGV, 2 do
    names[#names + 1] = ARGV[i]
    every[#every + 1] = tonumber(ARGV[i + 1])
  end
  lapse_probes(now)
  if #names == 0 then return { '' } end
  local looked, out = redis.call('ZMSCORE', K.checks, unpack(names)), redis.call('ZMSCORE', K.out, unpack(names))
  local again, reply = math.huge, {}
  for i, instance in ipairs(names) do
    local till, last = tonumber(out[i]), tonumber(looked[i])
    if not last then redis.call('ZADD', K.checks, now, instance) end
    local due = (last or now) + (till and math.min(every[i], SOON_MS) or every[i])
    if till and till > now then
      again = math.min(again, till)
    elseif due > now then
      again = math.min(again, due)
    else
      redis.call('ZADD', K.checks, now, instance)
      again = math.min(again, now + every[i])
      local s, all = scope('model:'..instance), scope('cluster:')
      local full = (s.limit > 0 and s.used >= s.limit) or (all.limit > 0 and all.used >= all.limit)
      if not full and s.not_before <= now and redis.call('HEXISTS', K.probes, instance) == 0 then
        for _, each in ipairs({ s, all }) do
          each.used = each.used + 1
          redis.call('HINCRBY', K.scope..each.name, 'cu', 1)
        end
        redis.call('HSET', K.scope..s.name, 'hp', now)
        reply[#reply + 1] = instance
        reply[#reply + 1] = hold_probe(instance, 'list', s.open_until and s.phase, 0, now, lease_ms)
        reply[#reply + 1] = (s.open_until or redis.call('HEXISTS', K.scope..s.name, 'bf') == 1) and '1' or ''
      end
    end
  end
  return { string.format('%.0f', again - now), unpack(reply) }
end

local function pay(lease_ms, instance, fence, tokens)
  if not release_probe(instance, fence, now) then return {} end
  local s, all = scope('model:'..instance), scope('cluster:')
  tokens = math.min(tokens, s.most_tokens or tokens, all.most_tokens or tokens)
  if not s.open_until and redis.call('HEXISTS', K.scope..s.name, 'bf') == 0 then return {} end
  if math.max(free_at(s, now, tokens, ''), free_at(all, now, tokens, '')) > now then return {} end
  local phase = s.open_until and s.phase
  local limited = s.tokens or all.tokens
  local own = hold_probe(instance, 'paid', phase, limited and tokens or 0, now, lease_ms)
  for _, each in ipairs({ s, all }) do use(each, tokens, 'probe:'..instance..' '..own) end
  write_scopes(now)
  local within = math.min(s.within or math.huge, all.within or math.huge)
  return { own, within < math.huge and tostring(within) or '' }
end

local function finish(instance, fence, verdict, rest_ms, code, tokens)
  local kind, phase = release_probe(instance, fence, now, tokens, verdict == 'unused')
  if not kind then return 'late' end
  local failed = verdict == 'failed'
  redis.call('HSET', K.scope..'model:'..instance, 'hr', code)
  if failed then
    instance_failed(instance, phase, now, rest_ms, code)
  elseif kind == 'paid' and verdict == 'ok' then
    instance_answered(instance, phase)
  elseif kind == 'paid' and phase ~= '' then
    probe_given_up(instance, phase)
  end
  if failed or (kind == 'paid' and verdict == 'ok') then note_outcome(instance, now, not failed) end
  return 'done'
end

if ARGV[1] == 'start' then return start(tonumber(ARGV[2])) end
if ARGV[1] == 'pay' then return pay(tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])) end
local reply = {}
for i = 2, #ARGV, 6 do
  reply[#reply + 1] = finish(ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4], tonumber(ARGV[i + 5]))
end
return reply
