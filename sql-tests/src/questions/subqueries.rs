//! Subqueries of all kinds in all places, over tables that have NULLs, repetitions and no rows.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// What makes the tables.
pub const TABLES: &[&str] = &[
    "create table q_o (id int, a int, b int, t text)",
    "insert into q_o values (1, 1, null, 'x'), (2, 2, 1, 'y'), (3, null, 2, ''), (4, 3, 3, null), (5, 1, 1, 'x'), \
     (6, null, null, null), (7, 0, -1, 'z')",
    "create table q_i (id int, a int, b int, t text)",
    "insert into q_i values (1, 1, 1, 'x'), (2, 1, 2, null), (3, 2, null, 'y'), (4, null, 1, 'x'), (5, 4, 3, ''), \
     (6, 2, 2, 'z'), (7, 1, 1, 'x'), (8, null, null, null)",
    "create table q_n (id int, a int, b int, t text)",
    "insert into q_n values (1, 1, 3, 'x'), (2, 3, 1, 'w'), (3, 2, 2, 'y')",
    "create table q_e (id int, a int, b int, t text)",
];

const COMPARED: &[&str] = &["=", "<>", "<", "<=", ">", ">="];

/// A statement.
pub fn invent(chance: &mut StdRng) -> String {
    let mut asker = Asker { chance, made: 0 };
    asker.statement()
}

struct Asker<'a> {
    chance: &'a mut StdRng,
    made: usize,
}

