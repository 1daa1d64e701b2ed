-- Put down a piece of a large value, to be kept by a commit soon. ARGV: 3 stage, 4 seconds after which it is rubbish,
-- then fields by name and value.
local stage = key('stage', ARGV[3])
call('HSET', stage, unpack(ARGV, 5))
call('EXPIRE', stage, ARGV[4])
return {'ok'}
