//! The operators and subscripts of arrays, as they are read: only there is it known which texts are literals.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::{Operation, call, depth, leaf_of, no_such_operator, operation, type_of_literal, unsupported};

/// Plans `||`, `@>`, `<@`, `&&`, `a[i]` and `a[from:to]` of arrays.
#[derive(Debug)]
pub struct ListPlanner;

impl ExprPlanner for ListPlanner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let of_lists = match expr.op {
            BinaryOperator::StringConcat => None,
            BinaryOperator::AtArrow | BinaryOperator::ArrowAt => Some(Operation::Contains),
            BinaryOperator::PGOverlap => Some(Operation::Overlaps),
            BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq => return Ok(PlannerResult::Original(compared(expr, schema)?)),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let (left_type, right_type) = (expr.left.get_type(schema)?, expr.right.get_type(schema)?);
        let (left_depth, right_depth) = (depth(&left_type), depth(&right_type));
        if left_depth + right_depth == 0 {
            return Ok(PlannerResult::Original(expr));
        }
        let RawBinaryExpr { op, left, right } = expr;
        // A literal beside an array is the text of one, whatever the array's items are.
        let is_array = |expr: &Expr, depth: usize| depth > 0 || is_bare(expr);
        if is_array(&left, left_depth) && is_array(&right, right_depth) {
            let (left_leaf, right_leaf) = (leaf_of(&left_type), leaf_of(&right_type));
            let is_mixed = left_leaf.is_string() != right_leaf.is_string()
                && !left_leaf.is_null()
                && !right_leaf.is_null();
            if is_mixed && left_depth > 0 && right_depth > 0 {
                return Err(no_such_operator(&op.to_string(), &left_type, &right_type));
            }
            return Ok(PlannerResult::Planned(match (of_lists, op) {
                (None, _) => call(Operation::Cat, vec![left, right]),
                (Some(of_lists), BinaryOperator::ArrowAt) => call(of_lists, vec![right, left]),
                (Some(of_lists), _) => call(of_lists, vec![left, right]),
            }));
        }
        let (list_type, item_type) =
            if left_depth > 0 { (&left_type, &right_type) } else { (&right_type, &left_type) };
        let fits = leaf_of(list_type).is_string() == item_type.is_string() || leaf_of(list_type).is_null();
        if of_lists.is_some() || !fits {
            return Err(no_such_operator(&op.to_string(), &left_type, &right_type));
        }
        let operation = if left_depth > 0 { Operation::Append } else { Operation::Prepend };
        Ok(PlannerResult::Planned(call(operation, vec![left, right])))
    }

    fn plan_array_literal(
        &self,
        mut items: Vec<Expr>,
        schema: &DFSchema,
    ) -> Result<PlannerResult<Vec<Expr>>> {
        let kinds = items.iter().filter(|item| !is_bare(item)).map(|item| item.get_type(schema));
        let kinds: Vec<DataType> = kinds.collect::<Result<_>>()?;
        // A literal is what stands beside it.
        if let [first, others @ ..] = kinds.as_slice()
            && (first.is_temporal() || *first == DataType::Boolean)
            && others.iter().all(|kind| kind == first)
        {
            for item in items.iter_mut().filter(|item| is_bare(item)) {
                *item = cast(std::mem::take(item), first.clone());
            }
        }
        Ok(PlannerResult::Original(items))
    }

    fn plan_field_access(
        &self,
        expr: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let RawFieldAccessExpr { field_access, expr } = expr;
        match field_access {
            GetFieldAccess::ListIndex { key } => {
                if let Expr::ScalarFunction(mut item) = expr {
                    if operation(&item.func) == Some(Operation::Item) {
                        item.args.push(*key);
                        return Ok(PlannerResult::Planned(Expr::ScalarFunction(item)));
                    }
                    return of_list(Expr::ScalarFunction(item), key, schema);
                }
                of_list(expr, key, schema)
            }
            GetFieldAccess::ListRange { start, stop, stride } => {
                if !matches!(stride.as_ref(), Expr::Literal(ScalarValue::Int64(Some(1)), _)) {
                    return Err(unsupported("steps of a slice are not supported".to_owned()));
                }
                Ok(PlannerResult::Planned(call(Operation::Slice, vec![expr, *start, *stop])))
            }
            field_access => Ok(PlannerResult::Original(RawFieldAccessExpr { field_access, expr })),
        }
    }
}

/// A text that is compared with an array is one.
fn compared(mut expr: RawBinaryExpr, schema: &DFSchema) -> Result<RawBinaryExpr> {
    let read = |text: &mut Expr, list: &Expr| -> Result<()> {
        let Expr::Literal(value, _) = &*text else { return Ok(()) };
        let Some(written) = value.try_as_str() else { return Ok(()) };
        let kind = list.get_type(schema)?;
        if depth(&kind) > 0 {
            let kind = type_of_literal(written, &kind);
            let wanted = Expr::Literal(ScalarValue::try_new_null(&kind)?, None);
            *text = call(Operation::Array, vec![std::mem::take(text), wanted]);
        }
        Ok(())
    };
    read(&mut expr.left, &expr.right)?;
    read(&mut expr.right, &expr.left)?;
    Ok(expr)
}

fn of_list(expr: Expr, key: Box<Expr>, schema: &DFSchema) -> Result<PlannerResult<RawFieldAccessExpr>> {
    if depth(&expr.get_type(schema)?) == 0 {
        let field_access = GetFieldAccess::ListIndex { key };
        return Ok(PlannerResult::Original(RawFieldAccessExpr { field_access, expr }));
    }
    Ok(PlannerResult::Planned(call(Operation::Item, vec![expr, *key])))
}

/// True for a literal of no type of its own: a text, or null.
fn is_bare(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null() || value.try_as_str().is_some(),
        _ => false,
    }
}