impl Asker<'_> {
    fn one_in(&mut self, of: u32) -> bool {
        self.chance.random_range(0..of) == 0
    }

    fn pick<'b>(&mut self, of: &'b [&'b str]) -> &'b str {
        of.choose(self.chance).copied().unwrap_or_default()
    }

    fn alias(&mut self) -> String {
        self.made += 1;
        format!("t{}", self.made)
    }

    fn table(&mut self) -> &'static str {
        ["q_o", "q_i", "q_i", "q_n", "q_e"].choose(self.chance).copied().unwrap_or("q_i")
    }

    fn statement(&mut self) -> String {
        let outer = vec!["o".to_owned()];
        let mut columns = vec!["o.id".to_owned()];
        for _ in 0..self.chance.random_range(0..3) {
            columns.push(self.shown(&outer, 2));
        }
        let from = match self.chance.random_range(0..6) {
            0 => {
                let on = self.condition(&["o".to_owned(), "p".to_owned()], 1);
                let kind = self.pick(&["join", "left join"]);
                format!("q_o o {kind} q_n p on o.a = p.a and {on}")
            }
            1 => "(select * from q_o union all select * from q_n) o".to_owned(),
            _ => "q_o o".to_owned(),
        };
        let mut sql = format!("select {} from {from}", columns.join(", "));
        if !self.one_in(4) {
            let condition = self.condition(&outer, 2);
            sql = format!("{sql} where {condition}");
        }
        match self.chance.random_range(0..8) {
            0 => {
                let condition = self.condition(&outer, 1);
                let value = self.value(&outer, 1);
                sql = format!(
                    "select o.a, count(*), sum({value}) from {from} where {condition} group by o.a having count(*) > (select min(z.id) from q_n z where z.a <= coalesce(o.a, 1))"
                );
            }
            1 => {
                let value = self.value(&outer, 1);
                sql = format!("{sql} order by {value}, o.id");
            }
            _ => {}
        }
        sql
    }

    /// A column of a SELECT.
    fn shown(&mut self, scope: &[String], depth: u32) -> String {
        if self.one_in(2) {
            self.value(scope, depth)
        } else {
            format!("({})", self.subcondition(scope, depth))
        }
    }

    /// A number: a column, a constant, a subquery.
    fn number(&mut self, scope: &[String]) -> String {
        let at = if self.one_in(3) { self.chance.random_range(0..scope.len()) } else { scope.len() - 1 };
        let alias = scope[at].clone();
        let column = self.pick(&["a", "a", "b", "id"]);
        match self.chance.random_range(0..10) {
            0 => self.pick(&["0", "1", "2", "7"]).to_owned(),
            1 if self.one_in(2) => "null::int".to_owned(),
            2 => format!("{alias}.{column} + 1"),
            3 => format!("coalesce({alias}.{column}, 1)"),
            4 => format!("nullif({alias}.{column}, 1)"),
            _ => format!("{alias}.{column}"),
        }
    }

    fn value(&mut self, scope: &[String], depth: u32) -> String {
        if depth == 0 || self.one_in(5) {
            return self.number(scope);
        }
        let subquery = self.one_row(scope, depth - 1);
        match self.chance.random_range(0..4) {
            0 => format!("coalesce(({subquery}), -1)"),
            1 => format!("case when {} then ({subquery}) else 0 end", self.simple(scope)),
            _ => format!("({subquery})"),
        }
    }

    fn simple(&mut self, scope: &[String]) -> String {
        let (left, right) = (self.number(scope), self.number(scope));
        match self.chance.random_range(0..6) {
            0 => format!("{left} is null"),
            1 => format!("{left} is not distinct from {right}"),
            2 => format!("{left} in ({right}, 2)"),
            _ => format!("{left} {} {right}", self.pick(COMPARED)),
        }
    }

    fn condition(&mut self, scope: &[String], depth: u32) -> String {
        match self.chance.random_range(0..8) {
            _ if depth == 0 => self.simple(scope),
            0 => self.simple(scope),
            1 => format!("({} or {})", self.subcondition(scope, depth), self.simple(scope)),
            2 => format!("({} and {})", self.subcondition(scope, depth), self.simple(scope)),
            3 => format!("not ({})", self.subcondition(scope, depth)),
            4 => format!("({}) is not true", self.subcondition(scope, depth)),
            _ => self.subcondition(scope, depth),
        }
    }

    fn subcondition(&mut self, scope: &[String], depth: u32) -> String {
        let depth = depth.saturating_sub(1);
        let not = if self.one_in(2) { "not " } else { "" };
        match self.chance.random_range(0..7) {
            0 | 1 => format!("{not}exists ({})", self.rows(scope, depth)),
            2 | 3 => format!("{} {not}in ({})", self.number(scope), self.rows(scope, depth)),
            4 | 5 => {
                let quantifier = self.pick(&["any", "all", "some"]);
                let op = self.pick(COMPARED);
                format!("{} {op} {quantifier} ({})", self.number(scope), self.rows(scope, depth))
            }
            _ => {
                let subquery = self.one_row(scope, depth);
                format!("{} {} ({subquery})", self.number(scope), self.pick(COMPARED))
            }
        }
    }

    /// A query of one number that gives one row at most.
    fn one_row(&mut self, scope: &[String], depth: u32) -> String {
        let alias = self.alias();
        let inner = with(scope, &alias);
        let table = self.table();
        let condition = self.condition(&inner, depth);
        if self.one_in(3) {
            let order = self.pick(&["", " desc"]);
            let offset = self.pick(&["", "", " offset 1"]);
            let number = self.number(&inner);
            return format!(
                "select {number} from {table} {alias} where {condition} order by {alias}.id{order} limit 1{offset}"
            );
        }
        let aggregate = self.aggregate(&inner);
        format!("select {aggregate} from {table} {alias} where {condition}")
    }

    fn aggregate(&mut self, scope: &[String]) -> String {
        match self.chance.random_range(0..6) {
            0 => "count(*)".to_owned(),
            1 => format!("coalesce(max({}), 0)", self.own(scope)),
            2 => format!("count(distinct {})", self.own(scope)),
            3 => format!("count({}) + 1", self.own(scope)),
            4 => format!("sum({})", self.own(scope)),
            _ => format!("min({})", self.own(scope)),
        }
    }

    /// A column of the innermost table: an aggregate of outer columns alone would be the outer query's.
    fn own(&mut self, scope: &[String]) -> String {
        let alias = scope.last().cloned().unwrap_or_default();
        format!("{alias}.{}", self.pick(&["a", "b", "id"]))
    }

    /// A query of one number.
    fn rows(&mut self, scope: &[String], depth: u32) -> String {
        let alias = self.alias();
        let inner = with(scope, &alias);
        let table = self.table();
        let condition = self.condition(&inner, depth);
        let number = self.number(&inner);
        match self.chance.random_range(0..16) {
            0 => format!("select distinct {number} from {table} {alias} where {condition}"),
            1 => self.one_row(scope, depth),
            2 => {
                let having = self.pick(&["", " having count(*) > 1", " having min(%) is not null"]);
                let own = self.own(&inner);
                let aggregate = self.aggregate(&inner);
                let having = having.replace('%', &own);
                format!("select {aggregate} from {table} {alias} where {condition} group by {own}{having}")
            }
            3 => {
                let (limit, offset) = (self.pick(&["0", "1", "2"]), self.pick(&["0", "1", "2"]));
                let order = self.pick(&["", " desc"]);
                format!(
                    "select {number} from {table} {alias} where {condition} order by {alias}.id{order} limit {limit} offset {offset}"
                )
            }
            4 => {
                let op = self.pick(&["union", "union all", "intersect", "except"]);
                let other = self.alias();
                let its = with(scope, &other);
                let (second, its_table) = (self.number(&its), self.table());
                let its_condition = self.condition(&its, 0);
                format!(
                    "select {number} from {table} {alias} where {condition} {op} select {second} from {its_table} {other} where {its_condition}"
                )
            }
            5 => format!(
                "select sum({alias}.a) over (partition by {alias}.b order by {alias}.id)::int from {table} {alias} where {condition}"
            ),
            6 => {
                let value = self.number(scope);
                format!("select {alias}.c from (values ({value}), (2), (null)) {alias}(c)")
            }
            7 => {
                let other = self.alias();
                let both = with(&inner, &other);
                let kind = self.pick(&["join", "left join"]);
                let on = self.simple(&both);
                let after = self.simple(&both);
                let its_table = self.table();
                format!(
                    "select {number} from {table} {alias} {kind} {its_table} {other} on {alias}.a = {other}.a and {on} where {condition} and {after}"
                )
            }
            8 => {
                let below = self.rows(scope, depth.saturating_sub(1));
                format!("select {alias}.c from ({below}) {alias}(c) where {alias}.c is not null")
            }
            9 => {
                let below = self.rows(scope, depth.saturating_sub(1));
                format!("with {alias}(c) as ({below}) select {alias}.c from {alias}")
            }
            10 => {
                let value = self.number(scope);
                let condition = self.simple(scope);
                format!("select {value} where {condition}")
            }
            11 => {
                let aggregate = self.aggregate(&inner);
                format!("select {aggregate} from {table} {alias} where {condition} having count(*) <> 1")
            }
            _ => format!("select {number} from {table} {alias} where {condition}"),
        }
    }
}

fn with(scope: &[String], alias: &str) -> Vec<String> {
    scope.iter().cloned().chain([alias.to_owned()]).collect()
}
