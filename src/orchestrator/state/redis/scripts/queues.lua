-- Tell every queue: its settings, how many wait in it, how many of them are owned.
local at, answers = now(), {}
for _, queue in ipairs(call('SMEMBERS', prefix .. 'queues')) do
  local setting = call('HMGET', key('queue', queue), 'limit', 'paused_by')
  answers[#answers + 1] = {queue, setting[1], setting[2], call('SCARD', key('queued', queue)),
    call('ZCOUNT', prefix .. 'held:' .. queue, '(' .. string.format('%.0f', at), '+inf')}
end
return {'ok', answers}
