// node-postgres with pg-cursor, and postgres.js: both through the extended protocol.
'use strict';

const { Client, Pool } = require('pg');
const Cursor = require('pg-cursor');
const postgres = require('postgres');

const { PGHOST = '127.0.0.1', PGPORT = '5432', PGUSER = 'postgres', PGDATABASE = 'postgres', PGPASSWORD, CLIENT_OPTIONS = '' } =
  process.env;
const address = { host: PGHOST, port: Number(PGPORT), user: PGUSER, database: PGDATABASE, password: PGPASSWORD };
const slowQuery =
  'select count(*) from generate_series(1, 1000000) a(i), generate_series(1, 1000000) b(j) where a.i % 7 = b.j % 11';

function typed(value) {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return `[${value.map(typed).join(', ')}]`;
  // The driver reads some binary values wrongly by itself: an invalid date is a result, too.
  if (value instanceof Date) return `Date ${Number.isNaN(value.getTime()) ? 'invalid' : value.toISOString()}`;
  if (Buffer.isBuffer(value)) return `Buffer ${value.toString('hex')}`;
  if (typeof value === 'object') {
    return `{${Object.entries(value).map(([key, item]) => `${key}: ${typed(item)}`).join(', ')}}`;
  }
  return `${typeof value} ${JSON.stringify(value)}`;
}

function show(label, value) {
  console.log(`${label}: ${typed(value)}`);
}

async function attempt(label, action) {
  try {
    show(label, await action());
  } catch (error) {
    show(label, ['error', error.code ?? null]);
    if (!error.code) console.error(`${label}:`, error);
  }
}

const casts = {
  int2: '7::int2', int4: '7::int4', int8: '7::int8', float4: '1.5::float4', float8: '1.5::float8',
  numeric: '1.50::numeric(10,2)', text: "'a'::text", varchar: "'a'::varchar(3)", bool: 'true', bytea: "'\\x00ff'::bytea",
  date: "'1996-02-29'::date", timestamp: "'1996-02-29 01:02:03'::timestamp",
  timestamptz: "'1996-02-29 01:02:03+00'::timestamptz", interval: "interval '1 day 2 hours'", json: '\'{"a":1}\'::json',
  jsonb: '\'{"a":1}\'::jsonb', ints: 'array[1,2]::int4[]', texts: "array['a','b c']::text[]", null: 'null::int4',
};

const parameterized = [
  ['by number', 'select n_name from nation where n_nationkey = $1', [7]],
  ['by text of a number', 'select n_name from nation where n_nationkey = $1', ['7']],
  ['by text', 'select n_nationkey from nation where n_name = $1', ['PERU']],
  ['by date', 'select count(*) from orders where o_orderdate < $1', ['1993-01-01']],
  ['by decimal', 'select count(*) from orders where o_totalprice > $1', ['400000.50']],
  ['any', 'select n_name from nation where n_nationkey = any($1::int8[]) order by 1', [[1, 2]]],
  ['any uncast', 'select n_name from nation where n_nationkey = any($1) order by 1', [[1, 2]]],
  ['any text', 'select n_nationkey from nation where n_name = any($1) order by 1', [['PERU', 'CHINA']]],
  ['limit', 'select n_name from nation order by 1 limit $1 offset $2', [2, 1]],
  ['null', 'select $1::text is null as v', [null]],
  ['casts', 'select $1::int4 as a, $2::text as b, $3::bool as c, $4::date as d, $5::numeric(10,2) as e',
    [1, 'x', true, '1996-02-29', '1.5']],
  ['buffer', 'select $1::bytea as v', [Buffer.from([0, 255])]],
  ['json', 'select $1::jsonb as v', [{ a: 1 }]],
  ['timestamp', 'select $1::timestamptz as v', [new Date('1996-02-29T01:02:03Z')]],
  ['no argument type', 'select $1 as v', ['x']],
];

