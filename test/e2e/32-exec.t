#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# -exec and the service manager: when the command starts, which signals it gets, whose status it is, what it inherits,
# and that what it wrote last is in the replica whatever became of it.
. "${0%/*}/lib.sh"

MANAGER=$SOURCE/test/e2e/manager.py

wal_db() { # DATABASE: made in WAL mode, with one row
  sql "$1" 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1);' >/dev/null
}

# A command that counts the signals it gets, a line each in FILE, and ends with STATUS at the first of ENDS.
cat >"$T/counts.py" <<'END'
import signal, sqlite3, sys, time
file, status, ends, *last = sys.argv[1:]
def got(number, frame):
    name = signal.Signals(number).name
    with open(file, 'a') as f:
        f.write(name + '\n')
    if name in ends.split(','):
        time.sleep(0.3)  # a second one would come now
        if last:
            sqlite3.connect(last[0], isolation_level=None).execute('INSERT INTO t VALUES(99)')
        sys.exit(int(status))
for s in 'TERM INT HUP USR1 USR2 QUIT'.split():
    signal.signal(getattr(signal, 'SIG' + s), got)
with open(file, 'w') as f:
    f.write('ready\n')
print('the command is ready', flush=True)
while True:
    signal.pause()
END

counts_ready() {
  [ -s "$1" ]
}

note "when it starts"
wal_db "$T/one.db"
wal_db "$T/two.db"
printf 'dbs:\n' >"$T/start.yml"
for n in one two absent; do
  printf '  - path: %s\n    replicas: [path: %s]\n' "$T/$n.db" "$T/$n.r"
done >>"$T/start.yml"
run walbrook replicate -config "$T/start.yml" \
  -exec "sh -c 'cd \"$T\" && ls .one.db-litestream/generation .two.db-litestream/generation && sqlite3 absent.db \"create table t(a); insert into t values(5)\"'"
is "$rc" 0 "all databases that are there were captured before it starts"
like "$out" 'level=WARN msg="the command starts although.*absent\.db state=waiting reason=.*No such file' \
  "the one that is not there yet is said"
replica_has "$T/absent.r" 'SELECT a FROM t' 5
ok $? "and what the command made of it is in its replica"
run walbrook replicate -exec " 	" "$T/one.db" "file://$T/one.r"
is "$rc" 2 "a blank command: exit code 2"
printf 'exec: "app '"'"'x"\ndbs: [{path: %s, replicas: [path: %s]}]\n' "$T/never.db" "$T/never.r" >"$T/never.yml"
run walbrook replicate -config "$T/never.yml"
is "$rc" 3 "in the configuration: exit code 3"
like "$out" 'never\.yml: exec: command: unterminated quote' "and it says where"

run walbrook config -config "$T/never.yml"
is "$rc" 3 "config finds it, too"
like "$out" 'never\.yml: exec: command: unterminated quote' "in the same words"
run walbrook replicate -exec "$T/nosuchprog -x" "$T/one.db" "file://$T/one.r"
is "$rc" 3 "a program that is not there: exit code 3"
like "$out" 'nosuchprog: cannot start the command: No such file' "and it is named"
run walbrook replicate -exec "$T" "$T/one.db" "file://$T/one.r"
is "$rc" 3 "what is no program: exit code 3"

note "signals"
wal_db "$T/sig.db"
start sig replicate -exec "python3 $T/counts.py $T/sig.got 3 SIGTERM $T/sig.db" "$T/sig.db" "file://$T/sig.r"
wait_for 20 counts_ready "$T/sig.got"
kill -USR1 "$PID"
wait_for 10 grep -q USR1 "$T/sig.got"
ok $? "SIGUSR1 is handed on, and ends nobody"
kill -HUP "$PID"
stop "$PID" TERM
is "$rc" 3 "SIGTERM: the command ends, its status is ours"
is "$(tr '\n' ' ' <"$T/sig.got")" "ready SIGUSR1 SIGTERM " "it got each signal once, and no SIGHUP"
replica_has "$T/sig.r" 'SELECT group_concat(a) FROM t' 1,99
ok $? "what it committed on its way out is in the replica although it failed"
says sig 'msg="signal received: waiting for the command to end" reason=SIGTERM'
ok $? "the log tells"

python3 "$MANAGER" terminal '\x03' 'command is ready' "$T/tty.log" "$WALBROOK" replicate \
  -exec "python3 $T/counts.py $T/tty.got 4 SIGINT" "$T/sig.db" "file://$T/sig.r"
is "$?" 4 "Ctrl-C on a terminal: the command ends, its status is ours"
is "$(tr '\n' ' ' <"$T/tty.got")" "ready SIGINT " "the terminal gave it to both; it got one"
python3 "$MANAGER" terminal hangup 'command is ready' "$T/hup.log" "$WALBROOK" replicate \
  -exec "python3 $T/counts.py $T/hup.got 5 SIGHUP" "$T/sig.db" "file://$T/sig.r"
