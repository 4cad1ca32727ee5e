#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What is installed: by `make install` into a directory, and by the Debian package, really installed by dpkg, into this
# machine as it would be: the root is a copy (an overlay in memory, in name spaces of its own) in which everything may
# happen and of which nothing stays.
if [ -z "${WALBROOK_PACKAGE_ROOT:-}" ] && [ "$(id -u)" -eq 0 ]; then
  # Again, with mounts and processes that end with it. The place of the copy is not in $T, which is removed with all below.
  WALBROOK_PACKAGE_ROOT=$(mktemp -d)
  export WALBROOK_PACKAGE_ROOT
  if unshare --mount --pid --fork --kill-child --mount-proc true 2>/dev/null; then
    unshare --mount --pid --fork --kill-child --mount-proc --propagation private bash "$0" || bad=$?
    rmdir "$WALBROOK_PACKAGE_ROOT"
    exit "${bad:-0}"
  fi
  rmdir "$WALBROOK_PACKAGE_ROOT"
  WALBROOK_PACKAGE_ROOT=
fi
. "${0%/*}/lib.sh"

if [ ! -d "$WALBROOK_BUILD/packaging" ]; then
  skipped 1 "this build is not one to install"
  done_testing
  exit 0
fi

# ---- make install, make uninstall ----

prefix=$(meson introspect "$WALBROOK_BUILD" --buildoptions | python3 -c \
  'import json, sys; print(next(o["value"] for o in json.load(sys.stdin) if o["name"] == "prefix"))')
staged=$T/staged$prefix
run meson install --quiet --strip --no-rebuild -C "$WALBROOK_BUILD" --destdir "$T/staged"
is "$rc" 0 "it is installed into a directory" || note "$out"
for file in bin/walbrook share/man/man1/walbrook.1 share/man/man5/walbrook.yml.5 lib/systemd/system/walbrook.service \
  share/bash-completion/completions/walbrook.bash share/zsh/site-functions/_walbrook lib/sysusers.d/walbrook.conf \
  share/fish/vendor_completions.d/walbrook.fish share/doc/walbrook/LICENSE share/doc/walbrook/README.md \
  share/doc/walbrook/docs/systemd.md share/doc/walbrook/examples/walbrook.yml; do
  [ -s "$staged/$file" ]
  ok $? "$file"
done
is "$(find "$T/staged" ! -type l \( -perm /022 -o -type f -perm /111 ! -path '*/bin/walbrook' \) -print)" "" \
  "nobody else may write there, and only the program can be executed"
run walbrook config -config "$staged/share/doc/walbrook/examples/walbrook.yml"
is "$rc" 0 "the example configuration is valid" || note "$out"

touch "$staged/share/doc/walbrook/mine"
run "$SOURCE/scripts/uninstall" "$WALBROOK_BUILD" "$T/staged"
is "$rc,$out" "0," "it is uninstalled"
is "$(find "$T/staged" ! -type d -o -name walbrook -o -name examples)" "$staged/share/doc/walbrook
$staged/share/doc/walbrook/mine" "and what is not of us stays"

# ---- the unit ----

unit=$WALBROOK_BUILD/packaging/walbrook.service
if command -v systemd-analyze >/dev/null; then
  run systemd-analyze security --offline=true --no-pager --threshold=20 "$unit"
  is "$rc" 0 "the exposure of the unit is at most 2.0" || note "$out"
  note "$(printf '%s\n' "$out" | grep 'Overall exposure')"
  # The sandbox is what is measured, so it must be able to fail.
  grep -v '^SystemCallFilter\|^Protect\|^Private' "$unit" >"$T/walbrook.service"
  run systemd-analyze security --offline=true --no-pager --threshold=20 "$T/walbrook.service"
  is "$rc" 1 "without its sandbox it is not"
else
  skipped 2 "no systemd-analyze here"
fi

# ---- the Debian package ----

skip_rest() { # REASON
  skipped 1 "$1"
  done_testing
  exit 0
}

for tool in dpkg-buildpackage dh lintian systemd-sysusers setpriv; do
  command -v "$tool" >/dev/null || skip_rest "no $tool here (scripts/install-deps deb)"
done
sources() {
  (cd "$SOURCE" && find . -path ./.git -prune -o -path './build*' -prune -o -print | sort)
}
sources >"$T/sources"
LIMIT=300 run nice "$SOURCE/scripts/deb" "$T/deb"
is "$rc" 0 "the package is built, and lintian has no error and no warning" || note "$out"
deb=$(printf '%s\n' "$out" | tail -n 1)
is "$out" "$T/deb/walbrook_$(cat "$SOURCE/VERSION")_$(dpkg --print-architecture).deb" "its name has version and architecture"
is "$(sources | comm -13 "$T/sources" - | grep -v __pycache__)" "" "the tree of sources stays clean"

