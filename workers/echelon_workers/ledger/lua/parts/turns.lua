-- Turns: which member of a queue is asked next. There are three ways; a queue's plan says which is its own.
--   rotate        one after the other; how many turns there were is kept in `cursor` (a plan that says nothing)
--   =least;       the one whose instance was granted longest ago, by any queue of the fleet (`recent`); ties in the plan's order
--   =score ...;   in shares as its score, evenly spread: nginx's smooth weighted round robin (`ngx_http_upstream_get_peer` in its
--                 ngx_http_upstream_round_robin.c). Every pick adds to each instance its score, takes the highest, and takes the sum
--                 of them from that one. Scores come from `scores:QUEUE`, else from the plan; what they have added up to is
--                 kept in `cursor`.
-- A member that has no permit is passed over, and saves up nothing meanwhile.
local LEAST_SHARE_OF_TURNS = 0.001
local last_grants, changed, grants = {}, {}, nil

-- The number of the last grant of an instance.
local function last_grant(instance)
  local number = last_grants[instance]
  if not number then
    number = tonumber(redis.call('HGET', K.recent, instance) or '0')
    last_grants[instance] = number
  end
  return number
end

local function pairs_of(text)
  local found = {}
  for name, number in string.gmatch(text or '', '([^= ]+)=(%S+)') do found[name] = tonumber(number) end
  return found
end

-- The instances of a queue with their shares of the turns, which add up to 1, and what each is ahead or behind.
local function load_scores(q, plan, weights, kept)
  local scores, sum = pairs_of(weights), 0
  local published = redis.call('HGETALL', K.scores..q.name)
  for i = 1, #published, 2 do scores[published[i]] = tonumber(published[i + 1]) end
  q.shares, q.ahead = {}, {}
  for instance, ahead in pairs(pairs_of(kept)) do
    -- This worker may have no key for it; another one has.
    if string.find(plan, ';'..instance..' ', 1, true) then q.ahead[instance] = ahead end
  end
  for _, member in ipairs(q.members) do
    if not q.shares[member.instance] then
      q.shares[member.instance] = math.max(0, scores[member.instance] or 1)
      q.ahead[member.instance] = q.ahead[member.instance] or 0
      sum = sum + q.shares[member.instance]
    end
  end
  for instance, score in pairs(q.shares) do
    q.shares[instance] = math.max(LEAST_SHARE_OF_TURNS, sum > 0 and score / sum or 0)
  end
end

local function load_turns(q, plan)
  local way, weights = string.match(plan, '^=(%a+) ?([^;]*);')
  local kept = way ~= 'least' and redis.call('HGET', K.cursor, q.name)
  q.way = way
  if way == 'score' then
    load_scores(q, plan, weights, kept)
  else
    q.turn = tonumber(kept or '0') or 0
  end
end

-- Whether the turn is rather this member's than that one's.
local function goes_before(q, one, other)
  if q.way == 'least' then return last_grant(one.instance) < last_grant(other.instance) end
  return q.ahead[one.instance] + q.shares[one.instance] > q.ahead[other.instance] + q.shares[other.instance]
end

-- The member that is asked as the i-th; `passed`: those that were asked before, where they do not just rotate.
local function in_turn(q, i, passed)
  if not passed then return q.members[(q.turn + i - 1) % #q.members + 1] end
  local first
  for _, member in ipairs(q.members) do
    if not passed[member] and (not first or goes_before(q, member, first)) then first = member end
  end
  passed[first] = true
  return first
end

-- A member has taken its turn; `passed`: those that were asked before it and had no permit.
local function took_turn(q, member, passed)
  if not q.way then
    q.turn = q.turn + (member.place - 1 - q.turn) % #q.members + 1
  elseif q.way == 'score' then
    local sum, counted = 0, {}
    for _, other in ipairs(q.members) do
      if (other == member or not passed[other]) and not counted[other.instance] then
        counted[other.instance] = true
        sum = sum + q.shares[other.instance]
        q.ahead[other.instance] = q.ahead[other.instance] + q.shares[other.instance]
      end
    end
    q.ahead[member.instance] = q.ahead[member.instance] - sum
  end
  if member.ordered then
    grants = (grants or tonumber(redis.call('HGET', K.recent, '') or '0')) + 1
    last_grants[member.instance], changed[member.instance] = grants, true
  end
  q.turned = true
end

local function write_turns(queues)
  for _, q in ipairs(queues) do
    if q.turned and q.way == 'score' then
      local kept = {}
      for instance, ahead in pairs(q.ahead) do kept[#kept + 1] = string.format('%s=%.6f', instance, ahead) end
      redis.call('HSET', K.cursor, q.name, table.concat(kept, ' '))
    elseif q.turned and not q.way then
      redis.call('HSET', K.cursor, q.name, q.turn)
    end
  end
  if grants then
    local fields = { '', grants }
    for instance in pairs(changed) do
      fields[#fields + 1] = instance
      fields[#fields + 1] = last_grants[instance]
    end
    redis.call('HSET', K.recent, unpack(fields))
  end
end
