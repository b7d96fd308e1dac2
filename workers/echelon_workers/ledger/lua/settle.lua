#!lua flags=allow-oom
-- settle: every way a granted job can end in Celery without an outcome of its own. No attempt is spent; of a grant that was not
-- used (no call was made), nothing is.
-- Guarantee: exactly once, as finish.
-- KEYS  own prefix, queue prefix
-- ARGV  retention ms, then for each job: id, lease, ending (return | unused | bury | cancel), reason as JSON, foreign result or ''
-- reply for each job: 'done' or 'late'
--@ guard time places scopes breaker lease
local now = server_now()
local reply = {}
for i = 2, #ARGV, 5 do
  local id, lease, ending = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local queue, priority, cancel = held(id, lease)
  if not queue then
    reply[#reply + 1] = priority
  else
    give_back(id, lease, queue, now, nil, ending == 'unused')
    if ending == 'return' or ending == 'unused' then
      to_head(id, queue, priority, ending == 'unused' and 'its grant was not used' or 'its worker gave it back')
    else
      if not cancelled_instead(id, queue, 'running', cancel) then
        local state, cause = 'cancelled', 'cancelled'
        if ending == 'bury' then state, cause = 'dead', 'it could not be run' end
        to_end(id, queue, 'running', state, 'error', ARGV[i + 3], tonumber(ARGV[1]), cause)
        foreign_result(id, ARGV[i + 4])
      end
    end
    reply[#reply + 1] = 'done'
  end
end
return reply
