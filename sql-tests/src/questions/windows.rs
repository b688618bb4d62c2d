//! Window functions with every frame, filter and order, over tables, over groups, and below conditions.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// A statement.
pub fn invent(chance: &mut StdRng) -> String {
    let mut framer = Framer { chance };
    framer.statement()
}

struct Framer<'a> {
    chance: &'a mut StdRng,
}

/// What windows of a statement are over.
const FROM: [&str; 5] = [
    "q_i t",
    "q_o t",
    "(select * from q_i union all select id + 10, a, b, t from q_n) t",
    "(select o.id * 10 + coalesce(i.id, 0) id, i.a, i.b, o.t from q_o o left join q_i i on i.a = o.a) t",
    "q_e t",
];

impl Framer<'_> {
    fn one_in(&mut self, of: u32) -> bool {
        self.chance.random_range(0..of) == 0
    }

    fn pick<'b>(&mut self, of: &'b [&'b str]) -> &'b str {
        of.choose(self.chance).copied().unwrap_or_default()
    }

    fn statement(&mut self) -> String {
        let from = self.pick(&FROM);
        let condition = self.pick(&["", "", " where t.a is not null", " where t.b > 0 or t.b is null"]);
        match self.chance.random_range(0..10) {
            0 => {
                let (key, over) = (self.pick(&["t.a", "t.b", "t.t"]), self.window());
                let over = over
                    .replace("t.id", "count(*)")
                    .replace("t.a", key)
                    .replace("t.b", key)
                    .replace("t.t", key);
                let function =
                    self.pick(&["rank()", "sum(count(*))", "dense_rank()", "max(max(t.id))", "count(*)"]);
                format!(
                    "select {key}, count(*), {function} over ({over}) from {from}{condition} group by {key}"
                )
            }
            1 => {
                let (first, over) = (self.call(), self.window());
                let kept = self.pick(&["= 1", "<= 2", "> 1", "is null"]);
                format!(
                    "select * from (select t.id, t.a, {first} f, row_number() over ({over}) n from {from}{condition}) s where n {kept}"
                )
            }
            2 => {
                let (over, first, second) = (self.window(), self.function(), self.function());
                let more = self.pick(&["w", "(w)"]);
                format!(
                    "select t.id, {first} over w, {second} over {more} from {from}{condition} window w as ({over})"
                )
            }
            3 => {
                let (first, second) = (self.call(), self.call());
                format!("select t.id, coalesce({first}, 0) + coalesce({second}, 0) from {from}{condition}")
                    .replace("string_agg", "count")
                    .replace("(t.t, ',')", "(t.t)")
            }
            4 => {
                let first = self.call();
                format!("select distinct {first} from {from}{condition}")
            }
            _ => {
                let calls: Vec<String> = (0..self.chance.random_range(1..4)).map(|_| self.call()).collect();
                format!("select t.id, {} from {from}{condition}", calls.join(", "))
            }
        }
    }

    fn call(&mut self) -> String {
        let (function, window) = (self.function(), self.window());
        format!("{function} over ({window})")
    }

    fn value(&mut self) -> &'static str {
        ["t.a", "t.b", "t.id", "t.a + t.b", "coalesce(t.a, 0)"].choose(self.chance).copied().unwrap_or("t.a")
    }

    fn function(&mut self) -> String {
        let value = self.value();
        let number = self.pick(&["1", "2", "3", "0"]);
        match self.chance.random_range(0..16) {
            0 => "row_number()".to_owned(),
            1 => "rank()".to_owned(),
            2 => "dense_rank()".to_owned(),
            3 => self.pick(&["percent_rank()", "cume_dist()"]).to_owned(),
            4 => format!("ntile({})", self.pick(&["1", "2", "3", "7"])),
            5 | 6 => {
                let function = self.pick(&["lag", "lead"]);
                let rest = self.pick(&["", ", 2", ", 0", ", 1, -1", ", 2, t.id", ", -1"]);
                format!("{function}({value}{rest})")
            }
            7 => format!("{}({value})", self.pick(&["first_value", "last_value"])),
            8 => format!("nth_value({value}, {number})"),
            9 => format!("string_agg(t.t, ','){}", self.filter()),
            10 => format!("array_agg({value}){}", self.filter()),
            11 => format!("count(*){}", self.filter()),
            12 => format!("bool_or({value} > 1){}", self.filter()),
            _ => {
                let function = self.pick(&["sum", "min", "max", "count"]);
                format!("{function}({value}){}", self.filter())
            }
        }
    }

    fn filter(&mut self) -> &'static str {
        [
            "",
            "",
            " filter (where t.b = 1)",
            " filter (where t.a is null)",
            " filter (where t.id > 2 and t.b > 0)",
        ]
        .choose(self.chance)
        .copied()
        .unwrap_or("")
    }

    /// PARTITION BY, ORDER BY and a frame.
    fn window(&mut self) -> String {
        let partition = self.pick(&[
            "",
            "",
            "partition by t.a ",
            "partition by t.b ",
            "partition by t.a, t.t ",
            "partition by t.b > 1 ",
            "partition by t.b > abs(t.a) ",
        ]);
        let direction = self.pick(&["", " desc", " nulls first", " desc nulls last"]);
        match self.chance.random_range(0..6) {
            0 => {
                // One number, whose distance may be told.
                let (start, end) = self.bounds();
                format!(
                    "{partition}order by t.id{direction} range between {start} and {end}{}",
                    self.excluded()
                )
            }
            1 | 2 => {
                let (start, end) = self.bounds();
                let mode = self.pick(&["rows", "rows", "groups"]);
                let key = self.pick(&["t.a", "t.b", "t.t", "t.id", "-abs(t.a)", "coalesce(t.b, 0) > 1"]);
                format!(
                    "{partition}order by {key}{direction}, t.id, t.a, t.b, t.t {mode} between {start} and {end}{}",
                    self.excluded()
                )
            }
            3 => format!("{partition}order by t.b{direction}, t.id, t.a, t.t"),
            4 => format!("{partition}order by t.id{direction}, t.b, t.a, t.t"),
            _ => {
                let start = self.pick(&["unbounded preceding", "current row", "1 preceding"]);
                format!("{partition}order by t.id{direction}, t.a, t.b, t.t rows {start}")
            }
        }
    }

    fn excluded(&mut self) -> &'static str {
        if self.one_in(12) { " exclude current row" } else { "" }
    }

    fn bounds(&mut self) -> (&'static str, &'static str) {
        let bounds = [
            "unbounded preceding",
            "2 preceding",
            "1 preceding",
            "0 preceding",
            "current row",
            "0 following",
            "1 following",
            "2 following",
            "unbounded following",
        ];
        let (first, second) = (self.chance.random_range(0..8), self.chance.random_range(1..9));
        (bounds[first.min(second)], bounds[second.max(first)])
    }
}
