//! The tables of one query, and the columns that names may mean there.

use sqlparser::ast::{Expr, Ident};

use crate::sql::dialect::REPEATED;
use crate::sql::names::folded;

/// A column of a table.
#[derive(Debug, Clone)]
pub struct Named {
    /// By which PostgreSQL knows it.
    pub name: String,
    /// By which the planner does, which wants each name once.
    pub ident: Ident,
    /// The name of its type, where that is known.
    pub kind: Option<String>,
}

impl Named {
    pub fn of(name: &str) -> Self {
        let shown = name.split_once(REPEATED).map_or(name, |(shown, _)| shown);
        Self { name: shown.to_owned(), ident: Ident::with_quote('"', name), kind: None }
    }

    pub fn with_kind(self, kind: Option<String>) -> Self {
        Self { kind, ..self }
    }
}

/// A column of tables that are joined.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    /// What it is: a column of a table, or what a join makes of two.
    pub expr: Expr,
    /// The name of its type, where that is known.
    pub kind: Option<String>,
}

/// A table of a query.
#[derive(Debug, Clone)]
pub struct Relation {
    /// The name its columns go by, with its schema where that is written; none where it has no name.
    pub name: Vec<Ident>,
    /// It was given a name of its own.
    pub has_alias: bool,
    /// Those that can be told.
    pub columns: Vec<Named>,
    pub is_whole: bool,
}

impl Relation {
    /// The name that its columns may be called by, folded.
    pub fn called(&self) -> Option<String> {
        self.name.last().map(folded)
    }

    /// Its columns.
    pub fn all(&self) -> impl Iterator<Item = Column> + '_ {
        let column = |named: &Named| Column {
            name: named.name.clone(),
            expr: self.column(&named.ident),
            kind: named.kind.clone(),
        };
        self.columns.iter().map(column)
    }

    /// What the column `ident` of it is called.
    pub fn column(&self, ident: &Ident) -> Expr {
        match self.name.is_empty() {
            true => Expr::Identifier(ident.clone()),
            false => Expr::CompoundIdentifier(self.name.iter().chain([ident]).cloned().collect()),
        }
    }
}

/// Tables that are joined.
#[derive(Debug, Clone, Default)]
pub struct Joined {
    pub relations: Vec<Relation>,
    /// In the order in which `*` shows them.
    pub columns: Vec<Column>,
    /// All columns are told.
    pub is_whole: bool,
    /// A join made one column of two.
    pub is_merged: bool,
    /// One of those is not the left side's.
    pub is_not_left: bool,
}

impl Joined {
    pub fn of(relation: Relation) -> Self {
        let columns = relation.all().collect();
        let is_whole = relation.is_whole;
        Self { columns, is_whole, relations: vec![relation], ..Self::default() }
    }

    /// The tables of both, without what joins them.
    pub fn beside(mut self, other: Self) -> Self {
        self.relations.extend(other.relations);
        self.columns.extend(other.columns);
        self.is_whole &= other.is_whole;
        self.is_merged |= other.is_merged;
        self.is_not_left |= other.is_not_left;
        self
    }

    /// The name of the type of `expr`, which is a column of these.
    pub fn kind_of(&self, expr: &Expr) -> Option<String> {
        self.columns.iter().find(|column| column.expr == *expr)?.kind.clone()
    }

    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Column> {
        self.columns.iter().filter(move |column| column.name == name)
    }
}

/// The tables of one query.
#[derive(Debug, Clone, Default)]
pub struct Level(pub Joined);

/// What a name means in a query.
pub enum Meant {
    /// What cannot be told from here.
    Unknown,
    /// No column of its tables.
    None,
    /// A column that the planner finds by its name.
    Plain,
    /// A column that it has to be told.
    Other(Box<Expr>),
    Ambiguous,
}

impl Level {
    pub fn meaning(&self, name: &str) -> Meant {
        let Self(joined) = self;
        let mut found = joined.named(name);
        match (found.next(), found.next()) {
            (None, _) if joined.is_whole => Meant::None,
            (None, _) => Meant::Unknown,
            (Some(_), Some(_)) => Meant::Ambiguous,
            (Some(column), None) if self.is_plain(column) => Meant::Plain,
            (Some(column), None) => Meant::Other(Box::new(column.expr.clone())),
        }
    }

    /// Whether the planner knows no other column of the name.
    fn is_plain(&self, column: &Column) -> bool {
        let ident = match &column.expr {
            Expr::Identifier(ident) => ident,
            Expr::CompoundIdentifier(parts) => match parts.last() {
                Some(ident) => ident,
                None => return false,
            },
            _ => return false,
        };
        let named = |named: &&Named| named.name == column.name;
        let known = self.0.relations.iter().flat_map(|relation| &relation.columns).filter(named).count();
        folded(ident) == column.name && known == 1
    }

    /// The table that is called `name`, the last part of which is its own.
    pub fn table(&self, name: &[String]) -> Option<&Relation> {
        self.0.relations.iter().find(|relation| {
            let own: Vec<String> = relation.name.iter().map(folded).collect();
            !own.is_empty() && own.ends_with(name)
        })
    }

    /// True when one of its tables is called `name`.
    pub fn has_table(&self, name: &str) -> bool {
        self.0.relations.iter().any(|relation| relation.called().as_deref() == Some(name))
    }
}
