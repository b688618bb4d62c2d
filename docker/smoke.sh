#!/usr/bin/env bash
# The whole of compose.yaml, tried: it is brought up, writes a table into the store, loses an executor in the middle of a
# query that must answer right all the same, and is taken down with all that it wrote.
#   smoke.sh                     (builds the image: half an hour the first time)
#   SLUICE_IMAGE=IMAGE smoke.sh  (an image that is there)
# COMPOSE names the command where it is neither "docker compose" nor "podman compose" nor podman-compose. ROWS sizes the
# query; it must run for some seconds. KEEP=1 leaves everything up.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ -n "${COMPOSE:-}" ]; then read -ra compose <<<"$COMPOSE"
elif docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; then compose=(docker compose)
elif command -v podman-compose >/dev/null; then compose=(podman-compose)
elif podman compose version >/dev/null 2>&1; then compose=(podman compose)
else echo "smoke.sh needs docker compose or podman compose" >&2; exit 64; fi

project=sluice-smoke-$$
work=$(mktemp -d)
export SLUICE_SECRETS=$work/secrets
# Beside a cluster that runs already.
export SLUICE_PORT=${SLUICE_PORT:-25433} SLUICE_HTTP_PORT=${SLUICE_HTTP_PORT:-28787} PROMETHEUS_PORT=${PROMETHEUS_PORT:-29090}
rows=${ROWS:-20000000}
on() { "${compose[@]}" -p "$project" -f "$here/compose.yaml" "$@"; }
failures=0 finished=
tidy() {
  if ((failures)) || [ -z "$finished" ]; then on logs --tail 40 2>&1 || true; fi
  if [ -n "${KEEP:-}" ]; then echo "left up: project $project, secrets in $SLUICE_SECRETS"; return; fi
  on down -v >/dev/null 2>&1 || echo "could not be taken down: project $project" >&2
  rm -rf "$work"
}
trap tidy EXIT
check() { # what, then a command that must succeed
  if "${@:2}"; then echo "ok: $1"; else echo "FAILED: $1"; failures=$((failures + 1)); fi
}
within() { # seconds, then a command
  local until=$((SECONDS + $1))
  until "${@:2}"; do ((SECONDS < until)) || return 1; sleep 0.2; done
}

"$here/make-secrets" "$SLUICE_SECRETS"
PGPASSWORD=$(cat "$SLUICE_SECRETS/sluice.password")
export PGPASSWORD
# The machine's own psql, or that of the catalog's image.
if command -v psql >/dev/null; then
  ask() { psql "host=127.0.0.1 port=$SLUICE_PORT user=postgres dbname=postgres connect_timeout=5" -XAtq -v ON_ERROR_STOP=1 -c "$1" </dev/null; }
else
  ask() { on exec -T -e PGPASSWORD="$PGPASSWORD" catalog psql -h coordinator -p 5433 -U postgres -d postgres -XAtq -v ON_ERROR_STOP=1 -c "$1" </dev/null; }
fi
is() { [ "$(ask "$1" 2>/dev/null)" = "$2" ]; }

started=$SECONDS
on up -d
serving() { is 'SELECT 1' 1; }
joined() { is "SELECT count(*) FROM sys.executors WHERE state = 'alive'" "$1"; }
check "the coordinator answers" within 180 serving
check "three executors have joined" within 60 joined 3
echo "up in $((SECONDS - started)) s"

started=$SECONDS
# In pieces, so that every executor has files to read.
pieces=8
ask "CREATE TABLE numbers AS SELECT n, n % 1000003 AS k, 'row ' || n AS t FROM generate_series(1, $((rows / pieces))) AS g(n)"
for ((piece = 1; piece < pieces; piece++)); do
  first=$((piece * (rows / pieces)))
  ask "INSERT INTO numbers SELECT n, n % 1000003, 'row ' || n FROM generate_series($((first + 1)), $((first + rows / pieces))) AS g(n)"
done
rows=$((pieces * (rows / pieces)))
check "what was written is there" is 'SELECT count(*) FROM numbers' "$rows"
check "it lies in the store" is "SELECT count(*) > 0 FROM sys.snapshots" t
echo "$rows rows written in $((SECONDS - started)) s"

query="SET sluice.route = cluster; SELECT count(*), sum(c), sum(m) FROM (SELECT t, count(*) AS c, max(n) AS m FROM numbers GROUP BY t)"
want="$rows|$rows|$((rows * (rows + 1) / 2))"
# t is another value in every row: all of it is exchanged.
started=$SECONDS
check "a query on the cluster is right" [ "$(ask "$query")" = "$want" ]
echo "it took $((SECONDS - started)) s"

ask "$query" >"$work/answer" 2>"$work/problem" &
asking=$!
busy() { is "SELECT count(*) > 0 FROM sys.executors WHERE tasks_running > 0" t; }
check "the query runs on executors" within 30 busy
sleep "${KILL_AFTER:-1}"
check "it still runs when the executor is killed" kill -0 "$asking"
on kill -s KILL executor-2 >/dev/null
check "the executor is missed" within 30 joined 2
code=0
wait "$asking" || code=$?
check "the query has ended well" [ "$code" = 0 ]
check "its answer is right" [ "$(cat "$work/answer")" = "$want" ]
[ "$code" = 0 ] || cat "$work/problem"

on start executor-2 >/dev/null 2>&1 || on up -d executor-2 >/dev/null
check "the executor comes back" within 60 joined 3

# Told to end, it drains; nothing runs, so that takes no time.
started=$SECONDS
on stop executor-3 >/dev/null 2>&1
check "an executor that is told to end has left" within 10 joined 2
check "without waiting for its grace period ($((SECONDS - started)) s)" [ $((SECONDS - started)) -lt 30 ]
finished=1
echo "$failures failed"
exit $((failures > 0))
