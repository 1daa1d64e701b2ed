-- Let an execution wait for a server. ARGV: 3 name, 4 queue, 5 priority.
local n = ARGV[3]
local e = load(n)
if not e then return {'unknown'} end
if e.status == 'completed' then return {'ok'} end
unlist(n, e)
e.queue, e.priority, e.waiting, e.cancel_by, e.paused_by = ARGV[4], ARGV[5], '1', nil, nil
call('HSET', key('execution', n), 'queue', e.queue, 'priority', e.priority, 'waiting', 1)
call('HDEL', key('execution', n), 'cancel_by', 'paused_by')
list(n, e, now())
return {'ok'}
