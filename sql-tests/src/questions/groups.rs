//! Groups and sets: GROUP BY of all kinds with filters and orders of aggregates, DISTINCT, DISTINCT ON, set operations, CTEs and limits.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// A statement.
pub fn invent(chance: &mut StdRng) -> String {
    let mut grouper = Grouper { chance };
    match grouper.chance.random_range(0..7) {
        0 | 1 => grouper.sets(2),
        2 => grouper.distinct_on(),
        3 => grouper.cte(),
        4 => grouper.sorted(),
        _ => grouper.groups(),
    }
}

struct Grouper<'a> {
    chance: &'a mut StdRng,
}

impl Grouper<'_> {
    fn one_in(&mut self, of: u32) -> bool {
        self.chance.random_range(0..of) == 0
    }

    fn pick<'b>(&mut self, of: &'b [&'b str]) -> &'b str {
        of.choose(self.chance).copied().unwrap_or_default()
    }

    fn from(&mut self) -> &'static str {
        [
            "q_o t",
            "q_i t",
            "q_i t",
            "q_e t",
            "(select * from q_i union all select * from q_o) t",
            "(select i.id, o.a, i.b, i.t from q_o o left join q_i i on i.a = o.a and i.b = 1) t",
            "(select o.id, i.a, o.b, i.t from q_i i right join q_o o using (a)) t",
        ]
        .choose(self.chance)
        .copied()
        .unwrap_or("q_i t")
    }

    fn condition(&mut self) -> &'static str {
        ["", "", " where t.a is not null", " where t.b = 1", " where t.a > 1 or t.t = 'x'", " where false"]
            .choose(self.chance)
            .copied()
            .unwrap_or("")
    }

    fn key(&mut self) -> &'static str {
        [
            "t.a",
            "t.b",
            "t.t",
            "t.a",
            "t.a + t.b",
            "t.b is null",
            "coalesce(t.a, t.b)",
            "t.a > 1",
            "case when t.a > t.b then t.a else 3 end",
        ]
        .choose(self.chance)
        .copied()
        .unwrap_or("t.a")
    }

    fn aggregate(&mut self) -> String {
        let value = self.pick(&["t.a", "t.b", "t.id", "t.a + t.b"]);
        let filter = self.pick(&["", "", "", " filter (where t.b = 1)", " filter (where t.a is null)"]);
        match self.chance.random_range(0..14) {
            0 => format!("count(*){filter}"),
            1 => format!("count(distinct {value}){filter}"),
            2 => format!("sum(distinct {value}){filter}"),
            3 => format!("string_agg(t.t, ',' order by t.t, t.id){filter}"),
            4 => format!("array_agg({value} order by {value} desc nulls last, t.id){filter}"),
            5 => format!("string_agg(distinct t.t, ',' order by t.t){filter}"),
            6 => format!("bool_and({value} > 0){filter}"),
            7 => format!("array_agg(distinct {value}){filter}"),
            8 => format!("percentile_disc(0.5) within group (order by {value}){filter}"),
            9 => format!("round(avg({value}){filter}, 4)"),
            10 => format!("sum({value}) / count(*)"),
            _ => format!("{}({value}){filter}", self.pick(&["sum", "min", "max", "count"])),
        }
    }

    fn having(&mut self) -> String {
        let compared = self.pick(&[" having % > 1", " having % is null", " having % <> 2 or % is null"]);
        if self.one_in(3) {
            let counted = self.pick(&["count(*)", "min(t.a)", "max(t.b)", "sum(t.id)"]);
            compared.replace('%', counted)
        } else {
            String::new()
        }
    }

    fn groups(&mut self) -> String {
        let (from, condition) = (self.from(), self.condition());
        let (first, second) = (self.key(), self.key());
        let (one, other) = (self.aggregate(), self.aggregate());
        let having = self.having();
        match self.chance.random_range(0..9) {
            0 => format!("select {one}, {other} from {from}{condition}{having}"),
            1 => format!("select {first}, {one} from {from}{condition} group by {first}{having}"),
            2 => format!("select {first} k, {one} from {from}{condition} group by k{having}"),
            3 => format!("select {first}, {second}, {one} from {from}{condition} group by 1, 2{having}"),
            4 | 5 if first != second => {
                let sets = self.pick(&[
                    "rollup(%, @)",
                    "cube(%, @)",
                    "grouping sets ((%, @), (%), ())",
                    "grouping sets ((%), (@))",
                    "grouping sets ((@), (%, @), (), ())",
                    "%, rollup(@)",
                ]);
                let sets = sets.replace('%', first).replace('@', second);
                let grouping = self
                    .pick(&["", ", grouping(%)", ", grouping(%, @)"])
                    .replace('%', first)
                    .replace('@', second);
                format!(
                    "select {first}, {second}, {one}{grouping} from {from}{condition} group by {sets}{having}"
                )
            }
            6 => format!("select distinct {one} from {from}{condition} group by {first}, {second}{having}"),
            7 => {
                let limit = self.pick(&["1", "2", "5"]);
                format!(
                    "select {first}, {one} from {from}{condition} group by {first}{having} order by 1 nulls first limit {limit}"
                )
            }
            _ => format!(
                "select count(*), sum(c) from (select {first} k, count(*) c from {from}{condition} group by {first}{having}) s where k is not null"
            ),
        }
    }

    /// What is sorted by, of the number `key`.
    fn sorter(&mut self, key: &str) -> String {
        let sorter = self.pick(&[
            "-@",
            "-abs(@)",
            "-coalesce(@, 1)",
            "@ > abs(@)",
            "@ > 1",
            "@ is null",
            "coalesce(@, 0) > 1",
            "not (@ > coalesce(@, 1))",
            "case when @ >= coalesce(@, 1) then 7 else @ end",
            "@ between 1 and abs(@)",
            "@ in (1, abs(@))",
            "abs(@) + @",
            "@ % 2",
            "@::text || 'x'",
            "nullif(@, 1) > 0 and @ < 3",
            "coalesce(@ > 1, false)",
            "(select max(i.a) from q_i i) > @",
            "case when @ > 1 then (select count(*) from q_i i where i.a = 1) else -abs(@) end",
        ]);
        let direction = self.pick(&["", " desc", " nulls first", " desc nulls last"]);
        format!("{}{direction}", sorter.replace('@', key))
    }

    fn sorted(&mut self) -> String {
        let (from, condition) = (self.from(), self.condition());
        let key = self.pick(&["t.a", "t.b", "(t.a + t.b)", "coalesce(t.a, t.b)"]);
        let sorter = self.sorter(key);
        let limit = self.pick(&["1", "2", "3", "10"]);
        match self.chance.random_range(0..6) {
            0 => format!(
                "select {key}, count(*) from {from}{condition} group by {key} order by {sorter}, {key} limit {limit}"
            ),
            1 => format!(
                "select t.a, t.b from {from}{condition} order by {sorter}, t.a, t.b, t.id limit {limit}"
            ),
            2 => format!(
                "select t.b, array_agg({key} order by {sorter}, {key}, t.id) from {from}{condition} group by t.b"
            ),
            3 => {
                let sorter = self.sorter("k");
                format!(
                    "select k, sum(c) over (order by {sorter}, k) from (select {key} k, count(*) c from {from}{condition} group by 1) s"
                )
            }
            4 => {
                let sorter =
                    self.sorter("k").split(" desc").next().unwrap_or_default().replace(" nulls first", "");
                format!(
                    "select k, row_number() over (partition by {sorter} order by k) from (select {key} k, count(*) c from {from}{condition} group by 1) s"
                )
            }
            _ => {
                let other = self.sorter("s.k");
                format!(
                    "select s.k, o.b from (select {key} k, count(*) c from {from}{condition} group by 1) s left join (select o.a, max(o.b) b from q_o o group by o.a) o on o.a = s.k order by {other}, s.k, o.b limit {limit}"
                )
            }
        }
    }

    fn distinct_on(&mut self) -> String {
        let (from, condition) = (self.from(), self.condition());
        let (first, second) = (self.key(), self.pick(&["t.a", "t.b", "t.t"]));
        match self.chance.random_range(0..4) {
            0 => format!("select distinct {first}, {second} from {from}{condition}"),
            1 => format!("select distinct {first} k from {from}{condition} order by k desc limit 2"),
            2 => format!(
                "select distinct on ({first}) {first}, t.id from {from}{condition} order by {first}, t.id nulls first, t.b, t.a, t.t"
            ),
            _ => format!(
                "select distinct on ({first}) {first}, {second} from {from}{condition} order by {first} desc, {second}, t.id"
            ),
        }
    }

    /// A query of two columns.
    fn pair(&mut self) -> String {
        let (from, condition) = (self.from(), self.condition());
        match self.chance.random_range(0..8) {
            0 => "values (1, 2), (1, 2), (null, 1)".to_owned(),
            1 => format!("select {}, null from {from}{condition}", self.pick(&["t.a", "t.b", "1"])),
            2 => format!("select t.a, count(*)::int from {from}{condition} group by t.a"),
            3 => format!("select distinct t.a, t.b from {from}{condition}"),
            4 => format!("(select t.a, t.b from {from}{condition} order by t.a, t.b, t.id limit 2)"),
            _ => format!(
                "select {}, {} from {from}{condition}",
                self.pick(&["t.a", "t.b"]),
                self.pick(&["t.b", "t.a", "t.id"])
            ),
        }
    }

    fn sets(&mut self, depth: u32) -> String {
        let left = if depth > 0 && self.one_in(2) { self.sets(depth - 1) } else { self.pair() };
        let right = match self.one_in(3) {
            true if depth > 0 => format!("({})", self.sets(depth - 1)),
            _ => self.pair(),
        };
        let op = self.pick(&["union", "union all", "intersect", "intersect all", "except", "except all"]);
        let sql = format!("{left} {op} {right}");
        if depth == 2 {
            return match self.chance.random_range(0..6) {
                0 => format!("{sql} order by 1 nulls first, 2 limit 3"),
                1 => format!("select count(*), sum(x), sum(y) from ({sql}) s(x, y)"),
                2 => format!("select * from ({sql}) s(x, y) where x is null or y > 1"),
                3 => format!("select x from ({sql}) s(x, y)"),
                _ => sql,
            };
        }
        sql
    }

    fn cte(&mut self) -> String {
        let sets = self.sets(1);
        let kind = self.pick(&["", "", " materialized", " not materialized"]);
        match self.chance.random_range(0..5) {
            0 => format!("with c(x, y) as{kind} ({sets}) select * from c union all select y, x from c"),
            1 => format!("with c(x, y) as{kind} ({sets}) select * from c l join c r on l.x = r.y"),
            2 => format!(
                "with c(x, y) as{kind} ({sets}), d as (select x, count(*) n from c group by x) select * from c left join d using (x)"
            ),
            3 => {
                let (op, step) = (self.pick(&["union", "union all"]), self.pick(&["1", "2"]));
                format!(
                    "with recursive r(n, m) as (select a, b from q_i where a is not null {op} select n + {step}, m from r where n < 5) select * from r"
                )
            }
            _ => format!(
                "with c(x, y) as{kind} ({sets}) select (select max(x) from c), o.id from q_o o where o.a in (select y from c)"
            ),
        }
    }
}
