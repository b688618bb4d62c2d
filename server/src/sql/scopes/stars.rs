//! `*` and `t.*`, and the names under which columns are shown: the planner wants each name once.

use std::collections::{HashMap, HashSet};

use engine::{Error, Result};
use sqlparser::ast::{
    Expr, GroupByExpr, Ident, ObjectNamePart, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableWithJoins, WildcardAdditionalOptions,
    helpers::attached_token::AttachedToken,
};

use super::factors::query_of;
use super::level::{Column, Joined, Level, Named, Relation};
use super::{Place, Resolver};
use crate::sql::dialect::REPEATED;
use crate::sql::names::{column_name, folded};

impl Resolver<'_> {
    /// Writes the columns that `*` and `t.*` of `select` stand for, where the planner would take others, or more than one
    /// of a name.
    pub(super) fn show_columns(&self, select: &mut Select, place: Place) -> Result<()> {
        let Some(Level(level)) = self.levels.last() else { return Ok(()) };
        let has_star = select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
        if has_star && select.from.is_empty() {
            let message = "SELECT * with no tables specified is not valid".into();
            return Err(Error::Syntax { message, position: None });
        }
        if has_star && !level.is_whole {
            if level.is_not_left {
                let message =
                    "SELECT * is not supported over these joins with USING: name the columns".into();
                return Err(Error::NotSupported { message });
            }
            return Ok(());
        }
        let is_needed = (has_star && level.is_merged)
            || select.projection.len() > 1
            || (place == Place::Table && level.relations.len() > 1);
        if is_needed {
            let items = std::mem::take(&mut select.projection);
            let is_expanded = items.iter().any(is_star);
            select.projection = items.into_iter().flat_map(|item| shown(item, level)).collect();
            if is_expanded || place == Place::Table {
                name_each_once(&mut select.projection, place);
            }
        }
        Ok(())
    }

    /// The columns of a query whose names were resolved.
    pub(super) fn columns_of_select(&self, select: &Select) -> Option<Vec<Named>> {
        let Level(level) = self.levels.last()?;
        let mut columns = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    columns.push(Named::of(&column_name(expr)).with_kind(level.kind_of(expr)));
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    columns.push(Named::of(&folded(alias)).with_kind(level.kind_of(expr)));
                }
                SelectItem::Wildcard(_) if !level.is_whole || level.is_merged => return None,
                SelectItem::Wildcard(_) => {
                    columns.extend(level.relations.iter().flat_map(|relation| relation.columns.clone()));
                }
                SelectItem::QualifiedWildcard(kind, _) => {
                    columns.extend(of_table(kind, level)?.columns.clone())
                }
                _ => return None,
            }
        }
        Some(columns)
    }
}

pub fn is_star(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

fn is_bare(options: &WildcardAdditionalOptions) -> bool {
    let WildcardAdditionalOptions {
        opt_ilike: None,
        opt_exclude: None,
        opt_except: None,
        opt_replace: None,
        opt_rename: None,
        ..
    } = options
    else {
        return false;
    };
    true
}

/// The columns that `item` stands for.
fn shown(item: SelectItem, level: &Joined) -> Vec<SelectItem> {
    match &item {
        SelectItem::Wildcard(options) if is_bare(options) => level.columns.iter().map(column_item).collect(),
        SelectItem::QualifiedWildcard(kind, options) if is_bare(options) => match of_table(kind, level) {
            Some(relation) => relation.all().map(|column| column_item(&column)).collect(),
            None => vec![item],
        },
        _ => vec![item],
    }
}

/// The table that `t.*` names.
fn of_table<'a>(kind: &SelectItemQualifiedWildcardKind, level: &'a Joined) -> Option<&'a Relation> {
    let SelectItemQualifiedWildcardKind::ObjectName(name) = kind else { return None };
    let parts: Vec<String> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(folded).collect();
    let mut named = level.relations.iter().filter(|relation| {
        let own: Vec<String> = relation.name.iter().map(folded).collect();
        own.ends_with(&parts)
    });
    let (Some(relation), None) = (named.next(), named.next()) else { return None };
    relation.is_whole.then_some(relation)
}

