-- Tell a page of executions, newest first. ARGV: 3 index, 4 status to tell ('' for any), 5 member after which to begin
-- ('' for the first), 6 its score, 7 members to look at.
local index, last = prefix .. ARGV[3], ARGV[5]
local start = 0
if last ~= '' then
  local rank = call('ZREVRANK', index, last)
  -- Removed meanwhile: begin with its score's first; the caller knows whom it has seen.
  start = rank and rank + 1 or call('ZCOUNT', index, '(' .. ARGV[6], '+inf')
end
local answers, members = {}, call('ZREVRANGE', index, start, start + ARGV[7] - 1, 'WITHSCORES')
for i = 1, #members, 2 do
  local n = string.sub(members[i], 17)
  local status = call('HGET', key('execution', n), 'status')
  if not status then
    answers[#answers + 1] = {'id', n} -- listed, and not there: that is damage
  elseif ARGV[4] == '' or ARGV[4] == status then
    answers[#answers + 1] = call('HGETALL', key('execution', n))
  end
end
return {'ok', now(), #members / 2, members[#members - 1] or '', members[#members] or '', answers}
