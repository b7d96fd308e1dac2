#!lua flags=allow-oom
-- audit: one page of what is in Redis, held against the life of a job (docs/job-life.md), and mended where that is asked for.
-- Guarantee: what it finds is wrong at this moment, all of it within this one step; a page is bounded. Without '1' it writes nothing.
-- KEYS  own prefix, queue prefix
-- ARGV  '1' to mend or '', then
-- ARGV  'begin', then names of keys and the type of each
--   reply findings; now; and, if the types are right: `counts` (field, value, ...), queues of the revision, dropped ones
-- ARGV  'records', cursor, how many keys, since, for how many ms what has ended is kept
--   reply findings; the next cursor; how many records; groups of jobs: a word a line their state (or 'else'), 'old' (as it was
--         at `since`), 'new' (made after that) or 'maybe', 'parked' or 'listed', queue, node; then their ids; other keys, and their types
-- ARGV  'list', queue, number, from, how many
--   reply findings; the length of the list; '1' if this was its end; its ids without those taken out ('' for one that is wrong there)
-- ARGV  'zset', 'running', 'delayed', 'dead', 'deadlines' or 'parked', queue, node, cursor, how many
--   reply findings; the next cursor
-- ARGV  'expiring', then keys and for how many ms each is to last
--   reply findings
--@ time places scopes breaker lease leaving findings
mends = ARGV[1] == '1'
local now = moment()
local OUT = 'taken out by the doctor'
-- A lease that lapsed so long ago has nobody to reap it.
local LONG_LAPSED_MS = 30000
local LONGEST_STAY_MS = 3600000

local FIELDS = { 'state', 'queue', 'home', 'priority', 'node', 'deadline', 'created', 'at', 'ended', 'cancel', 'stays', 'waits', 'redrive',
  'lease', 'attempts', 'lapses' }

local function read(id)
  local v = redis.pcall('HMGET', K.job..id, unpack(FIELDS))
  if v.err then return nil end
  return { state = v[1], queue = v[2], home = v[3], priority = v[4], node = v[5], deadline = v[6], created = v[7], at = v[8], ended = v[9],
    cancel = v[10], stays = v[11], waits = v[12], redrive = v[13], lease = v[14], attempts = v[15], lapses = v[16] }
end

