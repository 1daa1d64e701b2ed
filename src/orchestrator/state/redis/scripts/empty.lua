-- Let go of a bounded number of references of removed executions, and of what they remembered. ARGV: 3 how many of each.
-- Returns what is left to do.
local number = call('SRANDMEMBER', prefix .. 'rubbish')
if number then
  local rubbish = key('rubbish', number)
  for _, digest in ipairs(call('SPOP', rubbish, ARGV[3])) do
    local value = key('value', digest)
    local entry = call('HMGET', value, 'refs', 'size', 'chunks')
    if entry[1] then
      if tonumber(entry[1]) > 1 then
        call('HINCRBY', value, 'refs', -1)
      else
        call('UNLINK', value)
        call('HINCRBY', store, entry[3] == '0' and 'outside' or 'values', -1)
        call('HINCRBY', store, 'value_bytes', 0 - entry[2])
      end
    end
  end
  if call('EXISTS', rubbish) == 0 then call('SREM', prefix .. 'rubbish', number) end
end
local member = call('SRANDMEMBER', prefix .. 'forgotten')
if member then
  local forgotten = key('forgotten', member)
  for _, fingerprint in ipairs(call('SPOP', forgotten, ARGV[3])) do forget(member, fingerprint) end
  if call('EXISTS', forgotten) == 0 then call('SREM', prefix .. 'forgotten', member) end
end
return {'ok', call('EXISTS', prefix .. 'rubbish', prefix .. 'forgotten')}
