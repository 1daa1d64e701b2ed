-- Remove an execution that nobody owns: from now on it is unknown, what it referred to and remembered goes by `empty`. ARGV: 3 name,
-- 4 its number, so that a repeated removal never takes one that was created since, 5 '1' to remove unread mail as well.
local n = ARGV[3]
local e, at = load(n), now()
if not e or e.number ~= ARGV[4] then return {'ok'} end
if alive(e, at) then return {'owned', e.owner or '', e.lease_until - at} end
if ARGV[5] ~= '1' and call('EXISTS', key('mail', n)) == 1 then return {'unread'} end
unlist(n, e)
for _, index in ipairs({'executions', 'status:' .. e.status, 'pipeline:' .. e.pipeline_key}) do
  call('ZREM', prefix .. index, e.number .. n)
end
if call('EXISTS', key('refs', n)) == 1 then
  call('RENAME', key('refs', n), key('rubbish', e.number))
  call('SADD', prefix .. 'rubbish', e.number)
end
if call('EXISTS', key('remembered', n)) == 1 then
  call('RENAME', key('remembered', n), key('forgotten', e.number .. n))
  call('SADD', prefix .. 'forgotten', e.number .. n)
end
call('UNLINK', key('execution', n), key('journal', n), key('hidden', n), key('mail', n), key('letters', n))
-- For a day an owner that comes back late learns that somebody removed it, and not that it was lost.
call('ZADD', prefix .. 'removed', at, n)
call('ZREMRANGEBYSCORE', prefix .. 'removed', '-inf', at - 86400000)
return {'ok'}
