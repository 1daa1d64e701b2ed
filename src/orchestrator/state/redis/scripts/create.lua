-- Admit an execution. ARGV: 3 name, 4 nonce, 5 lease in ms, 6 element of the journal, 7 number of fields, then the
-- fields of its hash by name and value, then values.
local n, nonce, element, count = ARGV[3], ARGV[4], ARGV[6], tonumber(ARGV[7])
local execution = key('execution', n)
local born = call('HGET', execution, 'born')
if born and repeated and born == nonce then
  call('HSET', execution, 'born', nonce) -- a write, so that this connection can wait for its being on the disk
  return {'ok', call('HGET', execution, 'number')}
end
if born then return {'exists'} end
local missing = missing_value(8 + 2 * count)
if missing then return missing end
local e, flat, at = {}, {'born', nonce, 'commits', 1, 'bytes', #element}, now()
for i = 8, 7 + 2 * count, 2 do
  e[ARGV[i]] = ARGV[i + 1]
  flat[#flat + 1] = ARGV[i]
  flat[#flat + 1] = ARGV[i + 1]
end
call('RPUSH', key('journal', n), element)
e.number = string.format('%016d', call('HINCRBY', store, 'admitted', 1))
e.lease_until = e.token and string.format('%.0f', at + ARGV[5]) or '0'
call('HSET', execution, 'number', e.number, 'lease_until', e.lease_until, unpack(flat))
keep(n, 8 + 2 * count)
for _, index in ipairs({'executions', 'status:' .. e.status, 'pipeline:' .. e.pipeline_key}) do
  call('ZADD', prefix .. index, e.created_at, e.number .. n)
end
call('ZREM', prefix .. 'removed', n)
list(n, e, at)
return {'ok', e.number}
