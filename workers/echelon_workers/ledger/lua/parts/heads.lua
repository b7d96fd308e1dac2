-- The heads of a queue's lists: which job comes next.
-- A job waits so long before it counts as one of the next higher priority.
local AGEING_MS = 60000

-- The lists of a queue that hold something, highest priority first.
local function lists_of(q)
  if q.lists then return q.lists end
  q.lists = {}
  local higher = higher_lists(q.name)
  if redis.call('EXISTS', unpack(higher)) > 0 then
    for i, list in ipairs(higher) do
      if redis.call('EXISTS', list) == 1 then q.lists[#q.lists + 1] = { key = list, priority = GUESTS + 1 - i, guests = i == 1 } end
    end
  end
  local plain = list_of(q.name, 0)
  if redis.call('EXISTS', plain) == 1 then q.lists[#q.lists + 1] = { key = plain, priority = 0 } end
  return q.lists
end

-- What the head of a list counts: its priority, and one more for every minute that it has waited. A message of a foreign producer
-- goes first: it is only adopted.
local function weight_of(list)
  if list.weight then return list.weight end
  local id = redis.pcall('LINDEX', list.key, -1)
  if type(id) ~= 'string' or string.sub(id, 1, 1) == '{' then
    list.weight = math.huge
  else
    local created = redis.pcall('HGET', K.job..id, 'created')
    list.weight = list.priority + (this_moment - (type(created) == 'string' and tonumber(created) or this_moment)) / AGEING_MS
  end
  return list.weight
end

-- Which of the lists comes next: guests and a queue's own jobs take turns; of its own the head that counts most.
local function next_list(q, lists)
  if lists[1].guests and #lists > 1 then
    q.guests_next = not q.guests_next
    if q.guests_next then return 1 end
  end
  local best = lists[1].guests and #lists > 1 and 2 or 1
  for i = best + 1, #lists do
    if weight_of(lists[i]) > weight_of(lists[best]) then best = i end
  end
  return best
end

-- The next id of a queue and the list it came from. A key that is not a list (somebody wrote to it) is reported, and the
-- other queues are served.
local function pop(q)
  local lists = lists_of(q)
  while #lists > 0 do
    local best = next_list(q, lists)
    local id = redis.pcall('RPOP', lists[best].key)
    lists[best].weight = nil
    if type(id) == 'table' then
      q.broken = true
      return nil
    end
    if id then return id, lists[best].key end
    table.remove(lists, best)
  end
end
