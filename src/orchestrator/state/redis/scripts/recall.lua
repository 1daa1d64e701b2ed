-- Tell the newest entry of a fingerprint whose execution is there. ARGV: 3 fingerprint. Those of removed executions are
-- on their way out: whoever meets one helps along.
local fingerprint = ARGV[3]
while true do
  local newest = call('ZREVRANGE', key('cache', fingerprint), 0, 0, 'WITHSCORES')
  local member = newest[1]
  if not member then return {'none'} end
  if call('HGET', key('execution', string.sub(member, 17)), 'number') == string.sub(member, 1, 16) then
    return {'ok', newest[2], call('HGET', key('cached', fingerprint), member) or ''}
  end
  forget(member, fingerprint)
end
