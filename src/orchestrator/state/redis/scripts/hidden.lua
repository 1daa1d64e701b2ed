-- Tell which checkpoints were taken out of the lists. ARGV: 3 name.
if call('EXISTS', key('execution', ARGV[3])) == 0 then return {'unknown'} end
return {'ok', call('SMEMBERS', key('hidden', ARGV[3]))}
