//! The types of a query's parameters: the client's own, else what stands around them implies, else text.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{Case, Placeholder, ScalarFunction};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use engine::{Error, Result};

use crate::pg_catalog::types;

/// The types of `$1`, `$2`, … of `plan`, which was not analysed yet. `declared` are the client's; `last` is
/// the highest parameter that stands in the text.
pub fn types(
    plan: &LogicalPlan,
    declared: &[Option<DataType>],
    last: Option<usize>,
) -> Result<Vec<DataType>> {
    let mut inferred = inferred_types(plan, declared)?;
    let implied = implied(plan)?;
    for (name, data_type) in implied.by_cast {
        inferred.insert(name, Some(data_type));
    }
    for (name, data_type) in implied.by_neighbours {
        let known = inferred.entry(name).or_default();
        known.get_or_insert(data_type);
    }
    let numbers = inferred.keys().filter_map(|name| name.trim_start_matches('$').parse::<usize>().ok());
    let count = numbers.max().unwrap_or(0).max(declared.len()).max(last.unwrap_or(0));
    // The protocol counts parameters in 16 bits; a larger number is a slip, not a list to make.
    if count > usize::from(u16::MAX) {
        return Err(Error::UndefinedParameter { name: format!("${count}") });
    }
    Ok((0..count)
        .map(|index| {
            let implied = || inferred.get(&format!("${}", index + 1)).cloned().flatten();
            // A numeric has the digits that it is sent with: a column beside it, or a cast above it, takes none of them before
            // they are compared or rounded.
            let declared = declared.get(index).cloned().flatten();
            match declared.or_else(implied) {
                Some(DataType::Decimal128(..) | DataType::LargeBinary) => {
                    types::parameter_type(types::NUMERIC.oid)
                }
                Some(DataType::List(item)) if item.data_type().is_decimal() => {
                    types::parameter_type(types::NUMERIC.array_oid)
                }
                known => known,
            }
            .filter(|data_type| *data_type != DataType::Null)
            .unwrap_or(DataType::Utf8)
        })
        .collect())
}

/// The types that the planner has given parameters. One that stands beside decimals of several scales is a `numeric`.
fn inferred_types(
    plan: &LogicalPlan,
    declared: &[Option<DataType>],
) -> Result<HashMap<String, Option<DataType>>> {
    // What the client says of a parameter needs no guess.
    let is_declared = |id: &str| {
        let number = id.trim_start_matches('$').parse::<usize>().ok();
        number.and_then(|number| declared.get(number.checked_sub(1)?)).is_some_and(Option::is_some)
    };
    let mut inferred: HashMap<String, Option<DataType>> = HashMap::new();
    let mut conflict = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                let Expr::Placeholder(Placeholder { id, field }) = expr else {
                    return Ok(TreeNodeRecursion::Continue);
                };
                let known = inferred.entry(id.clone()).or_default();
                let found = field.as_ref().map(|field| field.data_type().clone());
                match (known.as_ref(), found) {
                    (Some(known), Some(found))
                        if *known != found
                            && !is_declared(id)
                            && (!known.is_decimal() || !found.is_decimal()) =>
                    {
                        conflict = Some(id.clone());
                    }
                    (None, found) => *known = found,
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    match conflict {
        None => Ok(inferred),
        Some(_) => Ok(plan.get_parameter_types()?),
    }
}

/// What the places of parameters say of them, beyond the comparisons that the planner reads itself.
#[derive(Default)]
struct Implied {
    /// `$1::int`: right under a cast, which wins over everything else, as in PostgreSQL.
    by_cast: HashMap<String, DataType>,
    /// A condition, another branch of a CASE, another argument.
    by_neighbours: HashMap<String, DataType>,
}

fn implied(plan: &LogicalPlan) -> Result<Implied> {
    let mut implied = Implied::default();
    plan.apply_with_subqueries(|node| {
        let mut schema = None;
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Cast(cast) = expr
                    && let Expr::Placeholder(parameter) = cast.expr.as_ref()
                {
                    implied.by_cast.insert(parameter.id.clone(), cast.field.data_type().clone());
                }
                if matches!(expr, Expr::Case(_) | Expr::ScalarFunction(_)) {
                    let schema = schema.get_or_insert_with(|| merge_schema(&node.inputs()));
                    let mut tell = |expr: &Expr, data_type: &DataType| {
                        if let Expr::Placeholder(Placeholder { id, .. }) = expr {
                            implied.by_neighbours.entry(id.clone()).or_insert_with(|| data_type.clone());
                        }
                    };
                    match expr {
                        Expr::Case(case) => of_case(case, schema, &mut tell),
                        Expr::ScalarFunction(function) => of_function(function, schema, &mut tell),
                        _ => {}
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(implied)
}

fn of_case(case: &Case, schema: &DFSchema, tell: &mut impl FnMut(&Expr, &DataType)) {
    let conditions = || case.when_then_expr.iter().map(|(when, _)| when.as_ref());
    match &case.expr {
        None => conditions().for_each(|when| tell(when, &DataType::Boolean)),
        Some(base) => {
            let compared: Vec<&Expr> = std::iter::once(base.as_ref()).chain(conditions()).collect();
            of_equals(&compared, schema, tell);
        }
    }
    let results = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
    let results: Vec<&Expr> = results.chain(case.else_expr.as_deref()).collect();
    of_equals(&results, schema, tell);
}

/// Parameters among expressions of one type have the type of the first that is known.
fn of_equals(expressions: &[&Expr], schema: &DFSchema, tell: &mut impl FnMut(&Expr, &DataType)) {
    let known = expressions.iter().find_map(|expr| known_type(expr, schema));
    if let Some(data_type) = known {
        expressions.iter().for_each(|expr| tell(expr, &data_type));
    }
}

/// Arguments have the types that the function asks for beside the others.
fn of_function(function: &ScalarFunction, schema: &DFSchema, tell: &mut impl FnMut(&Expr, &DataType)) {
    let arguments = &function.args;
    if !arguments.iter().any(|argument| matches!(argument, Expr::Placeholder(_))) {
        return;
    }
    if TAKES_EQUALS.contains(&function.func.name()) {
        return of_equals(&arguments.iter().collect::<Vec<_>>(), schema, tell);
    }
    let field = |argument| {
        let data_type = known_type(argument, schema).unwrap_or(DataType::Null);
        Arc::new(Field::new("argument", data_type, true))
    };
    let fields: Vec<_> = arguments.iter().map(field).collect();
    let Ok(fields) = fields_with_udf(&fields, function.func.as_ref()) else { return };
    for (argument, field) in arguments.iter().zip(fields) {
        if *field.data_type() != DataType::Null {
            tell(argument, field.data_type());
        }
    }
}

/// Functions whose arguments have one type, whatever it is.
const TAKES_EQUALS: &[&str] = &["coalesce", "greatest", "least", "nullif"];

fn known_type(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    let data_type = expr.get_type(schema).ok().filter(|data_type| *data_type != DataType::Null)?;
    let is_open = |expr: &Expr| matches!(expr, Expr::Placeholder(Placeholder { field: None, .. }));
    let is_open = expr.exists(|expr| Ok(is_open(expr))).unwrap_or(true);
    (!is_open).then_some(data_type)
}
