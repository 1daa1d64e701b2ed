-- Give an execution back, if it is still the token's. ARGV: 3 name, 4 token, 5 '1' when the owner is gone without
-- having given it back: then it is still named, as one that is gone.
local n = ARGV[3]
local e = load(n)
if not e or e.token ~= ARGV[4] then return {'ok'} end
unlist(n, e)
if ARGV[5] == '1' then
  e.lease_until = '0'
  call('HSET', key('execution', n), 'lease_until', 0)
else
  e.token = nil
  call('HDEL', key('execution', n), 'token', 'owner')
end
list(n, e, now())
return {'ok'}
