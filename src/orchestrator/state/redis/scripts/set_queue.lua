-- Set what holds for a queue. ARGV: 3 queue, then fields by name and value; none takes every setting back.
local queue = key('queue', ARGV[3])
call('DEL', queue)
if #ARGV > 3 then
  call('HSET', queue, unpack(ARGV, 4))
  call('SADD', prefix .. 'queues', ARGV[3])
elseif call('EXISTS', key('queued', ARGV[3])) == 0 then
  call('SREM', prefix .. 'queues', ARGV[3])
end
return {'ok'}