-- What a script would stumble over: its name, and what is right.
local function damage(r)
  local wrong, right = {}, {}
  local function mend(name, value)
    wrong[#wrong + 1] = name
    right[#right + 1] = name
    right[#right + 1] = value
  end
  if not r.queue or r.queue == '' then mend('queue', r.home) end
  if not whole(r.priority) or tonumber(r.priority) < 0 or tonumber(r.priority) > 9 then mend('priority', 0) end
  if not whole(r.created) then mend('created', string.format('%.0f', now)) end
  if not r.home or r.home == '' then mend('home', r.queue) end
  if r.lease and not whole(r.lease) or not r.lease and r.state == 'running' then mend('lease', string.format('%.0f', now)) end
  if r.attempts and not whole(r.attempts) then mend('attempts', 0) end
  if r.lapses and not whole(r.lapses) then mend('lapses', 0) end
  return wrong, right
end

-- A record that says of no place where it is: its fields say what it was.
local function restate(id, r)
  if r.ended then
    local has_answer = redis.call('HEXISTS', K.job..id, 'answer') == 1
    return enter(id, nil, has_answer and 'answered' or 'dead', BY_DOCTOR, r.node)
  end
  into_list('RPUSH', id, r.queue, r.home ~= r.queue and GUESTS or tonumber(r.priority), nil, BY_DOCTOR, r.node)
end

local function back_to_head(id, r)
  if r.state == 'running' then
    redis.call('HSETNX', K.job..id, 'instance', '')
    local held = redis.call('HMGET', K.job..id, 'scopes', 'instance')
    for name in string.gmatch(held[1] or '', '[^ ]+') do sane(K.scope..name, 'cu') end
    sane(K.scope..'model:'..held[2], 'bp')
    give_back(id, r.lease, r.queue, now)
  elseif r.state == 'delayed' then
    redis.call('HINCRBY', K.counts, 'delayed:'..r.queue, -1)
  end
  to_head(id, r.queue, r.priority, BY_DOCTOR)
end

local function audit_ended(id, r, keep)
  if redis.call('PTTL', K.job..id) == -1 then
    if mends then redis.call('PEXPIRE', K.job..id, keep) end
    find('kept-for-ever', id, r.state, mends)
  end
  local ended = tonumber(r.ended) or now
  -- One that ended longer ago has left the index, and its record goes by itself.
  if r.state == 'dead' and now - ended < keep - 60000 and not score_of(K.dead, id) then
    if mends then redis.call('ZADD', K.dead, ended, id) end
    find('dead-not-listed', id, '', mends)
  end
end

local function audit_alive(id, r)
  if redis.call('PTTL', K.job..id) >= 0 then
    if mends then redis.call('PERSIST', K.job..id) end
    find('expires-alive', id, r.state, mends)
  end
  local deadline = tonumber(r.deadline) or 0
  if deadline > 0 and not score_of(K.deadlines, id) then
    if mends then redis.call('ZADD', K.deadlines, string.format('%.0f', deadline), id) end
    find('deadline-not-watched', id, '', mends)
  end
  if (tonumber(r.stays) or 0) > now + LONGEST_STAY_MS then
    if mends then redis.call('HSET', K.job..id, 'stays', 0) end
    find('stays-left', id, r.stays, mends)
  end
end

-- A job that waits. Whether a list has it cannot be said here.
local function audit_waiting(id, r, is_parked)
  if r.cancel then
    local asked = string.match(r.cancel, '^%d+ .+$') or '86400000 {"code":"cancelled"}'
    find('cancel-left', id, r.state, mended(function()
      leave(id, r)
      sane(K.totals..r.queue, 'cancelled')
      cancelled_instead(id, r.queue, r.state, asked, r.node)
    end))
  elseif r.state == 'queued' and r.waits and not is_parked and string.sub(r.waits, 1, 5) == 'node:' then
    if mends then redis.call('HDEL', K.job..id, 'waits', 'since') end
    find('waits-left', id, r.waits, mends)
  end
end

-- One record; returns it as it is now, nil where nothing can be said of it, and whether it is parked.
local function audit_record(id, keep)
  local r = read(id)
  if not r then
    find('record-wrong-type', id, redis.call('TYPE', K.job..id).ok)
    return nil
  end
  local is_known = r.state and LIFE[r.state]
  if is_known and ENDED[r.state] then
    audit_ended(id, r, keep)
    return r
  end
  if redis.call('EXISTS', K.job..id) == 0 then return nil end
  local wrong, right = damage(r)
  if (r.queue or '') == '' and (r.home or '') == '' then
    find('record-unreadable', id, 'it names no queue')
    return nil
  end
  if #wrong > 0 then
    if mends then redis.call('HSET', K.job..id, unpack(right)) end
    find('record-damaged', id, table.concat(wrong, ' '), mends)
    if not mends then return nil end
    r = read(id)
  end
  if not is_known then
    local is_mended = mended(function() restate(id, r) end)
    find('state-lost', id, r.state or '', is_mended)
    if not is_mended then return nil end
    r = read(id)
    if ENDED[r.state] then
      audit_ended(id, r, keep)
      return r
    end
  end
  local place = (r.state == 'running' and K.running) or (r.state == 'delayed' and K.delayed)
  if place and not score_of(place, id) then
    local is_mended = mended(function() back_to_head(id, r) end)
    find('job-without-place', id, r.state, is_mended)
    if not is_mended then return nil end
    r = read(id)
  end
  local is_parked = r.state == 'queued' and r.node and r.node ~= '' and score_of(K.parked..r.queue..' '..r.node, id)
  audit_alive(id, r)
  if r.state ~= 'running' then
    audit_waiting(id, r, is_parked)
    if mends and r.cancel then r = read(id) end
  end
  return r, is_parked
end

local function pattern_of(prefix) return string.gsub(prefix, '[%*%?%[%]%^\\]', '\\%0')..'*' end

local function audit_records(cursor, most, since, keep)
  local page = redis.call('SCAN', cursor, 'MATCH', pattern_of(KEYS[1]), 'COUNT', most)
  local groups, others, records, first = {}, {}, 0, #K.job + 1
  for _, key in ipairs(page[2]) do
    if string.sub(key, 1, #K.job) ~= K.job then
      others[#others + 1] = key
      others[#others + 1] = redis.call('TYPE', key).ok
    else
      records = records + 1
      local id = string.sub(key, first)
      local r, is_parked = audit_record(id, keep)
      if r then
        local created, at = tonumber(r.created) or 0, tonumber(r.at) or 0
        local when = at < since and 'old' or (created > since and not r.redrive) and 'new' or 'maybe'
        local waits = r.state == 'queued' or r.state == 'delayed'
        if waits or when == 'maybe' then
          local name = table.concat({ waits and r.state or 'else', when, is_parked and 'parked' or 'listed', r.queue or '', r.node or '' }, '\n')
          local group = groups[name]
          if not group then
            group = {}
            groups[name] = group
          end
          group[#group + 1] = id
        end
      end
    end
  end
  local flat = {}
  for name, ids in pairs(groups) do
    flat[#flat + 1] = name
    flat[#flat + 1] = ids
  end
  return { findings, page[1], records, flat, others }
end

-- What is wrong with an id in a list of this queue, if something is.
local function out_of_place(id, queue)
  local r = redis.pcall('HMGET', K.job..id, 'state', 'queue')
  if r.err then return nil end
  if not r[1] then return redis.call('EXISTS', K.job..id) == 0 and 'place-without-job' or nil, 'no record' end
  if r[1] ~= 'queued' then return (r[1] == 'cancelled' or r[1] == 'expired') and 'tombstone' or 'place-without-job', 'it is '..r[1] end
  if r[2] and r[2] ~= '' and r[2] ~= queue then return 'misplaced', 'it belongs to '..r[2] end
end

local function wrong_in_list(id, queue, is_second)
  local code, detail = out_of_place(id, queue)
  if not code and is_second then code, detail = 'copy', 'twice' end
  return code and left_behind(id) and 'tombstone' or code, detail
end

local function audit_list(queue, number, from, most)
  local list = list_of(queue, number)
  local ids = redis.pcall('LRANGE', list, from, from + most - 1)
  if ids.err then
    find('queue-no-list', queue, redis.call('TYPE', list).ok)
    return { findings, 0, '1', {} }
  end
  local length, shown, out, seen = redis.call('LLEN', list), {}, 0, {}
  for i, id in ipairs(ids) do
    local code, detail
    if string.sub(id, 1, 1) ~= '{' then
      code, detail = wrong_in_list(id, queue, seen[id])
      seen[id] = not code or seen[id]
    end
    if code then
      find(code, id, detail..(detail == 'twice' and ' in ' or ', in ')..queue, mends)
      if mends then
        redis.call('LSET', list, from + i - 1, OUT)
        out = out + 1
      end
      if not mends then shown[#shown + 1] = '' end
    else
      shown[#shown + 1] = string.sub(id, 1, 1) == '{' and '' or id
    end
  end
  if out > 0 then redis.call('LREM', list, from < length / 2 and out or -out, OUT) end
  return { findings, length - out, #ids < most and '1' or '', shown }
end

-- Which state those in a sorted set have; what else would be right of those that are parked.
local function wrong_in_zset(name, id, score, queue, node)
  local r = redis.pcall('HMGET', K.job..id, 'state', 'queue', 'node', 'worker')
  if r.err then return nil end
  if not r[1] then
    if redis.call('EXISTS', K.job..id) == 1 then return nil end
    return name == 'dead' and 'dead-gone' or 'place-without-job', 'no record'
  end
  if name == 'parked' then
    -- An id that was left behind may have been parked, and its job have started from its other place.
    local code = left_behind(id) and 'tombstone' or 'place-without-job'
    if r[1] ~= 'queued' then return code, 'it is '..r[1] end
    if (r[2] or '') ~= '' and r[2] ~= queue then return code, 'it belongs to '..r[2] end
    if r[3] ~= node then return 'place-without-job', 'it is not under that node' end
  elseif name == 'deadlines' then
    if ENDED[r[1]] then return 'place-without-job', 'it is '..r[1] end
  elseif r[1] ~= name then
    return 'place-without-job', 'it is '..r[1]
  elseif name == 'running' and tonumber(score) < now - LONG_LAPSED_MS and redis.call('EXISTS', K.worker..(r[4] or '')) == 0 then
    return 'lease-without-holder', string.format('lapsed %.0f s ago, held by %s', (now - tonumber(score)) / 1000, r[4] or '?'), true
  end
end

local function audit_zset(name, queue, node, cursor, most)
  local place = queue..' '..node
  local key = name == 'parked' and K.parked..place or K[name]
  local page = redis.pcall('ZSCAN', key, cursor, 'COUNT', most)
  if page.err then return { findings, '0' } end
  for i = 1, #page[2], 2 do
    local id, score = page[2][i], page[2][i + 1]
    local code, detail, stays = wrong_in_zset(name, id, score, queue, node)
    if code then
      if mends and not stays then redis.call('ZREM', key, id) end
      find(code, id, name == 'running' and stays and detail or detail..', in '..name, mends and not stays)
    end
  end
  if name == 'parked' and redis.call('EXISTS', key) == 1 and not score_of(K.parks, place) then
    if mends then redis.call('ZADD', K.parks, now, place) end
    find('parked-not-watched', place, '', mends)
  end
  return { findings, page[1] }
end

local function audit_expiring()
  for i = 3, #ARGV, 2 do
    if redis.call('PTTL', ARGV[i]) == -1 then
      if mends then redis.call('PEXPIRE', ARGV[i], ARGV[i + 1]) end
      find('entry-for-ever', ARGV[i], '', mends)
    end
  end
  return { findings }
end

-- Counters that are no numbers.
local function audit_numbers()
  for _, name in ipairs(redis.call('HKEYS', K.counts)) do
    local said = sane(K.counts, name)
    if said then find('counter', name, 'it says '..said..', which is no number', true) end
  end
end

-- Queues that were paused or drain, and are none.
local function audit_orders(known)
  for _, order in ipairs({ 'paused', 'draining' }) do
    for _, queue in ipairs(redis.call('SMEMBERS', K[order])) do
      if not known[queue] then find('order-for-nothing', queue, order) end
    end
  end
end

local function begin()
  for i = 3, #ARGV, 2 do
    local is = redis.call('TYPE', K[ARGV[i]]).ok
    if is ~= 'none' and is ~= ARGV[i + 1] then find('key-wrong-type', K[ARGV[i]], is..', not '..ARGV[i + 1]) end
  end
  if #findings > 0 then return { findings, string.format('%.0f', now) } end
  if mends then audit_numbers() end
  local plans, dropped, known = redis.call('SMEMBERS', K.plans), redis.call('SMEMBERS', K.dropped), {}
  for _, names in ipairs({ plans, dropped }) do
    for _, name in ipairs(names) do known[name] = true end
  end
  if #plans > 0 then audit_orders(known) end
  local ahead = tonumber(redis.call('GET', K.ahead) or '0') or 0
  if ahead > 0 then find('clock-ahead', K.ahead, string.format('%.1f s', ahead / 1000)) end
  local held = redis.call('HGETALL', K.probes)
  for i = 1, #held, 2 do
    if held[i] ~= '' and not score_of(K.probing, held[i]) then
      if mends then redis.call('ZADD', K.probing, now, held[i]) end
      find('probe-for-ever', held[i], held[i + 1], mends)
    end
  end
  return { findings, string.format('%.0f', now), redis.call('HGETALL', K.counts), plans, dropped }
end

local what = ARGV[2]
if what == 'records' then return audit_records(ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])) end
if what == 'list' then return audit_list(ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])) end
if what == 'zset' then return audit_zset(ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])) end
if what == 'expiring' then return audit_expiring() end
return begin()
