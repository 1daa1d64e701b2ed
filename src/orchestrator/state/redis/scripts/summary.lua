-- Tell one execution: its hash, and the server's time. ARGV: 3 name.
local flat = call('HGETALL', key('execution', ARGV[3]))
if #flat == 0 then return {'unknown'} end
return {'ok', now(), flat}
