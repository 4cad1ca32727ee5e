#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The page for people and the status over HTTP, with what makes a page ugly: followers, one of them slow, a database
# that is broken, a replica that fails, long paths, paths that look like HTML, very many databases. A parser looks at
# every page; a browser, where there is one, takes pictures of it (SHOTS=DIR keeps them).
. "${0%/*}/lib.sh"

shots=${SHOTS:-$T/shots}
mkdir -p "$shots"
browser=
for name in chromium-headless-shell chromium chromium-browser google-chrome; do
  [ -n "$browser" ] || browser=$(command -v "$name" || true)
done

wal_db() { # DATABASE…
  local db
  for db; do
    mkdir -p "${db%/*}"
    sql "$db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(hex(randomblob(20000)));' >/dev/null
  done
}
begin() { # NAME CONFIG [FLAG…]: starts it and sets $url
  start "$1" replicate -config "$2" "${@:3}"
  wait_for 20 says "$1" 'serving metrics on' || return
  url=$(sed -n 's,.*serving metrics on" url=\(http[^ ]*\)/metrics.*,\1,p' "$T/$1.log" | tail -n 1)
}
encoded() { # TEXT
  python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1]))' "$1"
}
get() { # PATH [CURL FLAG…]: sets $out (body) and $code
  code=$(curl -sS -m 20 "${@:2}" -o "$T/body" -w '%{http_code} %{content_type}' "$url$1" 2>&1)
  out=$(cat "$T/body")
}
fetch() { # NAME: the page and its headers
  curl -sS -m 20 -D "$T/$1.head" -o "$T/$1.html" "$url/"
}
json() { # FILE PATH: of the JSON
  sqlite3 :memory: "SELECT json_extract(CAST(readfile('$1') AS TEXT), '$2')"
}
page_has() { # ERE
  fetch now && grep -Eq -- "$1" "$T/now.html"
}

# What must hold of every page. Prints what does not.
cat >"$T/look.py" <<'PY'
import base64, hashlib, html.parser, re, sys

head, text = open(sys.argv[1]).read(), open(sys.argv[2], encoding="utf-8").read()
bad = []
policy = " ".join(re.findall(r"(?im)^content-security-policy: *(.*?)\r?$", head))


def hashed(body):
    return "'sha256-" + base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() + "'"


class Look(html.parser.HTMLParser):
    void = {"meta", "link", "path", "br"}

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.text, self.cells, self.rows, self.heads = [], "", 0, 0, 0

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        for name, value in attrs.items():
            if name in ("src", "srcset", "action", "data") or name.startswith("on") or name == "style":
                bad.append(f"{tag} has {name}")
            if name == "href" and not re.match(r"/[a-z]+$|data:,$", value):
                bad.append(f"{tag} leads to {value}")
        if tag == "th":
            self.heads += 1
            if attrs.get("scope") not in ("col", "row", "rowgroup"):
                bad.append("a th without scope")
        if tag == "svg" and not attrs.get("aria-label"):
            bad.append("a graph without a label")
        if tag == "tr":
            self.cells, self.rows = 0, self.rows + 1
        if tag in ("td", "th"):
            self.cells += int(attrs.get("colspan", 1))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.void:
            return
        if not self.open or self.open.pop() != tag:
            bad.append(f"</{tag}> closes something else")
        if tag == "tr" and self.cells != 6:
            bad.append(f"a row of {self.cells} cells")

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            want = self.open[-1] + "-src " + hashed(data)
            if want not in policy:
                bad.append(f"the policy does not name this {self.open[-1]}")
        else:
            self.text += data


look = Look()
look.feed(text)
look.close()
if look.open:
    bad.append(f"not closed: {look.open}")
for want in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"):
    if want not in policy:
        bad.append(f"the policy lacks {want}")
if "unsafe" in policy:
    bad.append("the policy is not strict")
for want in sys.argv[3:]:
    if want not in look.text:
        bad.append(f"does not say: {want}")
print("\n".join(bad))
PY
sound() { # NAME DESCRIPTION TEXT…: the page NAME is well made, and a reader finds each TEXT
  is "$(python3 "$T/look.py" "$T/$1.head" "$T/$1.html" "${@:3}" 2>&1)" "" "$2"
}

# A picture: PNG of that width, and its background (the pixel at the lower left) is light or dark as it should be.
cat >"$T/png.py" <<'PY'
import struct, sys, zlib

