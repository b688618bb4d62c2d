#!/usr/bin/env bash
# pgbench: the same statements through the simple, the extended and the prepared protocol.
set -euo pipefail

export PGHOST=${PGHOST:-127.0.0.1} PGPORT=${PGPORT:-5432} PGUSER=${PGUSER:-postgres} PGDATABASE=${PGDATABASE:-postgres}
export PGOPTIONS=${CLIENT_OPTIONS:-}

pgbench=$(command -v pgbench || compgen -G '/usr/lib/postgresql/*/bin/pgbench' | tail -n 1)
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

cat >"$directory/expression.sql" <<'SQL'
\set n random(1, 1000)
select :n::int + 1;
SQL
cat >"$directory/lookup.sql" <<'SQL'
\set n random(0, 24)
select n_name, r_name from nation join region on n_regionkey = r_regionkey where n_nationkey = :n;
SQL
cat >"$directory/transaction.sql" <<'SQL'
\set n random(1, 1000)
begin;
select o_totalprice from orders where o_orderkey = :n;
select count(*) from customer where c_custkey < :n;
end;
SQL
cat >"$directory/gset.sql" <<'SQL'
\set n random(0, 24)
select n_regionkey as region from nation where n_nationkey = :n \gset
select r_name from region where r_regionkey = :region;
SQL
cat >"$directory/pipeline.sql" <<'SQL'
\set n random(0, 24)
\startpipeline
select n_name from nation where n_nationkey = :n;
select r_name from region where r_regionkey = :n;
\endpipeline
SQL

for script in expression lookup transaction gset pipeline; do
  for mode in simple extended prepared; do
    # A pipeline needs the extended protocol.
    if [ "$script" = pipeline ] && [ "$mode" = simple ]; then continue; fi
    output=$("$pgbench" --no-vacuum --client 2 --jobs 1 --transactions 20 --protocol "$mode" \
      --file "$directory/$script.sql" 2>&1) || true
    failed=$(grep -o 'number of failed transactions: [0-9]*' <<<"$output" | grep -o '[0-9]*$' || echo unknown)
    done=$(grep -o 'actually processed: [0-9]*' <<<"$output" | grep -o '[0-9]*$' || echo unknown)
    echo "$script $mode: processed $done failed $failed"
    if [ "$failed" != 0 ] || [ "$done" != 40 ]; then echo "$output" >&2; fi
  done
done