[ -n "${WALBROOK_PACKAGE_ROOT:-}" ] || skip_rest "installing it needs root and name spaces"
memory=$WALBROOK_PACKAGE_ROOT
copy_of_this_machine() { # NAME: sets $root, where it is, and $upper, which has what was changed in it
  root=$memory/$1/root upper=$memory/$1/upper
  mkdir -p "$root" "$upper" "$memory/$1/work" &&
    mount -t overlay -o "lowerdir=/,upperdir=$upper,workdir=$memory/$1/work" overlay "$root" &&
    rm -f "$root/etc/dpkg/dpkg.cfg.d/"* # images of containers leave documents out with it
}
if ! { mount -t tmpfs -o mode=755 tmpfs "$memory" && copy_of_this_machine one &&
  mount -t proc proc "$root/proc" && mount -t tmpfs -o mode=1777 tmpfs "$root/tmp" &&
  mount -t tmpfs -o mode=755 tmpfs "$root/run" && mount -t tmpfs -o mode=755 tmpfs "$root/dev" &&
  mknod -m 666 "$root/dev/null" c 1 3 && mknod -m 666 "$root/dev/urandom" c 1 9 &&
  mknod -m 666 "$root/dev/tty" c 5 0; } 2>"$T/mount.log"; then
  skip_rest "no copy of this machine to install into: $(tail -n 1 "$T/mount.log")"
fi
[ ! -e /usr/bin/walbrook ] && [ ! -e /usr/local/bin/walbrook ] || skip_rest "walbrook is installed on this machine"

# In the copy: as root, and as a user with its groups.
copy=(env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot "$root")
inside() { # COMMAND…
  "${copy[@]}" "$@"
}
as() { # USER COMMAND…
  inside setpriv --reuid "$1" --regid "$1" --init-groups --no-new-privs --inh-caps=-all "${@:2}"
}
# What there is in the copy and was not there before, but for the books and the caches of dpkg and its triggers.
changed() {
  (cd "$upper" && find . ! -type d ! -path './var/lib/dpkg/*' ! -path './var/cache/*' ! -path './var/log/*' \
    ! -path './etc/ld.so.cache' ! -path './etc/dpkg/*' | sort)
}
named() { # of all that, and of directories, what bears our name
  (cd "$upper" && find . -name '*walbrook*' ! -path './var/cache/*' | sort)
}
the_user() {
  inside getent passwd walbrook | cut -d : -f 6,7
}

cp "$deb" "$root/tmp/walbrook.deb"
run "${copy[@]}" dpkg -i /tmp/walbrook.deb
is "$rc" 0 "dpkg installs it" || note "$out"
is "$(the_user)" "/var/lib/walbrook:/usr/sbin/nologin" "its user is there and cannot log in"
is "$(inside passwd -S walbrook | cut -d ' ' -f 2)" "L" "nor has it a password"
is "$(inside /usr/bin/walbrook version)" "$("$WALBROOK" version)" "the program is ours"
is "$(inside cat /etc/default/walbrook)" "$(cat "$SOURCE/packaging/debian/walbrook.default")" "its configuration file is there"
is "$(find "$root/etc/systemd" -name '*walbrook*')" "" "the service is not enabled"
run "${copy[@]}" systemd-analyze verify --man=yes walbrook.service
is "$rc,$out" "0," "the unit fits what is installed, its manual pages too"
if inside test -e /usr/share/bash-completion/bash_completion; then
  is "$(inside bash -c '. /usr/share/bash-completion/bash_completion; _completion_loader walbrook; complete -p walbrook')" \
    "complete -F _walbrook walbrook" "bash finds its completion"
else
  skipped 1 "no bash-completion here"
fi
if inside test -e /usr/bin/zsh; then
  is "$(inside zsh -fc 'autoload -Uz compinit; compinit -D -u; print $_comps[walbrook]')" "_walbrook" "zsh finds its completion"
else
  skipped 1 "no zsh here"
fi
if inside test -e /usr/bin/fish; then
  like "$(inside env HOME=/tmp fish -c 'complete -C "walbrook repl"')" '^replicate' "fish finds its completion"
else
  skipped 1 "no fish here"
fi
inside dpkg -S /usr/bin/litestream /etc/litestream.yml /lib/systemd/system/litestream.service >/dev/null 2>&1
ok $((!$?)) "no file of it is one that a package of Litestream has"

# An application with a user of its own, whose group is let in, as docs/systemd.md says it.
inside useradd --system --user-group --no-create-home app
inside usermod -a -G app walbrook
inside install -d -o app -g app -m 2770 /srv/app
inside install -d -o walbrook -g walbrook -m 750 /var/lib/walbrook
as app sqlite3 /srv/app/app.db 'PRAGMA journal_mode = wal; CREATE TABLE t (x); INSERT INTO t VALUES (1)' >/dev/null
inside chmod 660 /srv/app/app.db
cat >"$root/etc/walbrook.yml" <<'CONF'
socket: /var/lib/walbrook/control.sock
dbs:
  - path: /srv/app/app.db
    replicas:
      - path: /var/lib/walbrook/replica
