-- Read a page of a journal. ARGV: 3 name, 4 index of the first element, 5 '1' to go back from there ('' for 4: from the
-- last), 6 elements at most, 7 bytes after which it is enough.
local n, back = ARGV[3], ARGV[5] == '1'
local e = call('HMGET', key('execution', n), 'number', 'seq', 'head')
if not e[1] then return {'unknown'} end
local journal = key('journal', n)
local index = ARGV[4] == '' and call('LLEN', journal) - 1 or tonumber(ARGV[4])
local answers, bytes, step = {}, 0, math.min(50, tonumber(ARGV[6]))
while #answers < tonumber(ARGV[6]) and bytes < tonumber(ARGV[7]) and index >= 0 do
  local page
  if back then
    page = call('LRANGE', journal, math.max(0, index - step + 1), index)
  else
    page = call('LRANGE', journal, index, index + step - 1)
  end
  if #page == 0 then break end
  for i = 1, #page do
    local one = page[back and #page + 1 - i or i]
    answers[#answers + 1] = one
    bytes = bytes + #one
  end
  index = back and index - #page or index + #page
end
return {'ok', e[1], math.max(e[2], e[3]), index, answers}
