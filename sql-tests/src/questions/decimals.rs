//! `numeric` in all places, where each value has the digits that PostgreSQL gives it: columns of several scales, quotients, averages
//! and roots, computed with, compared, grouped by, joined by, ordered by, and put together.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// What makes the table. A column without precision loses zeros at its ends: there are none.
pub const TABLES: &[&str] = &[
    "create table d_t (id int, g int, p numeric(10,2), q numeric(14,4), n numeric, i int, f float8)",
    "insert into d_t values \
     (1, 1, 1.50, 0.3333, 1.25, 3, 0.5), (2, 1, 2.25, 1.5000, 3, 7, 1.5), (3, 1, null, 2.2500, null, null, null), \
     (4, 2, -1.00, -0.0001, 100, -2, -0.25), (5, 2, 0.00, 0.0000, 0.001, 0, 1e10), (6, 2, 12345678.90, 1234567890.1234, \
     -7.5, 2147483647, 1e-5), (7, 3, 1.50, 1.5000, 1.5, 1, 1.5), (8, 3, null, null, null, null, null), \
     (9, null, 99.99, 0.0100, 0.01, 10, 3)",
];

/// A statement.
pub fn invent(chance: &mut StdRng) -> String {
    let mut asker = Asker { chance };
    match asker.chance.random_range(0..14) {
        0..3 => format!("select t.id, {}, {} from d_t t", asker.number(3), asker.number(2)),
        3 => format!("select t.id, {} from d_t t", asker.shown()),
        4 | 5 => asker.aggregates(),
        6 => {
            let key = asker.number(2);
            format!("select min(t.id), count(*), avg(t.p) from d_t t group by {key}")
        }
        7 | 8 => asker.window(),
        9 => {
            let (mut left, op, mut right) = (asker.beside("t", 2), asker.comparison(), asker.beside("u", 1));
            let join = asker.pick(&["join", "left join", "full join", "right join"]);
            let on = if join == "full join" { "=" } else { op };
            if join == "full join" {
                // PostgreSQL has none where a side is constant.
                (left, right) = (format!("(t.p + {left})"), format!("(u.q + {right})"));
            }
            format!("select t.id, u.id from d_t t {join} d_t u on {left} {on} {right}")
        }
        10 => format!("select t.id from d_t t where {}", asker.condition()),
        11 => {
            let (one, other) = (asker.number(1), asker.number(2));
            let all = asker.pick(&["union all", "union all", "intersect", "except"]);
            let count = if all == "union all" { "x" } else { "round(x, 8)" };
            format!("select {count} from (select {one} x from d_t t {all} select {other} from d_t t) s")
        }
        12 => {
            let values: Vec<String> =
                (0..3).map(|_| asker.pick(LITERALS).to_owned()).map(|value| format!("({value})")).collect();
            let (shown, op) = (asker.pick(&["x", "x / 3", "x * x", "-x", "round(x, 1)"]), asker.comparison());
            format!("select {shown}, x {op} 1.5 from (values {}) v (x)", values.join(", "))
        }
        _ => {
            let (one, other) = (asker.number(1), asker.number(1));
            let shown = asker.pick(&[
                "a",
                "a::text[]",
                "a::float8[]",
                "a[1]",
                "array_to_string(a, '|')",
                "a::numeric(12,3)[]",
            ]);
            format!("select id, {shown} from (select t.id, array[{one}, {other}] a from d_t t) s")
        }
    }
}

const COLUMNS: &[&str] = &["p", "p", "q", "n", "i"];
const LITERALS: &[&str] = &[
    "0",
    "1",
    "3",
    "-7",
    "0.0",
    "0.5",
    "1.50",
    "2.2500",
    "-0.125",
    "100.0",
    "1e3",
    "7.0000000001",
    "1.5::numeric",
    "'0.10'::numeric",
    "123456789.987654321",
    "0.0000000001",
    "null::numeric",
    "2.5::numeric(8,3)",
];

struct Asker<'a> {
    chance: &'a mut StdRng,
}