async function nodePostgres() {
  const client = new Client({ ...address, options: CLIENT_OPTIONS || undefined });
  client.on('error', () => {});
  await client.connect();
  for (const [name, expression] of Object.entries(casts)) {
    await attempt(`pg ${name}`, async () => {
      const { rows, fields } = await client.query(`select ${expression} as v`);
      return [rows[0].v, fields[0].dataTypeID, fields[0].dataTypeSize, fields[0].dataTypeModifier, fields[0].format];
    });
  }
  for (const [label, text, values] of parameterized) {
    await attempt(`pg ${label}`, async () => (await client.query(text, values)).rows);
    await attempt(`pg named ${label}`, async () => (await client.query({ name: label, text, values })).rows);
    await attempt(`pg binary ${label}`, async () =>
      (await client.query({ text, values, binary: true, rowMode: 'array' })).rows);
  }
  for (let key = 0; key < 3; key++) {
    await attempt(`pg named again ${key}`, async () =>
      (await client.query({ name: 'nation', text: 'select n_name from nation where n_nationkey = $1', values: [key] })).rows);
  }
  await attempt('pg result', async () => {
    const { command, rowCount, oid } = await client.query('select n_name from nation');
    return [command, rowCount, oid];
  });
  await attempt('pg two statements', async () =>
    (await client.query("select 'a' as v; select 'b' as v")).map((result) => result.rows));
  await attempt('pg fields', async () =>
    (await client.query('select o_orderkey, o_totalprice, o_orderdate, o_clerk from orders limit 0')).fields.map((field) => [
      field.name, field.columnID, field.dataTypeID, field.dataTypeSize, field.dataTypeModifier, field.tableID > 0]));

  const cursor = client.query(new Cursor('select o_orderkey, o_totalprice from orders where o_orderkey < $1 order by 1', [1000]));
  await attempt('pg cursor', async () => [await cursor.read(2), await cursor.read(1), (await cursor.read(10000)).length]);
  await attempt('pg cursor end', async () => cursor.read(1));
  const closed = client.query(new Cursor('select l_orderkey from lineitem'));
  await attempt('pg cursor closed', async () => {
    const length = (await closed.read(10)).length;
    await closed.close();
    return length;
  });

  for (const [label, text] of [['no table', 'select * from no_such_table'], ['division', 'select 1/0'], ['syntax', 'selec'],
    ['cast', "select 'x'::int4"]]) {
    await attempt(`pg error ${label}`, async () => (await client.query(text)).rows);
  }
  await client.query('begin');
  await attempt('pg in transaction', async () => (await client.query('select 1/0')).rows);
  await attempt('pg failed transaction', async () => (await client.query('select 1')).rows);
  await client.query('rollback');
  await client.query("set statement_timeout = '200ms'");
  await attempt('pg timeout', async () => (await client.query(slowQuery)).rows);
  await client.end();

  const pool = new Pool({ ...address, options: CLIENT_OPTIONS || undefined, max: 3 });
  await attempt('pg pool', async () =>
    (await Promise.all([0, 1, 2, 3, 4].map((key) =>
      pool.query('select count(*) as n from customer where c_nationkey = $1', [key])))).map((result) => result.rows[0].n));
  await pool.end();
}

async function postgresJs() {
  const sql = postgres({
    ...address, max: 2, onnotice: () => {}, connection: CLIENT_OPTIONS ? { options: CLIENT_OPTIONS } : {},
  });
  for (const [name, expression] of Object.entries(casts)) {
    await attempt(`postgres ${name}`, async () => (await sql.unsafe(`select ${expression} as v`))[0].v);
  }
  for (const [label, text, values] of parameterized) {
    await attempt(`postgres ${label}`, async () => [...(await sql.unsafe(text, values))]);
  }
  await attempt('postgres tagged', async () => [...(await sql`select n_name from nation where n_nationkey = ${3}`)]);
  await attempt('postgres in', async () =>
    [...(await sql`select n_name from nation where n_nationkey in ${sql([1, 2])} order by 1`)]);
  await attempt('postgres array', async () =>
    [...(await sql`select n_name from nation where n_name = any(${['PERU', 'CHINA']}) order by 1`)]);
  await attempt('postgres cursor', async () => {
    const lengths = [];
    await sql`select l_orderkey from lineitem where l_orderkey < 1000`.cursor(400, (rows) => { lengths.push(rows.length); });
    return lengths;
  });
  await attempt('postgres describe', async () => {
    const described = await sql`select n_name from nation where n_nationkey = ${1}`.describe();
    return [described.types, described.columns.map((column) => [column.name, column.type])];
  });
  await attempt('postgres simple', async () => (await sql`select 'a' as v; select 'b' as v`.simple()).map((rows) => [...rows]));
  await attempt('postgres begin', async () => sql.begin(async (inner) => [
    [...(await inner`select 'alive' as v`)],
    await inner.savepoint((nested) => nested`select 1/0`).catch((error) => error.code),
    [...(await inner`select 'alive' as v`)],
  ]));
  await attempt('postgres read only', async () => sql.begin('read only', async (inner) => [...(await inner`show transaction_read_only`)]));
  await attempt('postgres error', async () => [...(await sql`select * from no_such_table`)]);
  await attempt('postgres copy', async () => {
    const parts = [];
    for await (const part of await sql`copy (select r_name from region order by 1) to stdout`.readable()) parts.push(part);
    return Buffer.concat(parts).toString();
  });
  await attempt('postgres cancel', async () => {
    const query = sql.unsafe(slowQuery);
    setTimeout(() => query.cancel(), 300);
    return [...(await query)];
  });
  await attempt('postgres after cancel', async () => [...(await sql`select 'alive' as v`)]);
  await sql.end();
}

async function main() {
  await nodePostgres();
  await postgresJs();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
