//! Operators that PostgreSQL does not have between two types (42883), and conditions that are no booleans (42804). DataFusion casts
//! one side to the type of the other, value by value, and takes a number for a truth.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};

use crate::Error;
use crate::casts::{Kind, name};
use crate::sqlstate::SqlState;

/// Refuses `expr` where one of its operands is of a type that its operator does not take.
pub fn check(expr: &Expr, schema: &DFSchema) -> Result<()> {
    let operands = Operands { schema };
    match expr {
        Expr::BinaryExpr(binary) => operands.binary(binary),
        Expr::Between(between) => {
            let (low, high) = if between.negated { ("<", ">") } else { (">=", "<=") };
            operands.compared(&between.expr, low, &between.low)?;
            operands.compared(&between.expr, high, &between.high)
        }
        Expr::InList(list) => {
            let op = if list.negated { "<>" } else { "=" };
            list.list.iter().try_for_each(|item| operands.compared(&list.expr, op, item))
        }
        Expr::InSubquery(search) => {
            let op = if search.negated { "<>" } else { "=" };
            let found = search.subquery.subquery.schema().fields().first();
            let found = Operand { kind: found.map(|field| field.data_type().clone()), is_unknown: false };
            operands.of(&search.expr).compared(op, &found)
        }
        Expr::Like(like) => {
            let op = match (like.negated, like.case_insensitive) {
                (false, false) => "~~",
                (true, false) => "!~~",
                (false, true) => "~~*",
                (true, true) => "!~~*",
            };
            operands.matched(&like.expr, op, &like.pattern)
        }
        Expr::Case(case) => match &case.expr {
            Some(base) => {
                case.when_then_expr.iter().try_for_each(|(when, _)| operands.compared(base, "=", when))
            }
            None => case.when_then_expr.iter().try_for_each(|(when, _)| operands.truth(when, "CASE/WHEN")),
        },
        Expr::Not(truth) => operands.truth(truth, "NOT"),
        Expr::IsTrue(truth) => operands.truth(truth, "IS TRUE"),
        Expr::IsFalse(truth) => operands.truth(truth, "IS FALSE"),
        Expr::IsUnknown(truth) => operands.truth(truth, "IS UNKNOWN"),
        Expr::IsNotTrue(truth) => operands.truth(truth, "IS NOT TRUE"),
        Expr::IsNotFalse(truth) => operands.truth(truth, "IS NOT FALSE"),
        Expr::IsNotUnknown(truth) => operands.truth(truth, "IS NOT UNKNOWN"),
        Expr::Negative(number) => operands.negated(number),
        Expr::AggregateFunction(call) => operands.filter(call.params.filter.as_deref()),
        Expr::WindowFunction(call) => operands.filter(call.params.filter.as_deref()),
        Expr::ScalarFunction(call) if call.func.name() == "nullif" => match call.args.as_slice() {
            [left, right] => operands.compared(left, "=", right),
            _ => Ok(()),
        },
        Expr::ScalarFunction(call) if call.func.name() == super::keys::NAME => match call.args.as_slice() {
            [left, right] => operands.compared(left, "=", right),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Refuses a join whose keys are of types that are not compared.
pub fn check_keys(plan: &LogicalPlan) -> Result<()> {
    let LogicalPlan::Join(join) = plan else { return Ok(()) };
    join.on.iter().try_for_each(|(left, right)| {
        let (left, right) = (
            Operands { schema: join.left.schema() }.of(left),
            Operands { schema: join.right.schema() }.of(right),
        );
        left.compared("=", &right)
    })
}

/// The operands of an expression over `schema`.
struct Operands<'a> {
    schema: &'a DFSchema,
}

/// An operand: its type, where it is known.
struct Operand {
    kind: Option<DataType>,
    /// A literal in quotes becomes what the operator takes.
    is_unknown: bool,
}

impl Operands<'_> {
    fn of(&self, expr: &Expr) -> Operand {
        let kind = self.kind_of(expr).filter(|kind| Kind::of(kind) != Kind::Other);
        let is_unknown = matches!(expr, Expr::Literal(..))
            && kind.as_ref().is_some_and(|kind| Kind::of(kind) == Kind::Text);
        Operand { kind, is_unknown }
    }

    /// The type of `expr`. Chains of operators are as deep as they are long: nothing is asked of the parts of one.
    fn kind_of(&self, expr: &Expr) -> Option<DataType> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { op, .. })
                if super::compares(*op) || matches!(op, Operator::And | Operator::Or) =>
            {
                Some(DataType::Boolean)
            }
            Expr::BinaryExpr(_) => None,
            Expr::Not(_) | Expr::Like(_) | Expr::Between(_) | Expr::InList(_) => Some(DataType::Boolean),
            other => other.get_type(self.schema).ok(),
        }
    }

    fn binary(&self, binary: &BinaryExpr) -> Result<()> {
        let BinaryExpr { left, op, right } = binary;
        match op {
            Operator::And => self.truth(left, "AND").and_then(|()| self.truth(right, "AND")),
            Operator::Or => self.truth(left, "OR").and_then(|()| self.truth(right, "OR")),
            Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => self.compared(left, "=", right),
            Operator::NotEq => self.compared(left, "<>", right),
            op if super::compares(*op) => self.compared(left, &op.to_string(), right),
            Operator::RegexMatch
            | Operator::RegexIMatch
            | Operator::RegexNotMatch
            | Operator::RegexNotIMatch => self.matched(left, &op.to_string(), right),
            Operator::BitwiseAnd | Operator::BitwiseOr | Operator::BitwiseXor => {
                let op = if *op == Operator::BitwiseXor { "#".to_owned() } else { op.to_string() };
                self.allowed(left, &op, right, |left, right| is_whole(left) && is_whole(right))
            }
            Operator::BitwiseShiftLeft | Operator::BitwiseShiftRight => {
                self.allowed(left, &op.to_string(), right, |left, right| {
                    is_whole(left) && is_whole(right) && right != Kind::Int8
                })
            }
            Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo => {
                let is_computed = |kind| !matches!(kind, Kind::Text | Kind::Bool | Kind::Bytea);
                self.allowed(left, &op.to_string(), right, |left, right| {
                    is_computed(left) && is_computed(right)
                })
            }
            _ => Ok(()),
        }
    }

    fn compared(&self, left: &Expr, op: &str, right: &Expr) -> Result<()> {
        self.of(left).compared(op, &self.of(right))
    }

    /// Refuses operands of known types that `is_allowed` does not allow.
    fn allowed(
        &self,
        left: &Expr,
        op: &str,
        right: &Expr,
        is_allowed: impl Fn(Kind, Kind) -> bool,
    ) -> Result<()> {
        self.of(left).allowed(op, &self.of(right), is_allowed)
    }

    /// Patterns are looked for in texts alone.
    fn matched(&self, left: &Expr, op: &str, right: &Expr) -> Result<()> {
        let is_text = |operand: &Operand| {
            operand.is_unknown
                || operand.kind.as_ref().is_none_or(|kind| matches!(Kind::of(kind), Kind::Text | Kind::Bytea))
        };
        let (left, right) = (self.of(left), self.of(right));
        if is_text(&left) && is_text(&right) { Ok(()) } else { Err(no_operator(&left, op, &right)) }
    }

    fn negated(&self, number: &Expr) -> Result<()> {
        let operand = self.of(number);
        match operand.kind.as_ref().map(Kind::of) {
            Some(Kind::Text | Kind::Bool | Kind::Bytea) if !operand.is_unknown => {
                Err(refused("42883", format!("operator does not exist: - {}", operand.shown())))
            }
            _ => Ok(()),
        }
    }

    fn filter(&self, condition: Option<&Expr>) -> Result<()> {
        condition.map_or(Ok(()), |condition| self.truth(condition, "FILTER"))
    }

    fn truth(&self, condition: &Expr, clause: &str) -> Result<()> {
        let operand = self.of(condition);
        match operand.kind.as_ref().map(Kind::of) {
            None | Some(Kind::Bool) => Ok(()),
            _ if operand.is_unknown => Ok(()),
            _ => {
                let kind = operand.shown();
                Err(refused("42804", format!("argument of {clause} must be type boolean, not type {kind}")))
            }
        }
    }
}

