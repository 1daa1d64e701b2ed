-- Keep an entry of the cache with its execution. ARGV: 3 name, 4 fingerprint, 5 time, 6 record.
local n, fingerprint, at = ARGV[3], ARGV[4], ARGV[5]
local number = call('HGET', key('execution', n), 'number')
if not number then return {'ok'} end
local member, cache = number .. n, key('cache', fingerprint)
local before = call('ZSCORE', cache, member)
if before and tonumber(before) > tonumber(at) then return {'ok'} end
call('ZADD', cache, at, member)
call('HSET', key('cached', fingerprint), member, ARGV[6])
call('SADD', key('remembered', n), fingerprint)
if not before then call('HINCRBY', store, 'cached', 1) end
return {'ok'}
