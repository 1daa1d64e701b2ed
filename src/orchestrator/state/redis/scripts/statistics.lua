-- Count. ARGV: 3... statuses.
local answers = {}
for i = 3, #ARGV do answers[#answers + 1] = call('ZCARD', key('status', ARGV[i])) end
local counts = call('HMGET', store, 'values', 'value_bytes', 'outside', 'cached')
for i = 1, 4 do counts[i] = counts[i] or '0' end
return {'ok', call('ZCARD', prefix .. 'executions'), counts[1], counts[2], counts[3], counts[4], answers}
