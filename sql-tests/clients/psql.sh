#!/usr/bin/env bash
# psql: its meta-commands read the system catalogs with queries of their own; their output is the test.
set -uo pipefail

export PGHOST=${PGHOST:-127.0.0.1} PGPORT=${PGPORT:-5432} PGUSER=${PGUSER:-postgres} PGDATABASE=${PGDATABASE:-postgres}
export PGOPTIONS=${CLIENT_OPTIONS:-} PSQLRC=/dev/null PAGER=cat PGCLIENTENCODING=UTF8

# Every line is printed after its label; the label alone marks an empty answer.
label_lines() {
  local label=$1 line
  echo "$label: begin"
  while IFS= read -r line || [ -n "$line" ]; do
    printf '%s: | %s\n' "$label" "${line%"${line##*[![:space:]]}"}"
  done
}

# Messages differ in wording: of an error only the SQLSTATE is printed.
run() { # label, psql input
  local label=$1 input=$2
  printf '%s\n' "$input" |
    psql -X -q -v VERBOSITY=sqlstate 2>&1 |
    sed -E 's/^(psql:[^:]*:[0-9]+: )?ERROR: +([0-9A-Z]{5}).*/error \2/' |
    label_lines "$label"
}

# Relations, in the form that does not show sizes, owners' privileges or storage.
for command in '\d' '\dt' '\dv' '\dm' '\ds' '\dE' '\di' '\dt public.*' '\dt n*' '\dt no_such_table' '\dP'; do
  run "$command" "$command"
done
for table in region nation supplier customer part partsupp orders lineitem; do
  run "\\d $table" "\\d $table"
done
for command in '\dt+' '\dv+' '\dn+' '\l+'; do
  # Sizes and the access privileges are each server's own: only whether the command works.
  run "$command works" "\\o /dev/null
$command
\\o
\\echo done"
done
run '\d+ lineitem' '\pset format unaligned
\d+ lineitem'
run '\d+ nation' '\pset format unaligned
\d+ nation'
run '\d nation_pkey' '\d nation_pkey'
run '\d no_such' '\d no_such_table'

# The system catalog's own relations.
run '\d pg_namespace' '\pset format unaligned
\d pg_namespace'
run '\d pg_class' '\pset format unaligned
\d pg_class'
run '\dt pg_catalog.pg_cl*' '\dt pg_catalog.pg_cl*'
run '\dv information_schema.tables' '\dv information_schema.tables'
run '\d information_schema.tables' '\pset format unaligned
\d information_schema.tables'

# Schemas, roles, databases, privileges.
for command in '\dn' '\dn public' '\du' '\dg' '\dp no_such_table' '\z no_such_table' '\ddp' '\drds' '\db' '\dL' '\dx' '\dy' \
  '\dew' '\des' '\deu' '\det' '\dRp' '\dRs' '\dX' '\dl' '\dD public.*' '\dd' '\dO public.*' '\dc public.*' '\dC public' \
  '\dF english' '\dFd simple' '\dFp' '\dFt simple' '\dA' '\dAc btree' '\dconfig work_mem'; do
  run "$command" "$command"
done
run '\l' '\pset format unaligned
\pset tuples_only
\l postgres
\echo done'

# Functions, aggregates, operators, types.
for command in '\df abs' '\df public.*' '\df lower' '\da max' '\da count' '\do =' '\do ||' '\dT int4' '\dT+ int4' '\dT numeric' \
  '\dT text' '\dT public.*' '\dC int4' '\df pg_catalog.now' '\df upper' '\df date_trunc'; do
  run "$command" "$command"
done
run '\df+ abs works' '\o /dev/null
\df+ abs
\o
\echo done'
run '\sf' '\sf no_such_function'

# The session.
run '\conninfo' '\conninfo' | sed -E 's/port "[0-9]+"/port "PORT"/'
run '\encoding' '\encoding'
run '\timing off' '\timing off'
run 'server major' "select :SERVER_VERSION_NUM / 10000 = 15 as major \\gset
\\echo :major"
run 'client variables' '\echo :ENCODING :DBNAME :USER'
run '\password prompt' '\echo :{?PORT}'

# Results.
run 'select' 'select n_nationkey, n_name from nation order by 1 limit 3;'
run 'expanded' '\x
select n_nationkey, n_name from nation order by 1 limit 2;'
run '\gx' 'select r_name from region order by 1 limit 1 \gx'
run '\gdesc' 'select n_nationkey, n_name, null::numeric(10,2) as c, n_regionkey::int4 as d, now() as e from nation \gdesc'
run '\gdesc of table' 'select * from lineitem \gdesc'
run '\gdesc empty' 'select \gdesc'
run '\gset' 'select n_name as name from nation where n_nationkey = 3 \gset
\echo :name'
run '\gexec' "select format('select %L as v', r_name) from region order by 1 limit 2 \\gexec"
run '\crosstabview' "select r_name, o_orderstatus, count(*) from orders join customer on o_custkey = c_custkey
  join nation on c_nationkey = n_nationkey join region on n_regionkey = r_regionkey group by 1, 2 order by 1, 2 \\crosstabview"
run '\copy' "\\copy (select r_regionkey, r_name from region order by 1) to stdout"
run '\copy csv' "\\copy (select r_regionkey, r_name from region order by 1) to stdout with csv header"
run '\copy table' '\copy region(r_name) to /dev/null'
run 'copy' 'copy (select r_name, null from region order by 1 limit 1) to stdout;'
run '\if' '\if true
select 1 as one;
\else
select 2 as two;
\endif'
run 'FETCH_COUNT' '\set FETCH_COUNT 10
select n_name from nation order by 1;'
run 'FETCH_COUNT error' '\set FETCH_COUNT 10
select 1/(n_nationkey - 20) from nation order by n_nationkey;'
run 'variables' "\\set key 4
\\set name PERU
select n_name from nation where n_nationkey = :key or n_name = :'name' order by 1;"
run 'multiple' "select 'a' as a \\; select 'b' as b;"
run 'row count' 'select n_name from nation;
\echo :ROW_COUNT :ERROR :SQLSTATE' | tail -3
run 'error state' 'select 1/0;
\echo :ERROR :SQLSTATE :LAST_ERROR_SQLSTATE'
run 'csv' '\pset format csv
select n_nationkey, n_name from nation order by 1 limit 2;'
run 'html' '\pset format html
select n_nationkey, n_name from nation order by 1 limit 1;'
run 'null' "\\pset null NIL
select null::int4 as a, ''::text as b;"
run 'transaction' 'begin;
select 1/0;
select 1;
rollback;
select 1 as alive;'
run 'on error rollback' '\set ON_ERROR_ROLLBACK on
begin;
select 1/0;
select 1 as alive;
commit;'
run 'autocommit off' '\set AUTOCOMMIT off
select 1 as one;
rollback;'
run 'single transaction' 'begin; select 1 as a; commit;'
run 'columns' 'table region limit 0;'
run 'values' "values (1::int4, 'a'), (2, 'b') order by 1;"
run 'show all works' '\o /dev/null
show all;
\o
\echo done'
run 'show' 'show server_encoding; show client_encoding; show datestyle; show standard_conforming_strings; show search_path;'
run 'explain works' '\o /dev/null
explain select * from nation;
explain (format json) select 1;
explain analyze select 1;
\o
\echo done'
run 'echo hidden' '\set ECHO_HIDDEN noexec
\dt no_such_table' | head -2

echo 'single command: '"$(psql -X -Atc "select 'one'")"
echo 'two commands: '"$(psql -X -At -c "select 'one'" -c "select 'two'" | tr '\n' ' ')"
echo 'one string of two: '"$(psql -X -Atc "select 'one'; select 'two'" | tr '\n' ' ')"
echo 'single transaction option: '"$(psql -X -1 -Atc "select 'one'" -c "select 'two'" | tr '\n' ' ')"
psql -X -v ON_ERROR_STOP=1 -Atc 'select 1/0' >/dev/null 2>&1
echo "exit of an error: $?"
psql -X -l >/dev/null 2>&1
echo "exit of a list: $?"
exit 0