CONF
run "${copy[@]}" setpriv --reuid walbrook --regid walbrook --init-groups walbrook check
is "$rc" 0 "what is configured works for its user" || note "$out"

"${copy[@]}" setpriv --reuid walbrook --regid walbrook --init-groups --no-new-privs --inh-caps=-all \
  walbrook replicate </dev/null >"$T/daemon.log" 2>&1 &
PID=$!
PIDS+=("$PID")
restored() { # WANT: what the replica has, restored by its owner, who has the right to read it
  as walbrook sh -c 'cd /var/lib/walbrook && rm -f probe && walbrook restore -o probe file:///var/lib/walbrook/replica &&
    sqlite3 probe "SELECT sum(x) FROM t"; rm -f probe' 2>"$T/restore.log" | grep -qx "$1"
}
wait_for 20 restored 1
ok $? "the daemon replicates as its own user"
is "$(stat -c %u "/proc/$PID")" "$(inside id -u walbrook)" "it is that user"
as app sqlite3 -cmd '.timeout 10000' /srv/app/app.db 'INSERT INTO t VALUES (41)'
is "$?" 0 "the application writes beside it"
wait_for 20 restored 42
ok $? "what it wrote is in the replica, and restores"
stop "$PID"
is "$rc" 0 "it ends"
as app sqlite3 -cmd '.timeout 10000' /srv/app/app.db 'INSERT INTO t VALUES (58)'
is "$?" 0 "and the application writes after it"

run "${copy[@]}" dpkg --remove walbrook
is "$rc" 0 "dpkg removes it" || note "$out"
is "$(named | grep -v '^\./srv/\|^\./var/lib/')" "./etc/default/walbrook
./etc/walbrook.yml" "nothing but the configuration stays"
run "${copy[@]}" dpkg --purge walbrook
is "$rc" 0 "dpkg purges it" || note "$out"
is "$(named | grep -v '^\./srv/\|^\./var/lib/walbrook')" "./etc/walbrook.yml" \
  "its configuration is gone; what was written by hand stays"
[ -d "$root/var/lib/walbrook/replica/generations" ]
ok $? "and so does a replica that was kept in its directory"
like "$(inside dpkg -l walbrook 2>&1)" 'no packages found' "dpkg knows nothing of it"

