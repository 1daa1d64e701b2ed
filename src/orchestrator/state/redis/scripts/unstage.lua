-- Take back what was put down for a commit that was refused. ARGV: 3 stage.
call('UNLINK', key('stage', ARGV[3]))
return {'ok'}
