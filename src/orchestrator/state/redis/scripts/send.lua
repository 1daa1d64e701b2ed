-- Put a signal into a mailbox: `mail` is their order, `letters` holds them. ARGV: 3 name, 4 id, 5 record.
local n = ARGV[3]
local e, letters = load(n), key('letters', n)
if not e then return {'unknown'} end
if call('HSETNX', letters, ARGV[4], ARGV[5]) == 1 then
  call('ZADD', key('mail', n), call('HINCRBY', key('execution', n), 'sent', 1), ARGV[4])
else
  call('HINCRBY', key('execution', n), 'sent', 0) -- a write, so that this connection can wait for its being on the disk
end
if e.status == 'waiting' and e.due ~= '0' then
  unlist(n, e)
  e.due = '0'
  call('HSET', key('execution', n), 'due', e.due)
  list(n, e, now())
end
return {'ok'}
