//! Joins of all kinds, in chains and in parentheses: ON, USING and NATURAL, with aliases of tables and of columns, and what names mean
//! above them.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// What makes the table whose columns are of other types than those of the tables of subqueries.
pub const TABLES: &[&str] = &[
    "create table q_w (a bigint, b float8, t varchar(10), w int)",
    "insert into q_w values (1, 1, 'x', 1), (2, 2.5, 'y', 2), (null, 1, null, 3), (3, null, '', 4), (1, 1, 'x', 5)",
];

/// The columns of a table.
const COLUMNS: [&str; 4] = ["id", "a", "b", "t"];

/// A statement.
pub fn invent(chance: &mut StdRng) -> String {
    let mut joiner = Joiner { chance, aliases: Vec::new() };
    joiner.statement()
}

struct Joiner<'a> {
    chance: &'a mut StdRng,
    aliases: Vec<(String, Vec<String>)>,
}

impl Joiner<'_> {
    fn one_in(&mut self, of: u32) -> bool {
        self.chance.random_range(0..of) == 0
    }

    fn pick<'b>(&mut self, of: &'b [&'b str]) -> &'b str {
        of.choose(self.chance).copied().unwrap_or_default()
    }

    fn statement(&mut self) -> String {
        let depth = self.chance.random_range(1..4);
        let from = self.from(depth);
        let condition = if self.one_in(3) { format!(" where {}", self.condition()) } else { String::new() };
        match self.chance.random_range(0..12) {
            0 => {
                let key = self.column();
                let aggregate = self.aggregate();
                format!("select {key}, {aggregate} from {from}{condition} group by {key}")
            }
            1 => {
                let key = self.column();
                format!("select distinct {key} from {from}{condition}")
            }
            2 => {
                let (key, other) = (self.column(), self.column());
                format!(
                    "select {key}, {other} from {from}{condition} order by {key} nulls first, {other} limit 3"
                )
            }
            3 => {
                let (key, other) = (self.column(), self.column());
                format!(
                    "select {key}, count(*) over (partition by {key}) from {from}{condition} order by {other}"
                )
            }
            4 => {
                let (key, outer) = (self.column(), self.condition_of("s.k"));
                format!(
                    "select * from (select {key} k, count(*) c from {from}{condition} group by 1) s where {outer}"
                )
            }
            5 => {
                let key = self.column();
                format!("select o.id, o.a in (select {key} from {from}{condition}) from q_o o")
            }
            6 => format!("select count(*) from (select * from {from}{condition} offset 0) s"),
            7 | 8 => format!("select * from {from}{condition}"),
            9 => {
                let (alias, _) = self.aliases[self.chance.random_range(0..self.aliases.len())].clone();
                let other = self.column();
                format!("select {alias}.*, {other} from {from}{condition}")
            }
            _ => {
                let (first, second, third) = (self.column(), self.column(), self.aggregated());
                format!("select {first}, {second}, {third} from {from}{condition}")
            }
        }
    }

    /// An expression over columns.
    fn aggregated(&mut self) -> String {
        let (left, right) = (self.column(), self.column());
        match self.chance.random_range(0..4) {
            0 => format!("coalesce({left}, {right})"),
            1 => format!("{left} is null"),
            2 => format!("{left} is not distinct from {right}"),
            _ => left,
        }
    }

    fn aggregate(&mut self) -> String {
        let column = self.column();
        match self.chance.random_range(0..4) {
            0 => format!("count({column})"),
            1 => format!("max({column})"),
            2 => format!("count(distinct {column})"),
            _ => "count(*)".to_owned(),
        }
    }

    /// A name: of a table's column, or one that a join may have merged.
    fn column(&mut self) -> String {
        let (alias, columns) = self.aliases[self.chance.random_range(0..self.aliases.len())].clone();
        let column = columns.choose(self.chance).cloned().unwrap_or_default();
        if self.one_in(4) { column } else { format!("{alias}.{column}") }
    }

    fn condition(&mut self) -> String {
        let column = self.column();
        self.condition_of(&column)
    }

    fn condition_of(&mut self, column: &str) -> String {
        match self.chance.random_range(0..5) {
            0 => format!("{column} is null"),
            1 => format!("{column} is not null"),
            2 => format!("{column} in (1, 2)"),
            3 => format!("coalesce({column}, 1) = 1"),
            _ => format!("{column} {} {}", self.pick(&["=", "<>", "<", ">="]), self.pick(&["1", "2", "0"])),
        }
    }

    fn from(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.table();
        }
        let (deep, flat) = (depth - 1, self.chance.random_range(0..2).min(depth - 1));
        let from = self.aliases.len();
        let left = self.from(deep);
        let between = self.aliases.len();
        let right = if flat == 0 { self.table() } else { format!("({})", self.from(flat)) };
        let kind =
            self.pick(&["join", "inner join", "left join", "right join", "full join", "left outer join"]);
        match self.chance.random_range(0..10) {
            0 => format!("{left} cross join {right}"),
            1 if depth == 1 => format!("{left}, {right}"),
            2 => format!("{left} natural {kind} {right}"),
            3..=6 => {
                let columns = self.pick(&["a", "a", "b", "t", "a, b", "b, a", "id"]);
                format!("{left} {kind} {right} using ({columns})")
            }
            _ => {
                let one = self.of(from, between);
                let other = self.of(between, self.aliases.len());
                let also = match self.chance.random_range(0..5) {
                    0 => format!(" and {}", self.condition_of(&one)),
                    1 => format!(" and {}", self.condition_of(&other)),
                    _ => String::new(),
                };
                let equals = if self.one_in(4) && !kind.starts_with("full") { "<" } else { "=" };
                format!("{left} {kind} {right} on {one} {equals} {other}{also}")
            }
        }
    }

    /// A number of a table that lies between two places.
    fn of(&mut self, from: usize, to: usize) -> String {
        let (alias, columns) = self.aliases[self.chance.random_range(from..to)].clone();
        let numbers: Vec<String> = columns.into_iter().filter(|column| !column.starts_with('t')).collect();
        format!("{alias}.{}", numbers.choose(self.chance).cloned().unwrap_or_default())
    }

    fn table(&mut self) -> String {
        let alias = format!("t{}", self.aliases.len());
        let names = |columns: &[&str]| columns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (sql, columns) = match self.chance.random_range(0..10) {
            0 => (format!("q_w {alias}"), names(&["a", "b", "t", "w"])),
            1 => (format!("(select a, b, id c from q_i) {alias}"), names(&["a", "b", "c"])),
            2 => (format!("(values (1, 2), (2, null), (null, 1)) {alias}(a, b)"), names(&["a", "b"])),
            3 => {
                let table = self.pick(&["q_o", "q_i", "q_n"]);
                (format!("{table} {alias}(a, x)"), names(&["a", "x", "b", "t"]))
            }
            4 => (format!("(select distinct a from q_i where b = 1) {alias}"), names(&["a"])),
            _ => {
                let table = self.pick(&["q_o", "q_i", "q_i", "q_n", "q_e"]);
                (format!("{table} {alias}"), names(&COLUMNS))
            }
        };
        self.aliases.push((alias, columns));
        sql
    }
}
