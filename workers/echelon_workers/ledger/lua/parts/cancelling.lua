-- Cancelling one job, whatever it is doing.
local DAY_MS, REVOKED = 86400000, '{"code":"cancelled","message":"its sender revoked it"}'

-- 'cancelled'; 'stopping': its worker is told, and closes its call; the state it has ended in; or 'unknown'.
local function cancel(id, keep, reason)
  local r = place_of(id)
  if not r then return 'unknown' end
  if r.state == 'queued' or r.state == 'delayed' then
    leave(id, r)
    to_end(id, r.queue, r.state, 'cancelled', 'error', reason, keep, 'cancelled', r.node)
    foreign_revoked(id)
    return 'cancelled'
  end
  if r.state ~= 'running' then return r.state end
  local holder = redis.call('HMGET', K.job..id, 'worker', 'lease')
  redis.call('HSETNX', K.job..id, 'cancel', string.format('%.0f ', keep)..reason)
  redis.call('PUBLISH', K.unwanted..(holder[1] or ''), id..' '..(holder[2] or ''))
  return 'stopping'
end
