-- Count. ARGV: 3... statuses.
local answers = {}
for i = 3, #ARGV do answers[#answers + 1] = call('ZCARD', key('status', ARGV[i])) end
local counts = call('HMGET', store, 'values', 'value_bytes', 'outside')
return {'ok', call('ZCARD', prefix .. 'executions'), counts[1] or '0', counts[2] or '0', counts[3] or '0', answers}
