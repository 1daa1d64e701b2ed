-- Stands before every other script. KEYS[1] is the store's own key, `{prefix}:store`; every other key begins as it
-- does, so that all of them are in one slot. ARGV[1] is the store's uuid as the caller knows it, ARGV[2] is '1' when
-- the caller may have sent this before and has not heard the answer.
if redis.replicate_commands then redis.replicate_commands() end -- before Redis 7: what is written, not the script, is logged
local call = redis.call
local store = KEYS[1]
local prefix = string.sub(store, 1, -6)
local repeated = ARGV[2] == '1'
local found = call('HGET', store, 'uuid')
if found ~= ARGV[1] then return {'replaced', found or ''} end

local function key(kind, name)
  return prefix .. kind .. ':' .. name
end

-- Milliseconds since 1970 by the server's clock: the only clock that leases go by.
local function now()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function load(n)
  local flat = call('HGETALL', key('execution', n))
  if #flat == 0 then return nil end
  local e = {}
  for i = 1, #flat, 2 do e[flat[i]] = flat[i + 1] end
  return e
end

-- Where an execution is looked for by servers: in the lane of the queue it waits in, else in the one of no queue.
local function lane(e)
  if e.waiting == '1' then return ':' .. e.queue end
  return ''
end

local function alive(e, at)
  return e.token and tonumber(e.lease_until) > at
end

-- `held` knows who is owned until when; `free` knows who may be taken, in order; `due` knows who may be taken from when
-- on (seconds since 1970); `queued` knows who waits in a queue, owned and paused ones too. Whoever changes an execution takes it out of them before and puts it back after.
local function unlist(n, e)
  local at = lane(e)
  call('ZREM', prefix .. 'free' .. at, e.number .. n)
  call('ZREM', prefix .. 'due' .. at, e.number .. n)
  call('ZREM', prefix .. 'held' .. at, n)
  if e.waiting == '1' then
    call('SREM', key('queued', e.queue), n)
    if call('EXISTS', key('queued', e.queue), key('queue', e.queue)) == 0 then
      call('SREM', prefix .. 'queues', e.queue)
    end
  end
end

local function list(n, e, at)
  if e.waiting == '1' then
    call('SADD', key('queued', e.queue), n)
    call('SADD', prefix .. 'queues', e.queue)
  end
  if alive(e, at) then
    call('ZADD', prefix .. 'held' .. lane(e), e.lease_until, n)
  elseif e.status == 'waiting' then
    if e.due and not e.paused_by then call('ZADD', prefix .. 'due' .. lane(e), e.due, e.number .. n) end
  elseif not e.paused_by and (e.waiting == '1' or e.status == 'running') then
    call('ZADD', prefix .. 'free' .. lane(e), e.waiting == '1' and 0 - e.priority or 0, e.number .. n)
  end
end

-- Notice whose owners have not renewed their leases in time.
local function sweep(at_lane, at)
  for _, n in ipairs(call('ZRANGEBYSCORE', prefix .. 'held' .. at_lane, '-inf', at, 'LIMIT', 0, 1000)) do
    local e = load(n)
    if e then
      unlist(n, e)
      list(n, e, at)
    end
    call('ZREM', prefix .. 'held' .. at_lane, n)
  end
end

-- Let whoever is due by the caller's clock be taken.
local function wake(at_lane, time)
  for _, member in ipairs(call('ZRANGEBYSCORE', prefix .. 'due' .. at_lane, '-inf', time, 'LIMIT', 0, 1000)) do
    local e = load(string.sub(member, 17))
    if e then call('ZADD', prefix .. 'free' .. at_lane, e.waiting == '1' and 0 - e.priority or 0, member) end
    call('ZREM', prefix .. 'due' .. at_lane, member)
  end
end

-- Give an execution its next owner.
local function grant(n, e, owner, token, at, lease_ms)
  unlist(n, e)
  e.epoch = tostring(e.epoch + 1)
  e.owner, e.token, e.lease_until = owner, token, string.format('%.0f', at + lease_ms)
  call('HSET', key('execution', n), 'epoch', e.epoch, 'owner', owner, 'token', token, 'lease_until', e.lease_until)
  list(n, e, at)
  return {e.id, tonumber(e.epoch), token, e.number, tonumber(e.seq)}
end

-- Values come as groups of three: digest, how it comes ('r' record, 's' staged, 'o' kept outside, 't' to be there
-- already), record or stage. Returns an answer that names the first which would have to come along, or to be there, and
-- is not; looked for before anything is written.
local function missing_value(first)
  for i = first, #ARGV, 3 do
    local how = ARGV[i + 1]
    if (how == 's' or how == 't') and call('EXISTS', key('value', ARGV[i])) == 0 then
      if how == 't' then return {'valueless', ARGV[i]} end
      local stage = key('stage', ARGV[i + 2])
      local chunks = call('HGET', stage, 'chunks')
      if not chunks or call('HLEN', stage) ~= chunks + 2 then return {'unstaged', ARGV[i]} end
    end
  end
end

-- Keep the values for an execution; each knows how many executions refer to it.
local function keep(n, first)
  for i = first, #ARGV, 3 do
    local digest, how, given = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    local value, stage = key('value', digest), key('stage', given)
    if call('SADD', key('refs', n), digest) == 1 then
      if call('HINCRBY', value, 'refs', 1) == 1 then
        local size = 0
        if how == 'r' then
          size = #given
          call('HSET', value, 'chunks', 1, 'size', size, '0', given)
        elseif how == 's' then
          call('RENAME', stage, value)
          call('PERSIST', value)
          call('HSET', value, 'refs', 1)
          size = call('HGET', value, 'size')
        else
          call('HSET', value, 'chunks', 0, 'size', 0)
        end
        call('HINCRBY', store, how == 'o' and 'outside' or 'values', 1)
        call('HINCRBY', store, 'value_bytes', size)
      end
    end
    if how == 's' then call('DEL', stage) end
  end
end

-- Let go of what an execution remembered under a fingerprint.
local function forget(member, fingerprint)
  if call('HDEL', key('cached', fingerprint), member) == 1 then call('HINCRBY', store, 'cached', -1) end
  call('ZREM', key('cache', fingerprint), member)
end

-- Why an execution is not there: '1' when somebody removed it, '0' when nobody did.
local function gone(n)
  return {'gone', call('ZSCORE', prefix .. 'removed', n) and '1' or '0'}
end
