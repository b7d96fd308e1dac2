#!lua flags=allow-oom
-- audit_queued: look again, in one step, at queued jobs that a walk along the lists did not meet, or met twice.
-- Guarantee: a job that is somewhere is not put anywhere else; of a job that is in two places one stays. Without '1' it writes nothing.
-- KEYS  own prefix, queue prefix
-- ARGV  '1' to mend or '', then
-- ARGV  'missing', '1' if its queue was walked along again and it was not met either, ids
--   reply findings; ids that may be deep in a long list: to be looked for again
-- ARGV  'twice', then for each: id, queue, and of each of two places: the number of the list (or 'parked'), at which index it was met,
--       how long the list was then
--   reply findings
--@ time places findings
mends = ARGV[1] == '1'
moment()
local NEAR, AROUND = 1000, 200
local OUT = 'taken out by the doctor'
local near_ends = {}

-- The ids near both ends of a list, and whether that is all of it.
local function near(list)
  local known = near_ends[list]
  if known then return known end
  known = { ids = {}, is_all = true }
  near_ends[list] = known
  local length = redis.pcall('LLEN', list)
  if type(length) == 'table' then return known end
  known.is_all = length <= 2 * NEAR
  for _, from in ipairs(known.is_all and { 0 } or { 0, -NEAR }) do
    for _, id in ipairs(redis.call('LRANGE', list, from, (known.is_all or from < 0) and -1 or NEAR - 1)) do known.ids[id] = true end
  end
  return known
end

local function is_parked(id, queue, node)
  return node and node ~= '' and score_of(K.parked..queue..' '..node, id)
end

-- 'here', 'nowhere' or 'deep'.
local function where(id, r)
  if is_parked(id, r[2], r[4]) then return 'here' end
  local said = 'nowhere'
  for number = 0, GUESTS do
    local known = near(list_of(r[2], number))
    if known.ids[id] then return 'here' end
    if not known.is_all then said = 'deep' end
  end
  return said
end

local function look_for(is_sure)
  local deep = {}
  for i = 4, #ARGV do
    local id = ARGV[i]
    local r = redis.pcall('HMGET', K.job..id, 'state', 'queue', 'priority', 'node')
    if not r.err and r[1] == 'queued' and (r[2] or '') ~= '' then
      local said = where(id, r)
      if said == 'nowhere' or said == 'deep' and is_sure then
        find('job-without-place', id, 'queued', mended(function() to_head(id, r[2], r[3], BY_DOCTOR) end))
      elseif said == 'deep' then
        deep[#deep + 1] = id
      end
    end
  end
  return { findings, deep }
end

-- The indexes at which an id is, around where it was met: counted from either end, because lists grow at one and shrink at the other.
local function add_indexes(found, list, id, index, length)
  local now_long = redis.pcall('LLEN', list)
  if type(now_long) == 'table' then return end
  for _, middle in ipairs({ index, now_long - (length - index) }) do
    local from = math.max(0, middle - AROUND)
    for k, other in ipairs(redis.call('LRANGE', list, from, math.max(0, middle + AROUND))) do
      if other == id then found[list..'\n'..string.format('%.0f', from + k - 1)] = { list, from + k - 1, now_long } end
    end
  end
end

local function take_out(place)
  redis.call('LSET', place[1], place[2], OUT)
  redis.call('LREM', place[1], place[2] < place[3] / 2 and 1 or -1, OUT)
end

local function one_stays(i)
  local id, queue, found = ARGV[i], ARGV[i + 1], {}
  local r = redis.pcall('HMGET', K.job..id, 'state', 'queue', 'node')
  if r.err or r[1] ~= 'queued' or r[2] ~= queue then return end
  for k = i + 2, i + 5, 3 do
    if ARGV[k] ~= 'parked' then add_indexes(found, list_of(queue, tonumber(ARGV[k])), id, tonumber(ARGV[k + 1]), tonumber(ARGV[k + 2])) end
  end
  local places = {}
  for _, place in pairs(found) do places[#places + 1] = place end
  table.sort(places, function(a, b) return a[1] < b[1] or a[1] == b[1] and a[2] < b[2] end)
  local first = is_parked(id, queue, r[3]) and 1 or 2
  if #places < first then return end
  if mends then
    for k = #places, first, -1 do take_out(places[k]) end
  end
  find(left_behind(id) and 'tombstone' or 'copy', id, (#places + 2 - first)..' times in '..queue, mends)
end

if ARGV[2] == 'missing' then return look_for(ARGV[3] == '1') end
for i = 3, #ARGV, 8 do one_stays(i) end
return { findings }
