#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# `config` and `check` as someone new would try them.
#
# 1. Every documented form of configuration (test/golden/conf) is accepted by `config`, which hides the secrets, and its
#    output is a configuration that means the same. `check` runs on those that need no network.
# 2. What is said when something is wrong: no file, a wrong path, no permission, a running daemon. Whole transcripts
#    stand in test/golden/cli; TRANSCRIPTS=write makes them anew.
. "${0%/*}/lib.sh"

golden=$SOURCE/test/golden
export ROOT=$T/root KEY_ID=AKID SECRET=geheim
export IDENTITY=AGE-SECRET-KEY-1QQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNZS23V9CCRYDPK8QARC0SWRYDWG
unset WALBROOK_CONFIG LITESTREAM_CONFIG XDG_RUNTIME_DIR
mkdir -p "$ROOT/tenants/7"
for db in app other tenants/7/a; do
  sql "$ROOT/$db.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1)' >/dev/null
done
echo text >"$ROOT/tenants/text.db"
tree() { (cd "$1" && find . -type f ! -name '*-shm' -exec sha256sum {} + -o -type d -print | sort); }
bare() { sed -e '/^ *#/d' -e 's/ *# .*//'; } # a configuration without its comments

note "documented configurations"
for file in "$golden"/conf/*.yml; do
  name=${file##*/}
  run walbrook config -config "$file"
  is "$rc" 0 "$name: config accepts it" || note "$out"
  is "$(grep -c -e geheim -e othersecret -e QQQSYQ <<<"$out")" 0 "$name: no secret is shown"
  printf '%s\n' "$out" >"$T/again.yml"
  # (secret identities cannot be replaced by anything that is valid)
  [ "$name" = 24-age.yml ] && continue
  run walbrook config -config "$T/again.yml"
  is "$rc" 0 "$name: its output is a configuration" || note "$out"
  is "$(bare <<<"$out")" "$(bare <"$T/again.yml")" "$name: and means the same"
  run walbrook config -json -config "$file"
  is "$(python3 -c 'import json,sys; print(json.load(sys.stdin)["valid"])' <<<"$out")" True "$name: as JSON"
  is "$(grep -c -e geheim -e othersecret <<<"$out")" 0 "$name: no secret in it"
done
before=$(tree "$ROOT")
for file in "$golden"/conf/0*.yml; do
  run walbrook check -config "$file"
  is "$rc" 0 "${file##*/}: check finds nothing wrong" || note "$out"
  is "$(tree "$ROOT")" "$before" "${file##*/}: and changes nothing"
done
run walbrook check -config "$golden/conf/07-directories.yml"
like "$out" "tenants/7/a\.db" "a database in a directory is looked at"
is "$(grep -c text.db <<<"$out")" 0 "a file that is no database is not"
run walbrook check -config "$golden/conf/20-s3.yml"
like "$out" 'holds secrets' "a secret in a file that everybody may read is noticed"
run walbrook check -config "$golden/conf/22-abs.yml"
is "$(grep -c 'holds secrets' <<<"$out")" 0 "one that comes from the environment is not in the file"
for file in "$golden"/conf/2[0-3]*.yml; do
  run walbrook check -config "$file"
  is "$rc" 3 "${file##*/}: check says that it cannot be used: exit code 3"
  like "$out" 'this version cannot use (s3|gcs|abs|sftp) replicas yet; it can use: file' "${file##*/}: and which can"
  run walbrook replicate -config "$file"
  is "$rc" 3 "${file##*/}: replicate refuses: exit code 3"
  like "$out" 'this version cannot use .* it can use' "${file##*/}: in the same words"
  for command in generations snapshots wal; do
    run walbrook "$command" -config "$file" "$ROOT/app.db"
    is "$rc" 3 "${file##*/}: $command refuses: exit code 3"
    like "$out" 'this version cannot use .* it can use' "${file##*/}: in the same words"
  done
  run walbrook restore -config "$file" -o "$T/x" "$ROOT/app.db"
  is "$rc" 3 "${file##*/}: restore refuses: exit code 3"
  like "$out" 'this version cannot use .* it can use' "${file##*/}: in the same words"
done

note "transcripts"
transcript() { # NAME [VARIABLE=VALUE…] COMMAND…: output and exit code are as written down
  local name=$1 want=$golden/cli/$1.txt shown
  shift
  run env "${@/#walbrook/$WALBROOK}"
  shown=$(printf '$ %s\n%s\nexit code %s\n' "$*" "$out" "$rc" |
    sed -e "s#$ROOT#/ROOT#g" -e "s#$T#/TMP#g" -e "s#$golden#/GOLDEN#g" -e 's/\([^ ]\)  *# /\1  # /' \
      -e 's/walbrook-check-[0-9a-f]*/walbrook-check-RANDOM/' -e 's/setpriv [^\/]*//')
  [ "${TRANSCRIPTS:-}" != write ] || printf '%s\n' "$shown" >"$want"
  is "$shown" "$(cat "$want")" "$name"
}
transcript config-single walbrook config -config "$golden/conf/01-single-file.yml"
transcript config-all walbrook config -config "$golden/conf/20-s3.yml"
transcript config-json walbrook config -json -config "$golden/conf/03-exec.yml"
transcript config-wrong-path walbrook config -config "$T/nowhere.yml"
transcript config-variable-wrong WALBROOK_CONFIG="$T/nowhere.yml" walbrook config
transcript config-usage walbrook config "$golden/conf/01-single-file.yml"
printf 'dbs:\n  - path: /a.db\n    replica:\n      - path: /r\n' >"$T/typo.yml"
transcript config-typo walbrook config -config "$T/typo.yml"
transcript config-typo-json walbrook config -json -config "$T/typo.yml"
transcript check-single walbrook check -config "$golden/conf/01-single-file.yml"
transcript check-wrong-path walbrook check -config "$T/nowhere.yml"
transcript check-not-configured walbrook check -config "$golden/conf/01-single-file.yml" "$ROOT/ap.db"
transcript check-remote walbrook check -config "$golden/conf/21-gcs.yml"
if [ ! -e /etc/walbrook.yml ] && [ ! -e /etc/litestream.yml ]; then
  transcript config-none walbrook config
  transcript check-none walbrook check
