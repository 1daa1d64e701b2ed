-- Take over what waits. ARGV: 3 owner, 4 lease in ms, 5 '1' to take runs without an owner too, 6 the caller's time,
-- 7 number of queues, then the queues, then as many tokens as executions may be taken.
local at, count = now(), tonumber(ARGV[7])
local first_token = 8 + count
local limit = #ARGV - first_token + 1
local taken = {}

local lanes = {}
for i = 8, 7 + count do lanes[#lanes + 1] = ':' .. ARGV[i] end
if ARGV[5] == '1' then lanes[#lanes + 1] = '' end

if repeated then
  local ours = {}
  for i = first_token, #ARGV do ours[ARGV[i]] = true end
  for _, at_lane in ipairs(lanes) do
    for _, n in ipairs(call('ZRANGE', prefix .. 'held' .. at_lane, 0, -1)) do
      local e = load(n)
      if e and e.token and ours[e.token] then
        call('HSET', key('execution', n), 'token', e.token)
        taken[#taken + 1] = {e.id, tonumber(e.epoch), e.token, e.number, tonumber(e.seq)}
      end
    end
  end
  if #taken > 0 then return {'ok', taken} end
end

local candidates = {}
for i = 8, 7 + count do
  local queue, at_lane = ARGV[i], ':' .. ARGV[i]
  local setting = call('HMGET', key('queue', queue), 'limit', 'paused_by')
  if not setting[2] then
    sweep(at_lane, at)
    wake(at_lane, ARGV[6])
    local room = limit
    if setting[1] then room = math.min(room, setting[1] - call('ZCARD', prefix .. 'held' .. at_lane)) end
    if room > 0 then
      local free = call('ZRANGE', prefix .. 'free' .. at_lane, 0, room - 1, 'WITHSCORES')
      for j = 1, #free, 2 do candidates[#candidates + 1] = {tonumber(free[j + 1]), free[j]} end
    end
  end
end
table.sort(candidates, function(one, two)
  if one[1] ~= two[1] then return one[1] < two[1] end
  return one[2] < two[2]
end)
if ARGV[5] == '1' and #candidates < limit then
  sweep('', at)
  wake('', ARGV[6])
  for _, member in ipairs(call('ZRANGE', prefix .. 'free', 0, limit - #candidates - 1)) do
    candidates[#candidates + 1] = {0, member}
  end
end
for i = 1, math.min(limit, #candidates) do
  local n = string.sub(candidates[i][2], 17)
  local e = load(n)
  if e then taken[#taken + 1] = grant(n, e, ARGV[3], ARGV[first_token + #taken], at, ARGV[4]) end
end
return {'ok', taken}