is "$?" 5 "a terminal that goes: the same"
is "$(tr '\n' ' ' <"$T/hup.got")" "ready SIGHUP " "once"

start sig2 replicate -exec "python3 $T/counts.py $T/sig2.got 0 none" "$T/sig.db" "file://$T/sig.r"
wait_for 20 counts_ready "$T/sig2.got"
kill -TERM "$PID"
wait_for 10 says sig2 'waiting for the command to end'
sql "$T/sig.db" 'INSERT INTO t VALUES(100)'
sleep 0.2
stop "$PID" TERM
is "$rc" 137 "a command that does not want to end: the second signal kills it, 128 + 9"
is "$(tr '\n' ' ' <"$T/sig2.got")" "ready SIGTERM " "it got one SIGTERM"
replica_has "$T/sig.r" 'SELECT group_concat(a) FROM t' 1,99,100
ok $? "what was committed until then is in the replica"

note "the deadline"
printf 'shutdown-timeout: 500ms\ndbs: [{path: %s, replicas: [path: %s]}]\n' "$T/sig.db" "$T/sig.r" >"$T/late.yml"
start late replicate -config "$T/late.yml" -exec "python3 $T/counts.py $T/late.got 0 none"
wait_for 20 counts_ready "$T/late.got"
stop "$PID" TERM
is "$rc" 137 "a command that does not end in time is killed"
says late 'level=ERROR msg="the command has not ended in time: killing it" shutdown_timeout=500ms'
ok $? "and the log says so"
touch "$T/wall"
printf 'shutdown-timeout: 500ms\ndbs: [{path: %s, replicas: [path: %s]}]\n' "$T/sig.db" "$T/wall/r" >"$T/owed.yml"
run walbrook replicate -config "$T/owed.yml" -exec true
is "$rc" 10 "not everything shipped in time, and the command was content: exit code 10"
like "$out" 'level=ERROR msg="not everything was shipped.*sig\.db replica=file error=.*wall' "said, with the reason"
run walbrook replicate -config "$T/owed.yml" -exec 'sh -c "exit 6"'
is "$rc" 6 "the status of a command that failed is ours all the same"
head -c 9000 /dev/urandom >"$T/garbage.db"
printf 'dbs: [{path: %s, replicas: [path: %s]}, {path: %s, replicas: [path: %s]}]\n' "$T/sig.db" "$T/sig.r" \
  "$T/garbage.db" "$T/garbage.r" >"$T/broken.yml"
run walbrook replicate -config "$T/broken.yml" -exec true
is "$rc" 5 "a database that is none beside a good one: not 0 at the end"
if small_disk 128k; then
  printf 'shutdown-timeout: 500ms\ndbs: [{path: %s, meta-path: %s, replicas: [path: %s]}]\n' \
    "$T/full.db" "$T/disk/meta" "$T/full.r" >"$T/full.yml"
  wal_db "$T/full.db"
  run walbrook replicate -config "$T/full.yml" \
    -exec "sqlite3 $T/full.db 'INSERT INTO t VALUES(randomblob(1000000))'"
  is "$rc" 8 "no room to capture what was committed: exit code 8"
  like "$out" 'level=ERROR msg="not everything was captured.*full\.db.*No space left' "said, with the reason"
else
  skipped 2 "no file system can be mounted here"
fi

note "what it inherits"
# The same command, run by us and by walbrook, tells the same: our own descriptors are not passed on, theirs are.
cat >"$T/inherits.sh" <<'END'
for fd in /proc/$$/fd/*; do
  printf '%s ' "${fd##*/}"
done
readlink /proc/$$/fd/0
ulimit -Sn
echo "${NOTIFY_SOCKET-none} ${WATCHDOG_USEC-none} $OTHER"
END
(
  ulimit -Sn 333
  exec 7</dev/null
  export OTHER="a b"
  sh "$T/inherits.sh" >"$T/inherits.direct" </dev/null
  NOTIFY_SOCKET=/nowhere/socket WATCHDOG_USEC=9000000 "$WALBROOK" replicate -exec "sh $T/inherits.sh" "$T/one.db" \
    "file://$T/one.r" >"$T/inherits.out" 2>"$T/inherits.log"
)
is "$(cat "$T/inherits.out")" "$(cat "$T/inherits.direct")" \
  "descriptors, limits and variables are as we got them, without the manager's"
