# What the examples share: processes that always end, checks that fail loudly, a
# PostgreSQL of its own. Sourced by the `run` scripts; $here is the example's folder.
# shellcheck shell=bash

examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
umbra=${UMBRA:-umbra}

# The Python of the tests if it is there, else the one of the reader.
python=${PYTHON:-$examples/../../.cache/venv/bin/python}
[ -x "$python" ] || python=python3

broken=no
case ${1:-} in
"") ;;
--broken) broken=yes ;;
*)
    printf 'usage: %s [--broken]\n\n--broken  take out what the example relies on: it has to fail then\n' "$0" >&2
    exit 64
    ;;
esac

# Settings of the caller's own Umbra and PostgreSQL do not belong here, nor does a proxy.
while read -r name; do unset "$name"; done < <(compgen -e | grep -E '^(UMBRA_|PG[A-Z])' || true)
export NO_PROXY="*" no_proxy="*" PYTHONDONTWRITEBYTECODE=1

say() { printf '%s\n' "$@"; }
title() { printf '\n== %s\n' "$*"; }

# --- processes: known by name, stopped by pid, all of them at the end ---

declare -A pid
started=()
work=

gone() { ! kill -0 "$1" 2>/dev/null; }

# Waits up to $1 seconds until the command after it succeeds.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}

# Starts $1 in the background, its output in $work/$1.log. It has a session of its own
# and ends with this script, however that ends.
start() {
    local name=$1 guard=()
    shift
    if setsid true 2>/dev/null; then guard=(setsid); fi
    if setpriv --pdeathsig TERM true 2>/dev/null; then guard+=(setpriv --pdeathsig TERM); fi
    "${guard[@]}" "$@" >>"$work/$name.log" 2>&1 </dev/null &
    pid[$name]=$!
    started+=("$name")
}

# Stops $1 with the signal $2 (TERM) and waits for it.
stop() {
    local one=${pid[$1]:-}
    [ -n "$one" ] || return 0
    unset "pid[$1]"
    kill -CONT "$one" 2>/dev/null || true
    kill "-${2:-TERM}" "$one" 2>/dev/null || true
    wait_until 20 gone "$one" || kill -KILL "$one" 2>/dev/null || true
    wait "$one" 2>/dev/null || true
}

