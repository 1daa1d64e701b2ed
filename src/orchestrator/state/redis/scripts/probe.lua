-- Write something, to see whether the store can be written.
call('HINCRBY', store, 'probed', 1)
return {'ok'}
