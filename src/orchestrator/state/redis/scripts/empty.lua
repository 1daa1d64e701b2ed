-- Let go of a bounded number of references of removed executions. ARGV: 3 how many. Returns what is left to do.
local number = call('SRANDMEMBER', prefix .. 'rubbish')
if not number then return {'ok', 0} end
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
return {'ok', call('EXISTS', prefix .. 'rubbish')}
