-- Tell a page of a mailbox, oldest first. ARGV: 3 name, 4 number after which to begin, 5 how many.
local n = ARGV[3]
if call('EXISTS', key('execution', n)) == 0 then return {'unknown'} end
local page, answers = call('ZRANGEBYSCORE', key('mail', n), '(' .. ARGV[4], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[5]), {}
for i = 1, #page, 2 do
  answers[#answers + 1] = {page[i + 1], page[i], call('HGET', key('letters', n), page[i]) or ''}
end
return {'ok', answers}
