#!lua flags=no-writes
-- lists: where jobs of these queues wait.
-- Guarantee: writes nothing.
-- KEYS  own prefix, queue prefix
-- ARGV  queue names
-- reply for each place that holds some: the queue, 'list' or 'parked', the number of the list or the node
--@ guard places
local reply, wanted = {}, {}
local function add(queue, place, of)
  for _, value in ipairs({ queue, place, of }) do reply[#reply + 1] = value end
end
for _, queue in ipairs(ARGV) do
  wanted[queue] = true
  for number = 0, GUESTS do
    if redis.call('EXISTS', list_of(queue, number)) == 1 then add(queue, 'list', tostring(number)) end
  end
end
for _, place in ipairs(redis.call('ZRANGE', K.parks, 0, -1)) do
  local queue, node = string.match(place, '^(%S+) (%S+)$')
  if wanted[queue] then add(queue, 'parked', node) end
end
return reply