impl Asker<'_> {
    fn pick<'b>(&mut self, of: &'b [&'b str]) -> &'b str {
        of.choose(self.chance).copied().unwrap_or_default()
    }

    fn comparison(&mut self) -> &'static str {
        const ALL: &[&str] = &["=", "=", "<>", "<", "<=", ">", ">="];
        ALL.choose(self.chance).copied().unwrap_or("=")
    }

    /// A number of a row of `d_t t`.
    fn number(&mut self, depth: u32) -> String {
        self.beside("t", depth)
    }

    /// The same of the table under another name.
    fn beside(&mut self, table: &str, depth: u32) -> String {
        if depth == 0 || self.chance.random_range(0..6) == 0 {
            if self.chance.random_range(0..3) == 0 {
                return self.pick(LITERALS).to_owned();
            }
            return format!("{table}.{}", self.pick(COLUMNS));
        }
        let one = self.beside(table, depth - 1);
        match self.chance.random_range(0..18) {
            0..5 => {
                let other = self.beside(table, depth - 1);
                format!("({one} {} {other})", self.pick(&["+", "-", "*"]))
            }
            5..8 => {
                let other = self.beside(table, depth - 1);
                format!("({one} / nullif({other}, 0))")
            }
            8 => format!("({one} % {})", self.pick(&["0.7", "3", "1.25", "-0.3"])),
            9 => format!("round({one}::numeric, {})", self.pick(&["0", "1", "2", "5", "-1"])),
            10 => format!("trunc({one}::numeric, {})", self.pick(&["0", "1", "3"])),
            11 => {
                let function = self.pick(&["abs", "sign", "ceil", "floor", "round", "trunc"]);
                format!("{function}({one}::numeric)")
            }
            12 => {
                let function = self.pick(&["coalesce", "greatest", "least"]);
                let other = self.beside(table, depth - 1);
                format!("{function}({one}, {other})")
            }
            13 => {
                let other = self.beside(table, depth - 1);
                format!("case when {table}.id > 4 then {one} else {other} end")
            }
            14 => format!("sqrt(abs({one}::numeric))"),
            15 => format!("-({one})"),
            16 => {
                let kind = self.pick(&["numeric", "numeric", "numeric(20,3)", "numeric(20,8)"]);
                format!("({one})::{kind}")
            }
            _ => {
                let other = self.pick(&["2", "3", "0.5", "-1"]);
                format!("power(abs({one}::numeric) + 1.0, {other})")
            }
        }
    }

    /// A number as something else.
    fn shown(&mut self) -> String {
        let one = self.number(2);
        match self.chance.random_range(0..9) {
            0 => format!("({one})::text"),
            1 => format!("({one})::float8"),
            2 => format!("({one})::bigint"),
            3 => format!("to_char({one}, 'FM99999999990.0000')"),
            4 => format!("({one}) || '%'"),
            5 => format!("scale(({one})::numeric)"),
            6 => format!("trim_scale(({one})::numeric)"),
            7 => format!("({one}) + t.f"),
            _ => format!("ln(abs(({one})::numeric) + 1.5)"),
        }
    }

    /// What sums show depends on rows that add nothing where a CASE has numbers of several scales: those are left out.
    fn plain(&mut self) -> String {
        let column = self.pick(&["t.p", "t.q", "t.i", "t.n"]).to_owned();
        match self.chance.random_range(0..4) {
            0 => column,
            1 => format!("({column} / 3.0)"),
            2 => format!("({column} * {})", self.pick(&["1.5", "2", "0.25"])),
            _ => format!("({column} + t.p)"),
        }
    }

    fn aggregate(&mut self) -> String {
        match self.chance.random_range(0..8) {
            0 => format!("sum({})", self.plain()),
            1 | 2 => format!("avg({})", self.number(2)),
            3 => {
                let function = self.pick(&["var_pop", "var_samp", "stddev_pop", "stddev"]);
                format!("{function}({}::numeric)", self.plain())
            }
            4 => {
                let function = self.pick(&["min", "max"]);
                // Of equal numbers either may be given.
                format!("round({function}({})::numeric, 6)", self.number(2))
            }
            5 => format!("count(distinct {})", self.number(2)),
            6 => format!("round(avg({})::numeric, 2)", self.plain()),
            _ => format!("sum({}) / nullif(count(*), 0)", self.plain()),
        }
    }

    fn aggregates(&mut self) -> String {
        let (one, other) = (self.aggregate(), self.aggregate());
        match self.chance.random_range(0..5) {
            0 => format!("select {one}, {other} from d_t t"),
            1 => format!("select t.g, {one}, {other} from d_t t group by t.g having {other} is not null"),
            2 => format!("select t.g, {one}, grouping(t.g) from d_t t group by rollup(t.g)"),
            3 => format!(
                "select t.g, {one} from d_t t group by t.g having {other} > {}",
                self.pick(&["0", "1.5"])
            ),
            _ => format!("select t.g, -({one}), ({other}) * 2.5, coalesce({one}, 0) from d_t t group by t.g"),
        }
    }

    fn window(&mut self) -> String {
        let number = self.number(1);
        match self.chance.random_range(0..6) {
            0 => format!("select t.id, rank() over (order by {number}) from d_t t"),
            1 => format!("select t.id, count(*) over (partition by {number}) from d_t t"),
            2 => format!("select t.id, lag({number}) over (order by t.id) from d_t t"),
            3 => {
                let plain = self.plain();
                format!("select t.id, sum({plain}) over (order by t.id rows 2 preceding) from d_t t")
            }
            4 => {
                let plain = self.plain();
                format!("select t.id, avg({plain}) over (partition by t.g order by t.id) from d_t t")
            }
            _ => {
                format!("select t.id, dense_rank() over (partition by t.g order by {number} desc) from d_t t")
            }
        }
    }

    fn condition(&mut self) -> String {
        let (one, op, other) = (self.number(2), self.comparison(), self.number(1));
        match self.chance.random_range(0..7) {
            0 => format!("{one} between 0 and {other}"),
            1 => format!("{one} in ({other}, 1.5, 0)"),
            2 => format!("{one} {op} (select avg({}) from d_t u)", self.beside("u", 1)),
            3 => format!("{one} in (select {} from d_t u)", self.beside("u", 1)),
            4 => format!("{one} {op} any (select {} from d_t u where u.g = 1)", self.beside("u", 1)),
            5 => format!("{one} {op} (select max({}) from d_t u where u.g = t.g)", self.beside("u", 1)),
            _ => format!("{one} {op} {other}"),
        }
    }
}
