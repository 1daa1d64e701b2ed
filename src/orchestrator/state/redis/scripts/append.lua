-- Append one commit. ARGV: 3 name, 4 epoch, 5 token, 6 expected seq, 7 seq after, 8 time, 9 tasks done, 10 element,
-- 11 status after ('' for the same), 12 '1' when it waits for no server any more, 13 '1' when it is given back,
-- 14 number of tasks ('' for the same), 15 when one that is left waiting goes on ('' for never by itself), then values.
local n, element = ARGV[3], ARGV[10]
local execution, journal = key('execution', n), key('journal', n)
local e = call('HMGET', execution, 'epoch', 'token', 'seq', 'number', 'commits', 'bytes')
if not e[1] then return gone(n) end
if repeated and tonumber(e[3]) >= tonumber(ARGV[7]) then
  -- Each element holds a fact at least, so that ours can only be among the last ones.
  local after = math.min(e[3] - ARGV[7], 1000)
  for _, one in ipairs(call('LRANGE', journal, -1 - after, -1)) do
    if one == element then
      call('HSET', execution, 'seq', e[3]) -- a write, so that this connection can wait for its being on the disk
      return {'ok'}
    end
  end
end
local length = call('LLEN', journal)
if e[1] ~= ARGV[4] or e[2] ~= ARGV[5] or e[3] ~= ARGV[6] or length ~= tonumber(e[5]) then
  return {'refused', tonumber(e[1]), e[2] == ARGV[5] and 1 or 0, tonumber(e[3]), e[4], e[5] - length}
end
local missing = missing_value(16)
if missing then return missing end
call('RPUSH', journal, element)
call('HSET', execution, 'seq', ARGV[7], 'updated_at', ARGV[8], 'completed', ARGV[9], 'commits', e[5] + 1, 'bytes',
  e[6] + #element)
if ARGV[14] ~= '' then call('HSET', execution, 'total', ARGV[14]) end
keep(n, 16)
if ARGV[11] ~= '' or ARGV[13] == '1' then
  local whole, at = load(n), now()
  unlist(n, whole)
  if ARGV[11] ~= '' and ARGV[11] ~= whole.status then
    call('ZREM', key('status', whole.status), whole.number .. n)
    whole.status = ARGV[11]
    call('ZADD', key('status', whole.status), whole.created_at, whole.number .. n)
    call('HSET', execution, 'status', whole.status)
  end
  if ARGV[11] ~= '' then
    whole.due = nil
    if ARGV[11] == 'waiting' then
      if call('EXISTS', key('mail', n)) == 1 then whole.due = '0' elseif ARGV[15] ~= '' then whole.due = ARGV[15] end
    end
    if whole.due then call('HSET', execution, 'due', whole.due) else call('HDEL', execution, 'due') end
  end
  if ARGV[12] == '1' and whole.waiting == '1' then
    whole.waiting = '0'
    call('HSET', execution, 'waiting', 0)
  end
  if ARGV[13] == '1' then
    whole.token = nil
    call('HDEL', execution, 'token', 'owner')
  end
  list(n, whole, at)
end
return redis.status_reply('ok')
