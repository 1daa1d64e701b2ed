-- Take an execution over. ARGV: 3 name, 4 owner, 5 token, 6 lease in ms, 7 '1' to steal.
local n = ARGV[3]
local e, at = load(n), now()
if not e then return {'unknown'} end
if repeated and e.token == ARGV[5] then
  call('HSET', key('execution', n), 'token', e.token)
  return {'ok', {e.id, tonumber(e.epoch), e.token, e.number, tonumber(e.seq)}}
end
if alive(e, at) and ARGV[7] ~= '1' then return {'owned', e.owner or '', e.lease_until - at} end
unlist(n, e)
call('HDEL', key('execution', n), 'cancel_by', 'paused_by')
e.cancel_by, e.paused_by = nil, nil
return {'ok', grant(n, e, ARGV[4], ARGV[5], at, ARGV[6])}
