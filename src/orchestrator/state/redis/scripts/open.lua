-- Find the store's header, or make it. ARGV: uuid for a new one, magic, format.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then
  if redis.call('EXISTS', string.sub(KEYS[1], 1, -6) .. 'executions') == 1 then return {'headless'} end
  redis.call('HSET', KEYS[1], 'magic', ARGV[2], 'format', ARGV[3], 'uuid', ARGV[1])
elseif kind ~= 'hash' or redis.call('HGET', KEYS[1], 'magic') ~= ARGV[2] then
  return {'foreign'}
end
return {'ok', redis.call('HGET', KEYS[1], 'uuid') or '', redis.call('HGET', KEYS[1], 'format') or ''}