clean_up() {
    local status=$? index
    trap '' INT TERM HUP
    for ((index = ${#started[@]} - 1; index >= 0; index--)); do
        case ${started[index]} in
        postgres) stop postgres INT ;; # which is its quick way to shut down
        *) stop "${started[index]}" ;;
        esac
    done
    if [ "$status" -ne 0 ] && [ "$broken" = no ]; then
        say "" "kept for a look: $work" >&2
    elif [ -n "$work" ]; then
        rm -rf "$work" "${postgres:-$work}"
    fi
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
work=$(mktemp -d "${TMPDIR:-/tmp}/umbra-example.XXXXXX")

# --- checks ---

# What does not hold ends the example, with what each part said last.
fails() {
    local log
    if [ "$broken" = no ]; then
        for log in "$work"/*.log; do
            [ -s "$log" ] && say "--- the end of ${log##*/}:" && tail -n 12 "$log"
        done >&2
    fi
    printf '%s: does not hold: %s\n' "${0}" "$*" >&2
    exit 1
}

# holds WORDS COMMAND…: the command has to succeed.
holds() {
    local words=$1
    shift
    "$@" || fails "$words"
    say "  ok: $words"
}

# The same, but it may take a while.
soon() {
    local words=$1
    shift
    wait_until 60 "$@" || fails "$words"
    say "  ok: $words"
}

# Shows a command as one would type it, then runs it.
show() {
    local word line=
    for word in "$@"; do
        case $word in *[\*\[\&\ \>]*) word="'$word'" ;; esac
        line+=" $word"
    done
    line=${line//$umbra/umbra}
    line=${line//$work\//}
    say "  \$${line//$here\//}"
    "$@"
}

# A value of the JSON object on the last line: `json '["a"]["b"]' <FILE`. `value` is the object.
json() {
    "$python" -c 'import json, sys
value = json.loads(sys.stdin.read().strip().splitlines()[-1])
print(eval("value" + sys.argv[1] if sys.argv[1][:1] == "[" else sys.argv[1]))' "$1"
}

# Whether Python has these modules.
need_modules() {
    "$python" -c "import $1" 2>>"$work/python.log" ||
        fails "$python has the modules $1 (pip install $2; or PYTHON=… for another Python)"
}

for program in "$umbra" "$python" curl; do
    command -v "$program" >/dev/null || fails "$program is at hand (PATH; UMBRA=… and PYTHON=… name others)"
done

# --- the parts ---

# A WSGI application under gunicorn on a free port: `gunicorn NAME THREADS DIR APP [VAR=VALUE…]`;
# its address is then in $address.
gunicorn() {
    local name=$1 threads=$2 dir=$3 app=$4
    shift 4
    start "$name" env "$@" "$python" -m gunicorn --chdir "$dir" --bind 127.0.0.1:0 \
        --worker-class gthread --threads "$threads" --graceful-timeout 2 --no-control-socket \
        --access-logfile - --access-logformat '"%(r)s" %(s)s Host: %({host}i)s Via: %({via}i)s' "$app"
    wait_until 60 grep -qs 'Booting worker' "$work/$name.log" || fails "$name starts"
    address=$(sed -n 's/.*Listening at: http:\/\/\([0-9.:]*\).*/\1/p' "$work/$name.log" | tail -n 1)
}

# Starts `umbra` as $1 and waits until it is ready; where it listens is then in $address.
start_umbra() {
    local name=$1
    shift
    start "$name" "$umbra" "$@" --ready-file "$work/$name.json"
    wait_until 60 test -s "$work/$name.json" || fails "umbra $1 starts"
    # shellcheck disable=SC2034
    address=$(json 'value.get("listen", [""])[0]' <"$work/$name.json")
}

# --- PostgreSQL ---

postgres=

# PostgreSQL's programs: of Debian they are not in PATH.
postgres_programs() {
    local each
    for each in $(command -v initdb) /usr/lib/postgresql/*/bin/initdb; do
        if [ -x "$each" ]; then dirname "$(readlink -f "$each")"; fi
    done | sort -Vu | tail -n 1
}

# Starts a server of its own in a new directory, reached by a socket there and by nothing
# else. It refuses to run as root: then it runs as the package's user.
start_postgres() {
    local bin user=()
    bin=$(postgres_programs)
    [ -n "$bin" ] || fails "PostgreSQL is at hand (Debian and Ubuntu: apt-get install postgresql)"
    # In /tmp: the name of a socket has little room.
    postgres=$(mktemp -d /tmp/umbra-pg.XXXXXX)
    if [ "$(id -u)" -eq 0 ]; then
        local account=postgres
        id "$account" >/dev/null 2>&1 || account=nobody
        chown "$account" "$postgres"
        # Another user's process no longer ends with this script, unless it asks again.
        user=(setpriv --reuid "$account" --regid "$(id -g "$account")" --clear-groups --pdeathsig INT)
    fi
    (cd / && "${user[@]}" "$bin/initdb" -D "$postgres/data" -U shop -A trust -E UTF8 --locale=C --no-sync) \
        >>"$work/initdb.log" 2>&1 || fails "initdb succeeds"
    # Nothing of it has to survive a power cut.
    start postgres env -C / "${user[@]}" "$bin/postgres" -D "$postgres/data" -k "$postgres" \
        -c listen_addresses= -c fsync=off -c max_connections=80
    wait_until 60 "$bin/pg_isready" -q -h "$postgres" || fails "PostgreSQL starts"
    psql=$bin/psql
    say "  PostgreSQL $("$bin/postgres" --version | awk '{ print $3 }') of its own in $postgres"
}

# The address of the database $1.
database() { printf 'postgresql://shop@/%s?host=%s' "$1" "$postgres"; }

# Statements, or files by -f, in the database $1; values come one a line, columns by blanks.
sql() {
    local name=$1
    shift
    [ "$1" = -f ] || set -- -c "$@"
    "$psql" -XqtA -F ' ' -v ON_ERROR_STOP=1 -d "$(database "$name")" "$@"
}