like "$(cat "$T/inherits.out" | tr '\n' ' ')" ' 7 .*/dev/null 333 none none a b' "and standard input is /dev/null"
cat >"$T/activated.py" <<'END'
import os, socket, sys
mine = os.environ['LISTEN_PID'] == str(os.getpid())
print(mine, os.environ['LISTEN_FDS'], os.environ['LISTEN_FDNAMES'], sorted(map(int, os.listdir('/proc/self/fd')))[:4])
s = socket.socket(fileno=3)
client = socket.create_connection(('127.0.0.1', int(os.environ['PORT'])))
client.sendall(b'hello')
print(s.accept()[0].recv(5).decode())
END
python3 "$MANAGER" socket "$WALBROOK" replicate -exec "python3 $T/activated.py" "$T/one.db" "file://$T/one.r" \
  >"$T/activated.out" 2>"$T/activated.log" </dev/null
is "$?:$(tr '\n' ' ' <"$T/activated.out")" "0:True 1 web [0, 1, 2, 3] hello " \
  "socket activation: the socket is its descriptor 3, LISTEN_PID is its own number"
LISTEN_PID=1 LISTEN_FDS=1 "$WALBROOK" replicate -exec 'sh -c "echo $LISTEN_PID $LISTEN_FDS"' "$T/one.db" \
  "file://$T/one.r" >"$T/foreign.out" 2>"$T/foreign.log" </dev/null
is "$(cat "$T/foreign.out")" "1 1" "variables that are not meant for us stay as they are"

note "the service manager"
messages() { # LOG: what came, without what comes at any time
  grep -v '^WATCHDOG=1$' "$1" | sed 's/EXTEND_TIMEOUT_USEC=[0-9]* *//' | tr '\n' ';'
}
sql "$T/one.db" 'INSERT INTO t VALUES(3)'
WATCHDOG_USEC=200000 python3 "$MANAGER" notify "@walbrook-$$" "$T/manager" "$WALBROOK" replicate \
  -exec "sh -c 'grep -q READY=1 $T/manager && exit 9; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; done'" \
  "$T/one.db" "file://$T/one.r" >"$T/notify.log" 2>&1 </dev/null
rc=$?
[ "$rc" -eq 0 ] || [ "$rc" -eq 9 ] # READY=1 is sent once the command runs, which may look just then
ok $? "runs under a manager with an abstract socket"
like "$(messages "$T/manager")" \
  '^STATUS=Starting: 1 database;READY=1 STATUS=Replicating 1 database;STOPPING=1 STATUS=Stopping: shipping what is left of 1 database;$' \
  "started, ready, stopping"
like "$(head -n 1 "$T/manager")" '^EXTEND_TIMEOUT_USEC=[0-9]{7,} ' "starting may take as long as it takes"
[ "$rc" -eq 9 ] || [ "$(grep -c '^WATCHDOG=1$' "$T/manager")" -ge 3 ]
ok $? "the watchdog hears of us twice in its time"
WATCHDOG_PID=1 WATCHDOG_USEC=200000 NOTIFY_SOCKET=$T/socket "$WALBROOK" replicate -exec true "$T/one.db" \
  "file://$T/one.r" >"$T/gone.log" 2>&1 </dev/null
is "$?" 0 "a manager that is not there is nobody's error"
: >"$T/manager2"
python3 "$MANAGER" notify "$T/manager.socket" "$T/manager2" "$WALBROOK" replicate "$T/one.db" "file://$T/wall/x" \
  >"$T/notify2.log" 2>&1 </dev/null &
manager=$!
PIDS+=("$manager")
wait_for 20 grep -q READY=1 "$T/manager2"
ok $? "without a command: ready after the first capture"
[ "$(grep -c WATCHDOG "$T/manager2")" -eq 0 ]
ok $? "no watchdog where none was asked for"
wait_for 20 grep -q 'STATUS=Replicating 1 database, 1 replica fails' "$T/manager2"
ok $? "the status tells of a replica that fails"
child=$(pgrep -P "$manager" | head -n 1)
kill -TERM "$child"
wait_for 10 grep -q STOPPING=1 "$T/manager2"
ok $? "stopping is said at once"
sleep 0.2
kill -TERM "$child"
reap "$manager" 10
is "$rc" 10 "a second signal without a command ends it at once"

note "the journal"
"$WALBROOK" replicate -exec true "$T/one.db" "file://$T/one.r" 2>"$T/journal.out" </dev/null
[ "$(grep -c '^<' "$T/journal.out")" -eq 0 ]
ok $? "no priorities where nobody reads them"
JOURNAL_STREAM=$(stat -c %d:%i "$T/journal.out") "$WALBROOK" replicate -exec true "$T/one.db" "file://$T/one.r" \
  2>"$T/journal.out" </dev/null
is "$(grep -Ecv '^<(6>time=.* level=INFO|4>time=.* level=WARN) ' "$T/journal.out")" 0 "each line has its priority when the journal reads them"

done_testing
