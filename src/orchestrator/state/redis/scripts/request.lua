-- Ask an execution's owner for something. ARGV: 3 name, 4 'cancel_by' or 'paused_by', 5 by whom.
local n = ARGV[3]
local e = load(n)
if not e then return {'unknown'} end
unlist(n, e)
e[ARGV[4]] = ARGV[5]
call('HSET', key('execution', n), ARGV[4], ARGV[5])
list(n, e, now())
return {'ok'}
