-- Renew leases and tell what their owners were asked for. ARGV: 3 lease in ms, then groups of four: name, epoch,
-- token, '1' to renew it. A lease that has ended is still nobody else's: a keeper that comes late must not cry loss.
local at, answers = now(), {}
for i = 4, #ARGV, 4 do
  local n = ARGV[i]
  local e = load(n)
  if not e then
    answers[#answers + 1] = gone(n)
  elseif e.epoch ~= ARGV[i + 1] or (e.token and e.token ~= ARGV[i + 2]) then
    answers[#answers + 1] = {'lost', tonumber(e.epoch), tonumber(e.seq), e.number}
  else
    if e.token and ARGV[i + 3] == '1' then
      unlist(n, e)
      e.lease_until = string.format('%.0f', at + ARGV[3])
      call('HSET', key('execution', n), 'lease_until', e.lease_until)
      list(n, e, at)
    end
    if e.cancel_by then
      answers[#answers + 1] = {'ok', 'cancel', e.cancel_by}
    elseif e.paused_by then
      answers[#answers + 1] = {'ok', 'pause', e.paused_by}
    elseif call('EXISTS', key('mail', n)) == 1 then
      answers[#answers + 1] = {'ok', 'signal', ''}
    else
      answers[#answers + 1] = {'ok'}
    end
  end
end
return {'ok', answers}
