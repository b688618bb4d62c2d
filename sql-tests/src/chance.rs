//! Questions made by chance, over tables that are cut into files in several ways.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Tables that are cut into files, what gives the same rows, and their columns as `k`, `a` and `v`. Those that are cut
/// alike come up more often.
const TABLES: &[(&str, &str, &str)] = &[
    ("keyed", "orders", ORDERS),
    ("keyed", "orders", ORDERS),
    ("keyed", "orders", ORDERS),
    ("keyed", "orders", ORDERS),
    ("priorities", "orders", ORDERS),
    ("months", "orders", ORDERS),
    ("items", "lineitem", ITEMS),
    ("items", "lineitem", ITEMS),
    ("items", "lineitem", ITEMS),
    ("items", "lineitem", ITEMS),
    ("items8", "lineitem", ITEMS),
    ("pairs", "lineitem", ITEMS),
    ("pairs", "lineitem", "l_partkey k, l_suppkey::bigint a, l_orderkey::bigint v"),
    ("plain", "lineitem", ITEMS),
];
const ORDERS: &str = "o_orderkey::bigint k, o_custkey::bigint a, o_shippriority::bigint v";
const ITEMS: &str = "l_orderkey::bigint k, l_linenumber::bigint a, l_suppkey::bigint v";

/// One question, over tables that are cut and over those that are not: both have the same rows, in any order.
#[derive(Debug)]
pub struct ChanceQuestion {
    /// Over the tables that are cut into files.
    pub over_cut: String,
    /// Over `orders` and `lineitem`.
    pub over_plain: String,
}

/// `count` questions; the same for one `seed`.
pub fn chance_questions(seed: u64, count: usize) -> Vec<ChanceQuestion> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..count).map(|_| Maker { random: &mut random }.question()).collect()
}

struct Maker<'a> {
    random: &'a mut StdRng,
}

