#!lua
-- take: start as many waiting jobs as this worker has room for and as have every permit, and hand out their leases.
-- Guarantee: a job leaves its queue and enters `running`, with all its permits, in this one step; what may not start
-- spends nothing. The same sequence answers with the same grants and starts nothing again; a newer one gives back
-- what was granted and never claimed.
-- KEYS  own prefix, queue prefix
-- ARGV  worker, sequence, last claimed sequence, wanted, how many of them at most under a rate, '1' if that fills the worker,
--       lease ms, adopting ms, poison, retention ms, inbox queue, '1' if a revision has to be in force, then for each queue: its name, its instances separated by commas
-- reply server time, ms until to ask again or '', queues whose keys are not lists, instances that are out, raw messages (count, then each), then 15 fields a grant:
--       id, queue, lease, instance, its home, request, node, target, deadline, created, attempts, foreign, options, trail,
--       within how many ms of being asked for it has to be used or ''
--@ guard time places
local worker, seq, claimed = ARGV[1], ARGV[2], ARGV[3]
local want, urgent, fills, lease_ms = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1', tonumber(ARGV[7])
local adopting_ms, poison, keep, inbox = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), ARGV[11]
local FIRST, MOST_RAWS, LOOK_AHEAD = 13, 50, 200
-- How much later than the worker that found a queue blocked the others ask again: one asks, the others are its spare.
local SPARE_MS = 250
-- A mark without a time of its own (a permit comes back when it does) runs out after this, should a wake-up get lost.
local LONGEST_MARK_MS = 1000
-- A job whose tokens do not come together for so long reserves them, and for how long unless it asks again.
local RESERVE_AFTER_MS, RESERVED_MS = 2000, 3000
-- A job whose lease lapsed so often may be what kills its workers. A worker has few such jobs at a time, and one more lapse later only one, so
-- that the guilty one takes few with it; the others are looked at again after this.
local SUSPECT_LAPSES, MOST_SUSPECTS, APART_MS = 2, 8, 250
-- A job larger than a limit that was lowered meanwhile stands aside, and is looked at again after this.
local NEVER_FITS_MS = 10000
local now = server_now()

-- Without a revision nobody knows what is allowed: somebody has emptied this Redis, and workers put theirs in force again.
if ARGV[12] == '1' and redis.call('EXISTS', K.revision) == 0 then return { string.format('%.0f', now), '1000', '', '', 0 } end

-- When this worker asks again about a queue that is marked until then.
local function asks_again(mark, at)
  return at + (string.find(mark, ' '..worker..' ', 1, true) and 0 or SPARE_MS)
end

local function remember(granted)
  if redis.call('HSET', K.taker..worker, 'seq', seq, 'out', granted) > 0 then redis.call('EXPIRE', K.taker..worker, 86400) end
end

-- The usual answer is no: nothing is due, nothing was left by the take before, and each queue is marked as blocked. It is given here,
-- before the rest of this script is even defined.
local before = redis.call('HMGET', K.taker..worker, 'seq', 'out')
local function refusal()
  local names, again = {}, math.huge
  for i = FIRST, #ARGV, 2 do names[#names + 1] = ARGV[i] end
  if before[1] and (before[1] ~= claimed or before[1] == seq) or #names == 0 or #names > 1000 then return end
  for _, due in ipairs({ K.running, K.delayed, K.parks, K.deadlines }) do
    local at = tonumber(redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2])
    if at and at <= now then return end
    if at and due ~= K.running and at < again then again = at end
  end
  local marks = redis.call('HMGET', K.blocked, unpack(names))
  for i = 1, #names do
    local at = marks[i] and tonumber(string.match(marks[i], '^%d+'))
    if not at or at <= now then return end
    if at < again then again = math.min(again, asks_again(marks[i], at)) end
  end
  for _, paused in ipairs(redis.call('SMISMEMBER', K.paused, unpack(names))) do
    if paused == 1 then return end
  end
  if has_jobs(inbox) then return end
  redis.call('SADD', K.idle..inbox, worker)
  remember('')
  local out = redis.call('ZRANGEBYSCORE', K.out, now, '+inf')
  return { string.format('%.0f', now), string.format('%.0f', math.max(0, again - now)), '', table.concat(out, ' '), 0 }
end
local no = refusal()
if no then return no end