else
  skipped 2 "a configuration is installed here"
fi
cat >"$T/bad.yml" <<YML
exec: nosuchprogram -x
token-file: $T/token
dbs:
  - path: $ROOT/text.db
    replicas:
      - path: $T/replica
  - path: $ROOT/none.db
    replicas:
      - path: $T/replica2
  - path: $ROOT/gone/none.db
  - path: $ROOT/empty.db
    replicas:
      - path: $ROOT/app.db/replica
  - path: $ROOT/journal.db
    replicas:
      - path: $T/replica3
  - dir: $ROOT/nodir
YML
head -c 20000 /dev/zero | tr '\0' x >"$ROOT/text.db"
: >"$ROOT/empty.db"
sql "$ROOT/journal.db" 'CREATE TABLE t(a)'
echo geheim >"$T/token"
chmod 600 "$T/token"
transcript check-everything-wrong walbrook check -config "$T/bad.yml"
run walbrook check -json -config "$T/bad.yml"
is "$(python3 -c 'import json,sys; r=json.load(sys.stdin); print(sum(f["level"]=="fail" for f in r["findings"])==r["failures"]>5)' \
  <<<"$out")" True "the same as JSON"
[ ! -e "$T/replica" ] && [ ! -e "$T/replica2" ] && [ ! -e "$T/replica3" ]
ok $? "no directory stays behind"
mkdir -p "$T/kept"
printf 'dbs:\n  - {path: %s, replicas: [{path: %s/a/b}]}\n' "$ROOT/app.db" "$T/kept" >"$T/kept.yml"
run walbrook check -config "$T/kept.yml"
is "$rc:$(ls -A "$T/kept")" "0:" "a directory that was there stays, and stays empty"

note "permissions, as a user who is not root"
mkdir "$T/open" "$T/bin" && cp "$WALBROOK" "$T/bin/walbrook"
chmod 755 "$T" "$T/bin" "$T/open"
as=()
if [ "$(id -u)" -eq 0 ]; then
  chown 65534 "$T/open"
  as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
fi
"${as[@]}" mkdir "$T/open/unreadable" "$T/open/readonly"
"${as[@]}" sqlite3 "$T/open/unreadable/a.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a)' >/dev/null
"${as[@]}" sqlite3 "$T/open/readonly/a.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a)' >/dev/null
"${as[@]}" sqlite3 "$T/open/b.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a)' >/dev/null
cat >"$T/open/c.yml" <<YML
dbs:
  - path: $T/open/unreadable/a.db
    replicas: [path: $T/open/r1]
  - path: $T/open/readonly/a.db
    replicas: [path: $T/open/r2]
  - path: $T/open/b.db
    replicas: [path: $T/open/readonly/r3]
YML
echo secret-access-key: geheim >>"$T/open/c.yml"
: >"$T/open/hidden.yml"
chmod 000 "$T/open/hidden.yml" "$T/open/unreadable"
chmod 555 "$T/open/readonly"
[ "${#as[@]}" -eq 0 ] || chown 65534 "$T/open/c.yml"
chmod 644 "$T/open/c.yml"
transcript config-unreadable "${as[@]}" "$T/bin/walbrook" config -config "$T/open/hidden.yml"
transcript check-permissions "${as[@]}" "$T/bin/walbrook" check -config "$T/open/c.yml"
chmod 755 "$T/open/unreadable" "$T/open/readonly"

note "a running daemon"
start daemon replicate "$ROOT/app.db" "file://$T/running"
wait_for 20 replica_has "$T/running" 'SELECT a FROM t' 1
transcript check-running walbrook check -config "$golden/conf/01-single-file.yml"
ended "$PID"
is "$?" 1 "it goes on"
stop "$PID"
is "$rc" 0 "and stops as it should"
run walbrook check -config "$golden/conf/01-single-file.yml"
is "$(grep -c 'running' <<<"$out")" 0 "and is then not noticed any more"

note "a database of an entry with dir is restored by its path"
start daemon2 replicate "$ROOT/tenants/7/a.db" "file://$ROOT/backup/tenants/7/a.db"
wait_for 20 replica_has "$ROOT/backup/tenants/7/a.db" 'SELECT a FROM t' 1
stop "$PID"
run walbrook restore -config "$golden/conf/07-directories.yml" -o "$T/restored.db" "$ROOT/tenants/7/a.db"
is "$rc" 0 "restore finds it" || note "$out"
is "$(sql "$T/restored.db" 'SELECT a FROM t')" 1 "and its replica"
run walbrook snapshots -config "$golden/conf/07-directories.yml" "$ROOT/tenants/7/a.db"
like "$out" '^file  *[0-9a-f]{16}  *00000000' "and so do the listings" || note "$out"
run walbrook restore -config "$golden/conf/07-directories.yml" -o "$T/restored2.db" "$ROOT/tenants/7/a.sqlite"
is "$rc" 3 "a name that does not fit is no database of it: exit code 3"
done_testing
