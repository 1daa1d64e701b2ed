-- Verify a page of executions. ARGV: 3 index of the first, 4 how many. Returns of each: name, what is wrong ('' for
-- nothing), number of commits, bytes of commits.
local answers = {}
for _, member in ipairs(call('ZRANGE', prefix .. 'executions', ARGV[3], ARGV[3] + ARGV[4] - 1)) do
  local n = string.sub(member, 17)
  local e, wrong = load(n), ''
  if not e then
    answers[#answers + 1] = {n, 'listed, and not there', 0, 0}
  else
    local length = call('LLEN', key('journal', n))
    if length == 0 then
      wrong = 'its journal is empty'
    elseif length ~= tonumber(e.commits) then
      wrong = 'its journal holds ' .. length .. ' commits of ' .. e.commits
    end
    for _, kind in ipairs({'execution', 'journal', 'refs', 'hidden', 'mail', 'letters'}) do
      if call('TTL', key(kind, n)) >= 0 then wrong = 'its ' .. kind .. ' has a time to live, set by somebody else' end
    end
    if call('ZCARD', key('mail', n)) ~= call('HLEN', key('letters', n)) then
      wrong = 'its mailbox lists other signals than it holds'
    end
    answers[#answers + 1] = {n, wrong, tonumber(e.commits), tonumber(e.bytes)}
  end
end
return {'ok', answers}