impl Operand {
    fn compared(&self, op: &str, other: &Self) -> Result<()> {
        self.allowed(op, other, |left, right| {
            let is_span = |kind| matches!(kind, Kind::Time | Kind::Span);
            comparable(left) == comparable(right) || (is_span(left) && is_span(right))
        })
    }

    fn allowed(&self, op: &str, other: &Self, is_allowed: impl Fn(Kind, Kind) -> bool) -> Result<()> {
        let (Some(left), Some(right)) = (&self.kind, &other.kind) else { return Ok(()) };
        let is_known = !self.is_unknown && !other.is_unknown;
        if is_known && !is_allowed(Kind::of(left), Kind::of(right)) {
            return Err(no_operator(self, op, other));
        }
        Ok(())
    }

    fn shown(&self) -> String {
        match &self.kind {
            Some(kind) if !self.is_unknown => name(kind),
            _ => "unknown".to_owned(),
        }
    }
}

/// What stands for the types that are compared with each other.
fn comparable(kind: Kind) -> Kind {
    match kind {
        Kind::Date | Kind::Timestamp | Kind::Instant => Kind::Timestamp,
        kind if kind.is_number() => Kind::Numeric,
        other => other,
    }
}

fn is_whole(kind: Kind) -> bool {
    matches!(kind, Kind::Int2 | Kind::Int4 | Kind::Int8)
}

fn no_operator(left: &Operand, op: &str, right: &Operand) -> DataFusionError {
    refused("42883", format!("operator does not exist: {} {op} {}", left.shown(), right.shown()))
}

fn refused(sqlstate: &str, message: String) -> DataFusionError {
    let error = Error::Stamped { sqlstate: SqlState::from_text(sqlstate), message };
    DataFusionError::Plan(error.to_stamp())
}