rm -r "$root/srv/app" "$root/etc/walbrook.yml" "${root:?}/var/lib/walbrook"/*
inside dpkg -i /tmp/walbrook.deb >/dev/null 2>&1
inside install -d -o walbrook /var/lib/walbrook
run "${copy[@]}" dpkg --purge walbrook
is "$rc" 0 "installed and purged again, without anything that was kept" || note "$out"
is "$(named)" "" "nothing bears its name"
inside gpasswd -d walbrook app >/dev/null
inside userdel app
is "$(changed | grep -v '^\./etc/\(passwd\|shadow\|group\|gshadow\|subuid\|subgid\|\.pwd\.lock\)-\?$')" "" \
  "nothing at all has come, but for the user"
is "$(the_user)" "/var/lib/walbrook:/usr/sbin/nologin" "who stays, so that nobody inherits its files"
umount -R "$root"

# ---- the service, under a systemd of its own ----

# Boots the copy, in which a script is the first service, and waits for its end. It writes NAME=VALUE into $got.
cat >"$T/booted.sh" <<'SCRIPT'
exec 2>&1
say() { printf '%s=%s\n' "$1" "$2"; }
show() { systemctl show -P "$1" walbrook; }
sql() { runuser -u app -- sqlite3 -cmd '.timeout 10000' /srv/app/app.db "$1"; }
restored() {
  rm -f /root/probe*
  walbrook restore -o /root/probe /srv/backup/app >/dev/null 2>&1 && sqlite3 /root/probe 'SELECT sum(x) FROM t'
}
await() { # WANT COMMAND…: at most 20 s; prints what it came to
  local want=$1 i got
  shift
  for ((i = 0; i < 200; i++)); do
    got=$("$@") && [ "$got" = "$want" ] && break
    sleep 0.1
  done
  echo "$got"
}
alive_again() { # PID: another process does it now
  [ "$(show ActiveState)" = active ] && [ "$(show MainPID)" != "$1" ] && echo yes
}

say booted yes
rm -f /usr/sbin/policy-rc.d # of containers, in which no service may start
dpkg -i /root/walbrook.deb >/dev/null
say installed "$(systemctl is-enabled walbrook),$(show ActiveState)"
systemctl start walbrook 2>/dev/null
say unconfigured "$(show ActiveState),$(show ExecMainStatus),$(show NRestarts)"
systemctl reset-failed walbrook

useradd --system --user-group --no-create-home app
install -d -o app -g app -m 750 /srv/app /srv/backup
printf 'dbs:\n  - path: /srv/app/app.db\n    replicas:\n      - path: /srv/backup/app\n' >/etc/walbrook.yml
sql 'PRAGMA journal_mode = wal; CREATE TABLE t (x); INSERT INTO t VALUES (1)' >/dev/null
mkdir -p /etc/systemd/system/walbrook.service.d
{
  grep -v '^#' /usr/share/doc/walbrook/examples/walbrook-drop-in.conf | sed 's|/var/lib/app /mnt/backup|/srv/app /srv/backup|'
  echo RestartSec=100ms
} >/etc/systemd/system/walbrook.service.d/app.conf
systemctl daemon-reload
systemctl enable --now walbrook 2>/dev/null
say started "$?,$(show ActiveState),$(show StatusText)"
pid=$(show MainPID)
say user "$(stat -c %U "/proc/$pid")"
say sandbox "$(sed -n 's/^\(CapBnd\|NoNewPrivs\|Seccomp\):\t//p' "/proc/$pid/status" | tr '\n' ' ')"
say elsewhere "$(nsenter -t "$pid" -m touch /srv/other /etc/other 2>&1 | grep -c 'Read-only file system')"
sql 'INSERT INTO t VALUES (41)'
say replicated "$(await 42 restored)"
systemctl reload walbrook
say reloaded "$?,$(show MainPID)" | sed "s/,$pid\$/,same/"
echo 'nonsense: 1' >>/etc/walbrook.yml
systemctl reload walbrook 2>/dev/null
say refused "$?,$(show ActiveState)"
sed -i /nonsense/d /etc/walbrook.yml
kill -9 "$pid"
say killed "$(await yes alive_again "$pid")"
pid=$(show MainPID)
dpkg -i /root/walbrook.deb >/dev/null
say upgraded "$(await yes alive_again "$pid")"
sql 'INSERT INTO t VALUES (58)'
systemctl stop walbrook
say stopped "$(show Result),$(restored)"
systemctl start walbrook
dpkg --purge walbrook >/dev/null 2>&1
say purged "$(show ActiveState),$(pgrep -c walbrook)"
say ended yes
journalctl -u walbrook -o cat --no-pager | tail -n 40
SCRIPT

cgroups() { # those that it makes, and leaves behind
  find /sys/fs/cgroup -type d \( -path '*/payload*' -o -path '*/supervisor*' \) | sort
}
boots() {
  command -v systemd-nspawn >/dev/null && copy_of_this_machine two && mount -t tmpfs -o mode=755 tmpfs /run || return 1
  cp "$deb" "$root/root/walbrook.deb"
  cp "$T/booted.sh" "$root/root/booted.sh"
  cat >"$root/etc/systemd/system/walbrook-test.service" <<'UNIT'
[Unit]
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/bin/bash /root/booted.sh
StandardOutput=file:/root/got
TimeoutStartSec=90
UNIT
  cgroups >"$T/cgroups"
  SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 timeout -k 5 120 systemd-nspawn --quiet --register=no --keep-unit --private-network \
    -D "$root" -b -- --unit=walbrook-test.service </dev/null >"$T/boot.log" 2>&1
  cgroups | comm -13 "$T/cgroups" - | sort -r | xargs -r rmdir
  grep -qs '^booted=yes$' "$upper/root/got"
}
got() { # NAME
  sed -n "s/^$1=//p" "$T/service.log"
}
boots || skip_rest "no systemd can be booted here$(tail -n 1 "$T/boot.log" 2>/dev/null | sed 's/^/: /')"
cp "$upper/root/got" "$T/service.log"
is "$(got installed)" "disabled,inactive" "systemd: the service waits for its administrator"
is "$(got unconfigured)" "failed,3,0" "without a configuration it fails once, and is not tried again"
is "$(got started)" "0,active,Replicating 1 database" "with a configuration and a user it starts"
is "$(got user)" "app" "as that user"
is "$(got sandbox)" "0000000000000000 1 2 " "it has no rights, gets none, and its system calls are filtered"
is "$(got elsewhere)" "2" "it can write nowhere else"
is "$(got replicated)" "42" "it replicates"
is "$(got reloaded)" "0,same" "it reloads"
is "$(got refused)" "1,active" "a wrong configuration is refused, and it goes on"
is "$(got killed)" "yes" "killed, it is started again"
is "$(got upgraded)" "yes" "an upgrade starts it anew"
is "$(got stopped)" "success,100" "stopped, it has shipped the last commit"
is "$(got purged),$(got ended)" "inactive,0,yes" "a purge stops it"
done_testing