data = open(sys.argv[1], "rb").read()
width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
at, packed = 8, b""
while at < len(data):
    n, name = struct.unpack(">I4s", data[at : at + 8])
    packed += data[at + 8 : at + 8 + n] if name == b"IDAT" else b""
    at += 12 + n
raw = zlib.decompress(packed)
step = {2: 3, 6: 4}[kind]
line, above = b"", bytes(width * step)
for row in range(height):  # the filters of PNG, as far as the first pixel of each row needs them
    filtered, start = raw[row * (width * step + 1)], row * (width * step + 1) + 1
    first = raw[start : start + 3]
    if filtered in (2, 4):
        first = bytes((first[i] + above[i]) & 255 for i in range(3))
    elif filtered == 3:
        first = bytes((first[i] + above[i] // 2) & 255 for i in range(3))
    above = first
print(width, "dark" if sum(above) < 200 else "light")
PY
shoot() { # NAME: four pictures, and whether the page is wider than a phone
  local width mode scheme
  if [ -z "$browser" ]; then
    skipped 6 "no browser here (chromium-headless-shell)"
    return
  fi
  for width in 1280 390; do
    for mode in light dark; do
      scheme=1
      [ "$mode" = light ] || scheme=0
      timeout -k 5 60 "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --disable-dev-shm-usage \
        --user-data-dir="$T/profile" --blink-settings=preferredColorScheme=$scheme --window-size=$width,1600 \
        --virtual-time-budget=5000 --enable-logging=stderr --screenshot="$shots/$1-$width-$mode.png" "$url/" \
        >"$T/browser.out" 2>&1
      is "$(python3 "$T/png.py" "$shots/$1-$width-$mode.png" 2>&1)" "$width $mode" "$1: a picture, $width $mode"
      grep -E 'CONSOLE|Refused' "$T/browser.out" >>"$T/console.out"
    done
  done
  is "$(cat "$T/console.out")" "" "$1: the browser had nothing to complain about"
  # Without the header of the policy a script of ours may measure.
  sed 's,</body>,<script>document.title = "wide " + document.documentElement.scrollWidth</script></body>,' \
    "$T/$1.html" >"$T/measure.html"
  timeout -k 5 60 "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --disable-dev-shm-usage \
    --user-data-dir="$T/profile" --window-size=390,1600 --dump-dom "file://$T/measure.html" >"$T/measured.html" 2>/dev/null
  like "$(cat "$T/measured.html")" '<title>wide 390<' "$1: nothing is wider than a phone"
}

note "a primary with all kinds of trouble"
far="$T/a very long directory name that somebody once thought was a good idea/and/below/it/another/with-hyphens-and-more"
odd="$far/<script>alert(1)<b>customers & \"orders\".db"
wal_db "$T/data/app.db" "$T/data/sessions.db" "$T/data/billing.db" "$odd"
head -c 8192 /dev/urandom >"$T/data/broken.db"
touch -d '1 minute ago' "$T/data/broken.db"
cat >"$T/one.yml" <<E
socket: $T/one.sock
addr: "127.0.0.1:0"
dbs:
  - { path: $T/data/app.db, replicas: [ { path: $T/r/app } ] }
  - { path: $T/data/sessions.db, replicas: [ { path: $T/r/sessions } ] }
  - { path: $T/data/billing.db, replicas: [ { path: $T/r/billing }, { name: offsite, path: $T/away/billing } ] }
  - { path: $T/data/broken.db, replicas: [ { path: $T/r/broken } ] }
  - { path: $T/data/later.db, replicas: [ { path: $T/r/later } ] }
  - path: '$odd'
    replicas: [ { path: $T/r/odd } ]
E
begin one "$T/one.yml"
ok $? "it serves" || exit
primary=$url
run walbrook sync -socket "$T/one.sock" "$T/data/app.db" "$T/data/billing.db" "$odd"
is "$rc" 0 "all is shipped"
rm -rf "$T/away"
echo "not a directory" >"$T/away"
sql "$T/data/billing.db" 'INSERT INTO t VALUES(1)'
wait_for 20 page_has 'offsite.*fails \('
ok $? "a replica that fails is on the page"
fetch trouble
sound trouble "the page is well made, and tells" "2 of 6 need attention" "replica offsite fails" "broken for" "$odd" \
  "not a SQLite database" "waiting"
shoot trouble
get / -I
is "$code" "200 text/html; charset=utf-8" "HEAD as well"
get / -X POST -d x
is "${code%% *}" 405 "another method: 405"
[ "$(wc -c <"$T/trouble.html")" -lt 32768 ]
ok $? "it is small ($(wc -c <"$T/trouble.html") bytes)"

note "followers: one as it should be, one that reads slowly, in a program of 2022"
mkdir "$T/copy"
cat >"$T/two.yml" <<E
socket: $T/two.sock
addr: "127.0.0.1:0"
dbs:
  - path: $T/copy/app.db
    upstream: { url: "$primary", path: "$T/data/app.db" }
    replicas: [ { path: $T/r/copy } ]
  - path: $T/copy/gone.db
    upstream: { url: "http://127.0.0.1:9", path: /nowhere.db }
E
begin two "$T/two.yml"
copy=$url
url=$primary
curl -sS -m 120 --limit-rate 1k -o /dev/null "$primary/stream?path=$(encoded "$T/data/app.db")" 2>/dev/null &
PIDS+=("$!")
follows() {
  run walbrook status -socket "$T/two.sock" -json "$T/copy/app.db"
  printf '%s' "$out" | grep -v '^walbrook: ' >"$T/two.json"
  [ "$(json "$T/two.json" '$.databases[0].upstream.state')" = following ]
}
wait_for 30 follows
ok $? "the copy follows"
two_followers() {
  get "/status?path=$(encoded "$T/data/app.db")"
  [ "$(json "$T/body" '$.databases[0].followers[1].state')" = follows ]
}
wait_for 30 two_followers
ok $? "the primary has two followers"
for ((i = 0; i < 12; i++)); do sql "$T/data/app.db" 'INSERT INTO t SELECT hex(randomblob(500000))'; done
lags() {
  get "/status?path=$(encoded "$T/data/app.db")"
  sqlite3 :memory: "SELECT count(*) FROM json_each(CAST(readfile('$T/body') AS TEXT), '\$.databases[0].followers')
    WHERE value->>'\$.lag_seconds' > 0.5 AND value->>'\$.behind_bytes' > 0" | grep -q '^1$'
}
wait_for 30 lags
ok $? "the slow one lags, and only that one"
is "$code" "200 application/json" "/status is JSON"
is "$(json "$T/body" '$.databases[0].followers[0].peer' | sed 's/[0-9]*$//')" "127.0.0.1:" "with who it is"
fetch followers
sound followers "the page is well made, and tells" "2 followers" "to 127.0.0.1:" ", plain"
shoot followers
run walbrook status -socket "$T/one.sock"
like "$out" 'to 2 followers' "status has a line for them"
run walbrook status -socket "$T/one.sock" "$T/data/app.db"
like "$out" '^follower 127\.0\.0\.1:[0-9]+ \(a plain client\)' "and of one database tells each"
get /metrics
like "$out" "^walbrook_db_followers\{db=\"$T/data/app.db\"\} 2" "metrics count them"
like "$out" "^walbrook_follower_lag_seconds\{db=\"$T/data/app.db\",peer=\"127.0.0.1\"\} [0-9]*\.[0-9]" \
  "and have the lag by host, whatever its ports"

note "the side of the copy"
url=$copy
wait_for 20 page_has 'not reached'
fetch copies
sound copies "the page is well made, and tells" "2 databases (2 followed)" "from $primary" "$T/data/app.db" "following" \
  "not reached" "1 of 2 needs attention"
shoot copies
get /metrics
like "$out" "^walbrook_upstream_connected\{db=\"$T/copy/app.db\"\} 1" "metrics: connected"
like "$out" "^walbrook_upstream_state\{db=\"$T/copy/gone.db\",state=\"connecting\"\} 1" "and not"
like "$out" "^walbrook_upstream_transactions\{db=\"$T/copy/app.db\"\} [1-9]" "transactions are counted"
is "$(grep -Ev '^(#|$)' <<<"$out" | grep -Evc '^[a-z_]+(\{([a-z]+="([^"\\]|\\.)*",?)+\})? -?[0-9]+(\.[0-9]+)?$')" 0 "every line is well formed"
is "$(grep '^# TYPE' <<<"$out" | sort | uniq -d)" "" "no family comes twice"
run walbrook status -socket "$T/two.sock"
is "$rc" 1 "status: somebody is needed for the one that is not reached"
like "$out" "from $primary" "and it tells where the other comes from"
run walbrook status -socket "$T/two.sock" "$T/copy/app.db"
like "$out" "^upstream $primary, $T/data/app.db there" "of one: everything of its upstream"

note "what was written there is read here"
bad=0
for ((i = 1; i <= 20; i++)); do
  url=$primary
  sql "$T/data/app.db" "DELETE FROM t WHERE a < 1000; INSERT INTO t VALUES($i)"
  get "/position?path=$(encoded "$T/data/app.db")"
  position=$out
  [ "$code" = "200 text/plain; charset=utf-8" ] || bad=$((bad + 1))
  url=$copy
  get "/wait?path=$(encoded "$T/copy/app.db")&position=$position&timeout=20s"
  [ "${code%% *}" = 200 ] && [ "$(sql "$T/copy/app.db" 'SELECT a FROM t WHERE a < 1000')" = "$i" ] || bad=$((bad + 1))
done
is "$bad" 0 "20 times: position on the primary, wait on the copy, and its readers see it"
token=$("$WALBROOK" position -socket "$T/one.sock" "$T/data/app.db")
run walbrook wait -socket "$T/two.sock" "$T/copy/app.db" "$token"
is "$rc" 0 "the same on the command line"
path=$(encoded "$T/copy/app.db")
get "/wait?path=$path&position=${token%/*}/0000ffff:32&timeout=50ms"
is "${code%% *}" 504 "not in time: 504"
like "$out" 'not yet at' "and how far it is"
url=$primary
get "/wait?path=$(encoded "$T/data/app.db")&position=0123456789abcdef/00000000:0"
is "${code%% *}" 409 "another generation: 409"
for bad in "position?x=1" "wait?path=$(encoded "$T/data/app.db")" "wait?path=$(encoded "$T/data/app.db")&position=1:2" \
  "wait?path=$(encoded "$T/data/app.db")&position=$token&timeout=soon"; do
  get "/$bad"
  is "${code%% *}" 400 "/${bad%%\?*} without what it needs: 400"
done
get "/position?path=/unknown.db"
is "${code%% *}" 404 "a database that is not here: 404"
get "/position?path=$(encoded "$T/data/later.db")"
is "${code%% *}" 503 "one that is not there yet: 503"
for ((i = 0; i < 40; i++)); do
  curl -s -m 0.2 -o /dev/null "$primary/wait?path=$(encoded "$T/data/app.db")&position=${token%/*}/0000ffff:32" &
done
wait $(jobs -p | tail -n 40) 2>/dev/null
get "/position?path=$(encoded "$T/data/app.db")"
is "${code%% *}" 200 "who hangs up while waiting is forgotten"
"$WALBROOK" status -socket "$T/one.sock" -json >"$T/socket.json" 2>/dev/null
get /status
is "$(json "$T/body" '$.databases' | tr -d '[]{}0-9.":TZ-' | tr ',' '\n' | sort -u | wc -l)" \
  "$(json "$T/socket.json" '$.databases' | tr -d '[]{}0-9.":TZ-' | tr ',' '\n' | sort -u | wc -l)" \
  "/status is what status -json prints"
is "$(json "$T/body" '$.need_attention')" 2 "and says how many need somebody"

note "very many"
mkdir "$T/many"
{
  echo "socket: $T/many.sock"
  echo "dbs:"
  for ((i = 0; i < 230; i++)); do
    printf '  - path: %s/many/%03d.db\n    replicas: [ { path: %s/many/%03d.r } ]\n' "$T" "$i" "$T" "$i"
  done
} >"$T/many.yml"
wal_db "$T/many/000.db"
for ((i = 1; i < 229; i++)); do
  cp "$T/many/000.db" "$T/many/$(printf %03d "$i").db"
done
cp "$T/data/broken.db" "$T/many/229.db"
touch -d '1 minute ago' "$T/many/229.db"
begin many "$T/many.yml" -addr 127.0.0.1:0
wait_for 30 page_has '1 of 230 needs attention'
fetch many
sound many "the page is well made; of 230 it shows 200, the one that is broken among them" \
  "And 30 more, which are well" "229.db" "broken"
[ "$(wc -c <"$T/many.html")" -lt 400000 ]
ok $? "and stays bounded ($(wc -c <"$T/many.html") bytes)"
shoot many
done_testing
