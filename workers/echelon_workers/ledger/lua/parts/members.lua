-- The members of a queue: its instances with their scopes, and which of them a job may start at.
-- So many answers of an instance say how long its next one will be.
local ENOUGH_ANSWERS = 8
-- A worker says every few seconds which instances it has keys for.
local BELIEVED_MS = 30000

-- The instances of a queue that this worker can call, each with its scopes, as this revision plans them.
local function members_of(q)
  if q.members then return q.members end
  q.members = {}
  local usable, plan = ','..q.instances..',', redis.call('GET', K.plan..q.name)
  if not plan then plan = string.gsub(q.instances, '[^,]+', '%0  0 typical|;') end
  for instance, home, most, estimate, names in string.gmatch(plan, '([^|;, ]+) ([^|; ]*) (%d+) (%a+)|([^;]*)') do
    if string.find(usable, ','..instance..',', 1, true) then
      local member = { instance = instance, home = home, most = tonumber(most), worst = string.find(estimate, 'worst') == 1,
        keeps = string.find(estimate, 'kept', 1, true) ~= nil, ordered = string.find(estimate, 'recent', 1, true),
        names = names, scopes = {}, place = #q.members + 1 }
      for name in string.gmatch(names, '[^ ]+') do
        local s = scope(name)
        member.scopes[#member.scopes + 1] = s
        if name == 'model:'..instance then member.model = s end
        if s.within then member.within = math.min(member.within or math.huge, s.within) end
        if s.tokens then member.most_tokens = math.min(member.most_tokens or math.huge, s.most_tokens) end
      end
      q.members[#q.members + 1] = member
    else
      -- Where another worker has its key, what holds for this worker does not hold for the queue.
      local said = tonumber(redis.call('ZSCORE', K.served, instance) or 0)
      if said > this_moment - BELIEVED_MS then
        q.partial = true
        if not is_out(scope('model:'..instance), this_moment) then q.others_up = true end
      end
    end
  end
  load_turns(q, plan)
  return q.members
end

-- How many tokens an attempt reserves: its input, and its answer as far as this instance's answers have been; or, where
-- `worst_case` is configured, what they can be at the most.
local function reservation(member, size, node)
  local most = math.min(member.most_tokens or math.huge, node and node.most_tokens or math.huge)
  if most == math.huge then return 0 end
  local input, worst, cap = string.match(size or '', '^(%d+) (%d+) (%d+)$')
  input, worst, cap = tonumber(input or '1'), tonumber(worst or '1'), tonumber(cap or '0')
  if cap == 0 then cap = member.most end
  if member.worst then return worst + cap end
  if not member.answer then
    local r = redis.call('HMGET', K.scope..'model:'..member.instance, 'on', 'om', 'od')
    member.answer = (tonumber(r[1]) or 0) >= ENOUGH_ANSWERS and math.ceil(r[2] + 4 * r[3]) or math.huge
  end
  return math.max(input + 1, math.min(most, input + math.min(cap, member.answer)))
end

-- The next member in turn, not one of `avoid`, that has every shared permit now, and the tokens it reserves. Without one: when
-- there will be one, and what binds. A job that avoids all the members there are avoids none. Without `size` it is only asked
-- whether any job might start. The fifth value: whether all of them are out, and not only limited; the sixth: the members passed
-- over, for `took_turn`.
local function next_member(q, avoid, size, node)
  local members = members_of(q)
  local left = 0
  for _, member in ipairs(members) do
    if not string.find(avoid, ','..member.instance..',', 1, true) then left = left + 1 end
  end
  local first_at, binds, full, never, asked, out_of_it = math.huge, 'no instance', {}, nil, 0, 0
  local passed = q.way and {}
  for i = 1, #members do
    local member = in_turn(q, i, passed)
    if left == 0 or not string.find(avoid, ','..member.instance..',', 1, true) then
      local tokens = size and reservation(member, size, node) or 1
      local at, by = this_moment, nil
      for _, s in ipairs(member.scopes) do
        local open = free_at(s, this_moment, tokens, q.name)
        if open > at then at, by = open, s end
        if open == math.huge then
          full[#full + 1] = K.waiting..s.name
        elseif s.tokens and open > this_moment then
          full[#full + 1] = K.short..s.name
        end
      end
      if not by then return member, tokens, nil, nil, false, passed end
      asked = asked + 1
      if member.model and is_out(member.model, this_moment) then out_of_it = out_of_it + 1 end
      if at == NEVER then
        never = { by.name, (never and never[2] or 0) + 1 }
      elseif at <= first_at then
        first_at, binds = at, by.name
      end
    end
  end
  local all_out = asked > 0 and out_of_it == asked and not q.others_up
  if never and never[2] == asked then return nil, NEVER, never[1], full, all_out end
  return nil, first_at, binds, full, all_out
end
