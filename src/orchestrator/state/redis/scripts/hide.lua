-- Take a checkpoint out of the lists. ARGV: 3 name, 4 seq.
if call('EXISTS', key('execution', ARGV[3])) == 0 then return {'unknown'} end
call('SADD', key('hidden', ARGV[3]), ARGV[4])
return {'ok'}