impl Maker<'_> {
    fn question(&mut self) -> ChanceQuestion {
        let sql = self.rows(3);
        let sql = match self.random.random_range(0..3) {
            0 => format!("select * from ({sql}) q order by k, a, v limit 1000"),
            _ => sql,
        };
        let (mut over_cut, mut over_plain) = (sql.clone(), sql);
        for (cut, plain, _) in TABLES {
            let place = format!("{{{cut}}}");
            over_cut = over_cut.replace(&place, cut);
            over_plain = over_plain.replace(&place, plain);
        }
        ChanceQuestion { over_cut, over_plain }
    }

    /// A query of three whole numbers, `k`, `a` and `v`, with at most `depth` operators in each other.
    fn rows(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.table();
        }
        match self.random.random_range(0..12) {
            0 => self.table(),
            1 | 2 => self.groups(depth - 1),
            3..=6 => self.join(depth - 1),
            7 => self.semi_join(depth - 1),
            8 => self.union(depth - 1),
            9 => self.window(depth - 1),
            10 => self.compared(depth - 1),
            _ => self.distributed(depth - 1),
        }
    }

    fn one_of<'b>(&mut self, choices: &[&'b str]) -> &'b str {
        choices.choose(self.random).copied().unwrap_or_default()
    }

    fn table(&mut self) -> String {
        let (table, _, columns) = TABLES.choose(self.random).copied().unwrap_or(TABLES[0]);
        let rest = self.random.random_range(0..3);
        // Of one type in the files: a cast that is equal to a column confuses DataFusion's sorts.
        let equal = if columns == ORDERS { "k = a and v % 3 <> " } else { "k = v and a % 3 <> " };
        let filter = self.one_of(&["k % 3 = ", "a % 3 = ", "(k + v) % 3 <> ", equal]);
        format!("select * from (select {columns} from {{{table}}}) t where {filter}{rest}")
    }

    fn groups(&mut self, depth: usize) -> String {
        let rows = self.rows(depth);
        let shape = self.one_of(&[
            "select k, count(*) a, sum(v)::bigint v from ({}) g group by k",
            "select k, count(distinct a) a, min(v) v from ({}) g group by k",
            "select k, a, max(v) v from ({}) g group by k, a",
            "select a k, count(*) a, max(v) v from ({}) g group by a",
            "select k, count(*) a, max(v) v from ({}) g group by k having count(*) > 1",
            "select distinct k, a, 0::bigint v from ({}) g",
            "select k, (a % 2) a, count(*) v from ({}) g group by k, a % 2",
            "select (k % 100) k, count(*) a, min(v) v from ({}) g group by k % 100",
        ]);
        shape.replace("{}", &rows)
    }

    fn join(&mut self, depth: usize) -> String {
        let (left, right) = (self.rows(depth), self.rows(depth));
        let kind = self.one_of(&["join", "join", "left join", "right join", "full join"]);
        if self.random.random_range(0..6) == 0 {
            let (left, right) = (self.table(), self.table());
            let few = |rows: &str| format!("select * from ({rows}) few where k < 200");
            let (left, right) = (few(&left), few(&right));
            return format!("select x.k, y.a, x.v from ({left}) x {kind} ({right}) y on x.k > y.k + 150");
        }
        // Others than equalities are not for every kind of join.
        let on = self.one_of(&[
            "x.k = y.k",
            "x.k = y.k",
            "x.k = y.k and x.a = y.a",
            "x.k = y.a and x.v = y.v",
            "x.k = y.k and x.v < y.v",
        ]);
        let columns = self.one_of(&[
            "x.k, y.a, x.v",
            "y.k, x.a, y.v",
            "coalesce(x.k, y.k) k, x.a, y.a v",
            "x.k, coalesce(y.k, -1) a, y.v",
            "y.v k, y.a, x.v",
        ]);
        format!("select {columns} from ({left}) x {kind} ({right}) y on {on}")
    }

    fn semi_join(&mut self, depth: usize) -> String {
        let (left, right) = (self.rows(depth), self.rows(depth));
        let shape = self.one_of(&[
            "select * from ({l}) x where exists (select 1 from ({r}) y where y.k = x.k)",
            "select * from ({l}) x where not exists (select 1 from ({r}) y where y.k = x.k and y.a > 2)",
            "select * from ({l}) x where k in (select k from ({r}) y)",
            "select * from ({l}) x where k not in (select k from ({r}) y where k is not null) and k is not null",
        ]);
        shape.replace("{l}", &left).replace("{r}", &right)
    }

    fn union(&mut self, depth: usize) -> String {
        let (left, right) = (self.rows(depth), self.rows(depth));
        let kind = self.one_of(&["union all", "union all", "union", "intersect", "except"]);
        format!("select * from (({left}) {kind} ({right})) u")
    }

    fn window(&mut self, depth: usize) -> String {
        let rows = self.rows(depth);
        let shape = self.one_of(&[
            "select k, a, row_number() over (partition by k order by a, v) v from ({}) w",
            "select k, a, sum(v) over (partition by k)::bigint v from ({}) w",
            "select k, rank() over (partition by k order by a) a, count(*) over (partition by a) v from ({}) w",
        ]);
        shape.replace("{}", &rows)
    }

    fn compared(&mut self, depth: usize) -> String {
        let (rows, one) = (self.rows(depth), self.rows(depth));
        let shape = self.one_of(&[
            "select * from ({l}) x where v >= (select avg(v) from ({r}) y)",
            "select x.k, x.a, y.n v from ({l}) x cross join (select count(*) n from ({r}) y) y",
        ]);
        shape.replace("{l}", &rows).replace("{r}", &one)
    }

    fn distributed(&mut self, depth: usize) -> String {
        let rows = self.rows(depth);
        let by = self.one_of(&[
            "distribute by k into 3 partitions",
            "distribute by a",
            "distribute into 2 partitions",
        ]);
        format!("select k, count(*) a, max(v) v from (select * from ({rows}) d {by}) e group by k")
    }
}