--@ scopes breaker lease leaving turns heads members pace
local reply, raws, out = {}, {}, {}
local again, passed_over, broken = math.huge, 0, {}

local function tell(id, lease)
  local r = redis.call('HMGET', K.job..id, 'queue', 'instance', 'via', 'request', 'node', 'target', 'deadline', 'created',
    'attempts', 'foreign', 'options', 'trail', 'within')
  local function whole(value)
    local number = tonumber(value or '0')
    return string.format('%.0f', number and math.abs(number) < 2 ^ 53 and number or 0)
  end
  -- A record that somebody damaged is the attempt's to bury, and no other job's business.
  local row = { id, r[1] or '', lease, r[2] or '', r[3] or '', r[4] or '', r[5] or '', r[6] or '', whole(r[7]), whole(r[8]),
    whole(r[9]), r[10] or '', r[11] or '', r[12] or '', tonumber(r[13]) and whole(r[13]) or '' }
  for i = 1, 15 do reply[#reply + 1] = row[i] end
end

-- The previous take of this worker: repeat it, or give back what its lost reply granted.
local repeated = before[1] == seq
if before[1] and before[1] ~= claimed then
  for id, lease in string.gmatch(before[2], '(%S+) (%S+)') do
    local queue, priority = held(id, lease)
    if queue and repeated then
      tell(id, lease)
    elseif queue then
      give_back(id, lease, queue, now, 0, true)
      to_head(id, queue, priority, 'the reply of its take was lost')
    end
  end
end

-- Nothing of this queue may start: mark it, so that the next to ask is told at the cost of one field.
local function block(q, at, binds, full)
  q.closed = true
  for _, waiting in ipairs(full) do redis.call('SADD', waiting, q.name) end
  at = math.max(now + 1, math.min(at, now + LONGEST_MARK_MS))
  q.since = q.since or now
  if not q.partial then
    redis.call('HSET', K.blocked, q.name, string.format('%.0f %s %.0f %s', at, worker, q.since, binds))
  end
  redis.call('SADD', K.idle..q.name, worker)
  again = math.min(again, at)
end

local function park(id, q, node, at, created)
  redis.call('ZADD', K.parked..q.name..' '..node, created or now, id)
  redis.call('ZADD', K.parks, math.min(at, now + LONGEST_MARK_MS), q.name..' '..node)
  redis.call('SADD', K.waiting..'node:'..node, q.name)
  redis.call('HSET', K.job..id, 'waits', 'node:'..node, 'since', now)
  passed_over = passed_over + 1
end

-- No instance has its permits for the job at the head: it goes back there, and the queue is blocked. One that has waited long for
-- tokens reserves them, so that small jobs of other queues do not pass it for ever; one that fits no limit stands aside.
local function put_back(id, list, q, node, tokens_at, binds, full)
  if tokens_at == NEVER then
    redis.call('HSET', K.job..id, 'waits', binds, 'since', now)
    to_delay(id, q.name, 'queued', now + NEVER_FITS_MS, 'it fits no limit now', node and node.id)
    passed_over = passed_over + 1
    return
  end
  redis.call('RPUSH', list, id)
  for _, l in ipairs(q.lists) do
    if l.key == list then l.weight = nil end
  end
  if q.partial and not q.since then -- the queue has no mark that would know
    q.since = tonumber(redis.call('HGET', K.job..id, 'since') or now)
    redis.call('HSET', K.job..id, 'waits', binds, 'since', q.since)
  end
  block(q, tokens_at, binds, full)
  local s = scopes[binds]
  if s and s.tokens and now - q.since >= RESERVE_AFTER_MS and (not s.reserver or s.reserver == q.name) then
    local r = redis.call('HMGET', K.job..id, 'size')
    local most = 1
    for _, member in ipairs(q.members) do most = math.max(most, reservation(member, r[1])) end
    redis.call('HSET', K.scope..binds, 'vq', q.name, 'va', most, 'vu', now + RESERVED_MS)
  end
end

-- The next lease of a job: higher than all before, those included that a server has forgotten.
local epoch
local function mint(id)
  local lease = redis.call('HINCRBY', K.job..id, 'lease', 1)
  epoch = epoch or tonumber(redis.call('GET', K.epoch) or '0') or 0
  if lease > epoch then return lease end
  redis.call('HSET', K.job..id, 'lease', epoch + 1)
  return epoch + 1
end

-- A job is granted: it runs from now on. Without an instance it is only handed out to be sent elsewhere, and holds nothing.
local function hand_out(id, q, node, instance, home, names, more)
  local lease = mint(id)
  enter(id, 'queued', 'running', 'taken', node, 'queue', q.name, 'worker', worker, 'started', now,
    'instance', instance, 'via', home, 'scopes', names, 'within', more.within or '', 'reserved', more.reserved or '',
    'keeps', more.keeps and 1 or '',
    'probe', more.probe or '')
  redis.call('ZADD', K.running, now + lease_ms, id)
  redis.call('HINCRBY', K.counts, 'running:'..q.name, 1)
  tell(id, tostring(lease))
  out[#out + 1] = id..' '..lease
  q.since = nil
  return out[#out]
end

-- Handed out to be sent elsewhere, unless it was found lately that the job has to stay.
local function sent_elsewhere(id, q, node, stays)
  if (tonumber(stays) or 0) > now then return false end
  hand_out(id, q, node, '', '', '', {})
  return true
end

-- Whether a job that has left its list is not to start at all: it has ended meanwhile or waits in another queue, and only its id
-- was left behind here; or it ends here.
local function is_over(id, q, r)
  if r[1] ~= 'queued' or (r[9] and r[9] ~= q.name) or cancelled_instead(id, q.name, r[1], r[8], r[4]) then return true end
  local deadline = tonumber(r[2]) or 0
  if deadline <= 0 or deadline > now then return false end
  expired(id, q.name, 'queued', keep, r[4])
  return true
end

-- The jobs that this worker has and that may be what kills its workers ('id lease lapses;' each), and how many have lapsed once more.
local suspects
local function known_suspects()
  if suspects then return suspects end
  suspects = { rows = {}, worse = 0 }
  for row, id, lease, lapses in string.gmatch(redis.call('HGET', K.taker..worker, 'suspects') or '', '((%S+) (%S+) (%d+));') do
    if held(id, lease) then
      suspects.rows[#suspects.rows + 1] = row
      if tonumber(lapses) > SUSPECT_LAPSES then suspects.worse = suspects.worse + 1 end
    end
  end
  return suspects
end

local function has_room_for_suspect(lapses)
  local known = known_suspects()
  if lapses > SUSPECT_LAPSES then return #known.rows == 0 end
  return #known.rows < MOST_SUSPECTS and known.worse == 0
end

local function note_suspect(entry, lapses)
  local known = known_suspects()
  known.rows[#known.rows + 1] = entry..' '..lapses
  if lapses > SUSPECT_LAPSES then known.worse = known.worse + 1 end
  redis.call('HSET', K.taker..worker, 'suspects', table.concat(known.rows, ';')..';')
end

local function set_apart(id, q, node)
  to_delay(id, q.name, 'queued', now + APART_MS, 'it is run apart from others whose workers died', node)
  passed_over = passed_over + 1
  return 0
end

-- The job has every permit: it takes them, and runs.
local function grant(id, q, node, member, tokens, passed, lapses)
  local names, within = member.names, member.within or math.huge
  if node then names, within = names..' '..node.name, math.min(within, node.within or math.huge) end
  local is_urgent = within < math.huge
  local entry = hand_out(id, q, node and node.id, member.instance, member.home, names,
    { within = is_urgent and within, reserved = tokens > 0 and tokens, keeps = member.keeps,
      probe = member.model and member.model.open_until and member.model.phase })
  for _, s in ipairs(member.scopes) do
    use(s, tokens, entry)
    if s.reserver == q.name then redis.call('HDEL', K.scope..s.name, 'vq', 'va', 'vu') end
  end
  if node then use(node, tokens, entry) end
  took_turn(q, member, passed)
  if lapses >= SUSPECT_LAPSES then note_suspect(entry, lapses) end
  if is_urgent then urgent = urgent - 1 end
end

-- Somebody made something else of its record: what it was is lost.
local function bury_overwritten(id, q)
  set_aside(K.job..id)
  redis.call('HSET', K.job..id, 'queue', q.name, 'home', q.name, 'created', now)
  to_end(id, q.name, nil, 'dead', 'error', '{"code":"unreadable","message":"its record was overwritten in Redis"}', keep, 'unreadable')
end

-- One job that has left its list: start it, unless it is over, its node has no permit, or no instance that it does not avoid has
-- one. When all instances of its queue are out it is handed out to be sent elsewhere, unless it was found lately that it has to
-- stay: then it is put aside. Returns 1 if it was handed out.
local function start(id, list, q, all_out)
  local r = redis.pcall('HMGET', K.job..id, 'state', 'deadline', 'avoid', 'node', 'created', 'size', 'stays', 'cancel',
    'queue', 'lapses')
  if r.err then bury_overwritten(id, q) return 0 end
  if is_over(id, q, r) then
    passed_over = passed_over + 1 -- a backlog that has expired is worked off in many steps
    return 0
  end
  local lapses = tonumber(r[10]) or 0
  if lapses >= SUSPECT_LAPSES and not has_room_for_suspect(lapses) then return set_apart(id, q, r[4]) end
  if all_out then
    if sent_elsewhere(id, q, r[4], r[7]) then return 1 end
    q.aside[#q.aside + 1] = { list, id }
    return 0
  end
  local node = r[4] and r[4] ~= '' and scope('node:'..r[4])
  local at = now
  if node then
    node.id = r[4]
    at = free_at(node, now, 1, q.name)
    if at > now then park(id, q, node.id, at, r[5]) return 0 end
  end
  local member, tokens, binds, full, others_out, passed = next_member(q, ','..(r[3] or '')..',', r[6] or '', node)
  if not member and others_out then
    -- What it does not avoid is out: rather than hold up the queue it goes elsewhere, or where it has failed already.
    if sent_elsewhere(id, q, r[4], r[7]) then return 1 end
    member, tokens, binds, full, others_out, passed = next_member(q, ',,', r[6] or '', node)
  end
  if not member then
    put_back(id, list, q, node, tokens, binds, full)
    return 0
  end
  if node and node.tokens then at = free_at(node, now, tokens, q.name) end
  if at > now then park(id, q, node.id, at, r[5]) return 0 end
  grant(id, q, node or nil, member, tokens, passed, lapses)
  return 1
end

local function adopt(raw)
  passed_over = passed_over + 1
  redis.call('ZADD', K.adopting, now + adopting_ms, raw)
  raws[#raws + 1] = raw
end

-- The queues that may have something to start: of this revision, neither paused nor marked as blocked. A worker that has not heard of the
-- revision yet may ask for others, whose jobs stay where they are.
local function open_queues(queues)
  local names, open = {}, {}
  for i, q in ipairs(queues) do names[i] = q.name end
  local marks, paused, dropped, has_plans = {}, {}, {}, redis.call('EXISTS', K.plans) == 1
  for first = 1, #names, 1000 do -- Lua unpacks no more than some thousands
    local last = math.min(first + 999, #names)
    local m, p = redis.call('HMGET', K.blocked, unpack(names, first, last)), redis.call('SMISMEMBER', K.paused, unpack(names, first, last))
    local served = has_plans and redis.call('SMISMEMBER', K.plans, unpack(names, first, last))
    for i = 1, last - first + 1 do
      marks[first + i - 1], paused[first + i - 1], dropped[first + i - 1] = m[i], p[i], served and served[i] == 0
    end
  end
  for i, q in ipairs(queues) do
    local mark = marks[i]
    local at = mark and tonumber(string.match(mark, '^%d+')) or 0
    if dropped[i] then
      q.closed = true
    elseif paused[i] == 1 then
      redis.call('SADD', K.idle..q.name, worker)
    elseif at > now then
      if at < again then again = math.min(again, asks_again(mark, at)) end
    else
      q.marked, q.since = mark and true, mark and tonumber(string.match(mark, '^%d+ %S+ (%d+)'))
      open[#open + 1] = q
    end
  end
  return open
end

local function empty(q)
  q.closed = true
  if q.marked then redis.call('HDEL', K.blocked, q.name) end
  redis.call('SADD', K.idle..q.name, worker)
end

-- One turn of one queue: its share of what is wanted. Returns how many were started.
local function serve(q, share)
  local started, held_back = 0, nil
  q.started, q.aside = q.started or 0, {}
  while started < share and not q.closed and passed_over < LOOK_AHEAD and #q.aside < LOOK_AHEAD do
    local member, at, binds, full, all_out = next_member(q, '')
    if not member and not all_out then
      block(q, at, binds, full)
    elseif member and member.within and urgent <= 0 then
      return started -- for another worker
    else
      local id, list = pop(q)
      if not id then
        empty(q)
      elseif string.sub(id, 1, 1) == '{' then
        adopt(id)
      else
        q.popped = { list, id }
        local more = start(id, list, q, all_out)
        q.popped = nil
        started, q.started = started + more, q.started + more
      end
    end
    if all_out and (q.closed or #q.aside >= LOOK_AHEAD) then
      held_back = { at, binds, full }
      break
    end
  end
  if #q.aside > 0 then
    for i = #q.aside, 1, -1 do redis.call('RPUSH', q.aside[i][1], q.aside[i][2]) end
    q.aside, q.lists = {}, nil
    if held_back then block(q, unpack(held_back)) end
  end
  return started
end

-- As `serve`; what somebody has written to Redis may be such that it fails. The other queues are served all the same, and the job that
-- was about to start is the first of its queue as before.
local function served(q, share)
  local before = q.started or 0
  local ok, more = pcall(serve, q, share)
  if ok then return more end
  q.closed, q.broken = true, true
  unguarded.log(unguarded.LOG_WARNING, 'echelon take, queue '..q.name..': '..tostring(type(more) == 'table' and more.err or more))
  local popped = q.popped
  if popped and redis.call('HGET', K.job..popped[2], 'state') == 'queued' then redis.call('RPUSH', popped[1], popped[2]) end
  for i = #(q.aside or {}), 1, -1 do redis.call('RPUSH', q.aside[i][1], q.aside[i][2]) end
  q.aside = {}
  return (q.started or 0) - before
end

if not repeated then
  lapse(now, 20, poison, keep)
  promote(now, 100)
  expire(now, 50, keep)
  local queues = {}
  local odd = tonumber(seq) % 2 == 1
  for i = FIRST, #ARGV, 2 do queues[#queues + 1] = { name = ARGV[i], instances = ARGV[i + 1], guests_next = odd } end
  local box = { name = inbox }
  while #raws < MOST_RAWS do
    local raw = pop(box)
    if not raw then empty(box) break end
    adopt(raw)
  end
  if box.broken then broken[1] = box.name end
  local open, busy = open_queues(queues), {}
  for _, q in ipairs(open) do
    if has_jobs(q.name) then busy[#busy + 1] = q else empty(q) end
  end
  -- In turns of one share a queue, so that no queue fills a worker that serves several.
  local started, share = 0, math.max(1, math.floor(want / math.max(1, #busy)))
  local progress = true
  while progress and started < want do
    progress = false
    for _, q in ipairs(busy) do
      local more = served(q, math.min(share, want - started))
      started, progress = started + more, progress or more > 0
    end
  end
  if passed_over >= LOOK_AHEAD then again = now + 1 end -- there may be more behind those that were parked
  write_scopes(now)
  write_turns(busy)
  for _, q in ipairs(busy) do
    if q.started and q.started > 0 then keep_pace(q.name, q.started, now) end
    if q.broken then broken[#broken + 1] = q.name end
    if q.marked and not q.since then redis.call('HDEL', K.blocked, q.name) end
    if not q.closed and has_jobs(q.name) then wake(q.name, 1) end
  end
  -- A permit that came back for a queue which had no use for it is there for another one.
  for name, s in pairs(scopes) do
    if s.limit > s.used then pass_on(K.waiting, name, now) end
  end
  if fills and started >= want then
    for _, q in ipairs(queues) do redis.call('SREM', K.idle..q.name, worker) end
  end
  remember(table.concat(out, ' '))
end

local due = redis.call('ZRANGE', K.delayed, 0, 0, 'WITHSCORES')[2]
local look = redis.call('ZRANGE', K.parks, 0, 0, 'WITHSCORES')[2]
local expires = redis.call('ZRANGE', K.deadlines, 0, 0, 'WITHSCORES')[2]
again = math.min(again, tonumber(due) or again, tonumber(look) or again, tonumber(expires) or again)
local head = { string.format('%.0f', now), again < math.huge and string.format('%.0f', math.max(0, again - now)) or '',
  table.concat(broken, ' '), table.concat(redis.call('ZRANGEBYSCORE', K.out, now, '+inf'), ' '), #raws }
for _, raw in ipairs(raws) do head[#head + 1] = raw end
for _, field in ipairs(reply) do head[#head + 1] = field end
return head