fn column_item(column: &Column) -> SelectItem {
    let is_known_by_name = column_name(&column.expr) == column.name
        && matches!(column.expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    match is_known_by_name {
        true => SelectItem::UnnamedExpr(column.expr.clone()),
        false => {
            let alias = Ident::with_quote('"', &*column.name);
            SelectItem::ExprWithAlias { expr: column.expr.clone(), alias }
        }
    }
}

/// Names that a query shows of itself.
pub fn names_of(select: &Select) -> Vec<String> {
    let name = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => Some(column_name(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    };
    select.projection.iter().filter_map(name).collect()
}

/// Does to `select` what gives its columns other expressions; they keep their names.
pub fn with_kept_names(select: &mut Select, change: impl FnOnce(&mut Select) -> Result<()>) -> Result<()> {
    let name = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(Expr::Identifier(ident)) => Some(folded(ident)),
        _ => None,
    };
    let before: Vec<Option<String>> = select.projection.iter().map(name).collect();
    change(select)?;
    for (item, before) in select.projection.iter_mut().zip(before) {
        if let (SelectItem::UnnamedExpr(expr), Some(before)) = (&*item, before) {
            let named = column_item(&Column { name: before, expr: expr.clone(), kind: None });
            *item = named;
        }
    }
    Ok(())
}

/// Gives all but the first column of a name a name of their own. Columns of two tables are not mistaken for each other as
/// long as they are shown alone.
pub fn name_each_once(items: &mut [SelectItem], place: Place) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut columns: HashSet<Vec<String>> = HashSet::new();
    let mut without_table: HashSet<String> = HashSet::new();
    // Those that were told apart before stay as they are.
    let mut taken: HashSet<String> = HashSet::new();
    for item in &*items {
        if let SelectItem::ExprWithAlias { alias, .. } = item {
            taken.insert(folded(alias));
        }
    }
    for item in items {
        if let SelectItem::ExprWithAlias { alias, .. } = item
            && alias.value.contains(REPEATED)
            && seen.entry(folded(alias)).or_default() == &0
        {
            seen.insert(folded(alias), 1);
            continue;
        }
        let (name, table) = match &*item {
            SelectItem::UnnamedExpr(expr @ Expr::CompoundIdentifier(parts)) => {
                (column_name(expr), Some(parts.iter().map(folded).collect::<Vec<_>>()))
            }
            SelectItem::UnnamedExpr(expr @ Expr::Identifier(_)) => (column_name(expr), None),
            SelectItem::ExprWithAlias { alias, .. } => (Named::of(&folded(alias)).name, None),
            // It has the planner's name.
            _ => continue,
        };
        let times = seen.entry(name.clone()).or_default();
        *times += 1;
        let is_apart = match table {
            Some(column) => columns.insert(column) && place == Place::Shown && !without_table.contains(&name),
            None => {
                without_table.insert(name.clone());
                false
            }
        };
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = &*item else {
            continue;
        };
        if *times > 1 && !is_apart {
            let mut named = format!("{name}{REPEATED}{times}");
            while !taken.insert(named.clone()) {
                named.push('\'');
            }
            let alias = Ident::with_quote('"', named);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// The same for columns of a table.
pub fn tell_apart(columns: &mut [Named]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for column in columns {
        let times = seen.entry(column.name.clone()).or_default();
        *times += 1;
        if *times > 1 {
            column.ident = Ident::with_quote('"', format!("{}{REPEATED}{times}", column.name));
        }
    }
}

/// All columns of joined tables, as a query with names.
pub fn query_over(from: TableWithJoins, joined: &Joined) -> (Query, Vec<Named>) {
    let mut projection: Vec<SelectItem> = joined.columns.iter().map(column_item).collect();
    name_each_once(&mut projection, Place::Table);
    let mut columns: Vec<Named> = joined.columns.iter().map(|column| Named::of(&column.name)).collect();
    tell_apart(&mut columns);
    let select = Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection,
        exclude: None,
        into: None,
        from: vec![from],
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    };
    (query_of(SetExpr::Select(Box::new(select))), columns)
}
