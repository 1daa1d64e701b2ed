-- Become the one who collects blobs, or stay it. ARGV: 3 token, 4 how many ms others keep away (0: it is done). The mark
-- ends by itself: whoever set it may have died.
local found = call('HMGET', store, 'collector', 'collecting_until')
local at = now()
if found[1] and found[1] ~= ARGV[3] and tonumber(found[2]) > at then return {'busy'} end
if ARGV[4] == '0' then
  call('HDEL', store, 'collector', 'collecting_until')
else
  call('HSET', store, 'collector', ARGV[3], 'collecting_until', string.format('%.0f', at + ARGV[4]))
end
return {'ok'}
