-- Take signals out of a mailbox. ARGV: 3 name, 4 epoch, 5 token, then ids. A lease that has ended is still nobody else's.
local n = ARGV[3]
local e = load(n)
if not e then return gone(n) end
if e.epoch ~= ARGV[4] or (e.token and e.token ~= ARGV[5]) then
  return {'lost', tonumber(e.epoch), tonumber(e.seq), e.number}
end
for i = 6, #ARGV do
  call('ZREM', key('mail', n), ARGV[i])
  call('HDEL', key('letters', n), ARGV[i])
end
return {'ok'}
