//! Frames of windows: which bounds may stand together, and what their offsets are.

use std::ops::ControlFlow;

use engine::functions::numbers::digits::Digits;
use engine::{Error, Result, SqlState};
use sqlparser::ast::{
    Expr, Function, Interval, NamedWindowDefinition, NamedWindowExpr, Select, UnaryOperator, Value, Visit,
    Visitor, WindowFrameBound, WindowFrameUnits, WindowSpec, WindowType,
};

use super::{instants, take};

/// Checks the frame of `window`, and reads the offsets of rows and groups, which are counts.
pub fn adapt(window: &mut WindowSpec) -> Result<()> {
    let keys = window.order_by.len();
    let Some(frame) = window.window_frame.as_mut() else { return Ok(()) };
    check_bounds(&frame.start_bound, frame.end_bound.as_ref())?;
    let offsets = [Some(&mut frame.start_bound), frame.end_bound.as_mut()].into_iter().flatten();
    let offsets = offsets.zip(["starting", "ending"]).filter_map(|(bound, place)| match bound {
        WindowFrameBound::Preceding(Some(offset)) | WindowFrameBound::Following(Some(offset)) => {
            Some((offset.as_mut(), place))
        }
        _ => None,
    });
    let offsets: Vec<_> = offsets.collect();
    match frame.units {
        WindowFrameUnits::Groups if keys == 0 => {
            return Err(windowing("GROUPS mode requires an ORDER BY clause"));
        }
        WindowFrameUnits::Range if keys != 1 && !offsets.is_empty() => {
            let message = "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column";
            return Err(windowing(message));
        }
        _ => {}
    }
    let units = frame.units;
    offsets.into_iter().try_for_each(|(offset, place)| read(offset, place, units))
}

/// Takes what stands in quotes in frames of rows and groups for texts, which the parser takes for intervals: before
/// intervals are read.
pub fn adapt_texts<'a>(windows: impl Iterator<Item = &'a mut WindowSpec>) {
    for frame in windows.filter_map(|window| window.window_frame.as_mut()) {
        if frame.units == WindowFrameUnits::Range {
            continue;
        }
        for bound in [Some(&mut frame.start_bound), frame.end_bound.as_mut()].into_iter().flatten() {
            if let WindowFrameBound::Preceding(Some(offset)) | WindowFrameBound::Following(Some(offset)) =
                bound
                && let Expr::Interval(Interval { value, leading_field: None, .. }) = offset.as_mut()
            {
                **offset = take(value);
            }
        }
    }
}

/// The window that `expr` is over, where it is written there.
pub fn window_of(expr: &mut Expr) -> Option<&mut WindowSpec> {
    match expr {
        Expr::Function(Function { over: Some(WindowType::WindowSpec(window)), .. }) => Some(window),
        _ => None,
    }
}

/// The windows of `select` that have names.
pub fn named_windows(select: &mut Select) -> impl Iterator<Item = &mut WindowSpec> {
    select.named_window.iter_mut().filter_map(|NamedWindowDefinition(_, window)| match window {
        NamedWindowExpr::WindowSpec(window) => Some(window),
        NamedWindowExpr::NamedWindow(_) => None,
    })
}

fn windowing(message: &str) -> Error {
    Error::Windowing { message: message.to_owned() }
}

fn check_bounds(start: &WindowFrameBound, end: Option<&WindowFrameBound>) -> Result<()> {
    use WindowFrameBound::{CurrentRow, Following, Preceding};
    let wrong = match (start, end) {
        (Following(None), _) => "frame start cannot be UNBOUNDED FOLLOWING",
        (_, Some(Preceding(None))) => "frame end cannot be UNBOUNDED PRECEDING",
        (Following(Some(_)), None) => "frame starting from following row cannot end with current row",
        (CurrentRow, Some(Preceding(Some(_)))) => {
            "frame starting from current row cannot have preceding rows"
        }
        (Following(Some(_)), Some(Preceding(Some(_)) | CurrentRow)) => {
            "frame starting from following row cannot have preceding rows"
        }
        _ => return Ok(()),
    };
    Err(windowing(wrong))
}

/// The literal under parentheses and signs, and whether it is below zero.
fn literal(expr: &Expr) -> Option<(&Value, bool)> {
    match expr {
        Expr::Nested(inner) => literal(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => {
            literal(inner).map(|(value, is_negative)| (value, !is_negative))
        }
        Expr::UnaryOp { op: UnaryOperator::Plus, expr: inner } => literal(inner),
        Expr::Value(value) => Some((&value.value, false)),
        _ => None,
    }
}

fn read(offset: &mut Expr, place: &str, units: WindowFrameUnits) -> Result<()> {
    if let Some(text) = instants::later_text(offset) {
        // The planner wants a literal.
        *offset = instants::literal(&text)?;
    }
    check_variables(offset, units)?;
    let stamped =
        |sqlstate: &str, message: String| Error::Stamped { sqlstate: SqlState::from_text(sqlstate), message };
    let negative = || match units {
        WindowFrameUnits::Range => "invalid preceding or following size in window function".to_owned(),
        _ => format!("frame {place} offset must not be negative"),
    };
    let count = match (literal(offset), units) {
        (Some((Value::Null, _)), _) => {
            return Err(stamped("22004", format!("frame {place} offset must not be null")));
        }
        (Some((Value::Number(_, _), true)), _) => return Err(stamped("22013", negative())),
        (_, WindowFrameUnits::Range) | (Some((Value::Placeholder(_), _)), _) => return Ok(()),
        (Some((Value::Number(digits, _) | Value::SingleQuotedString(digits), false)), _) => {
            count_of(digits, matches!(literal(offset), Some((Value::Number(..), _))))?
        }
        _ => {
            let message = "the offset of a frame that is no number is not supported: write it as one";
            return Err(Error::NotSupported { message: message.to_owned() });
        }
    };
    if count < 0 {
        return Err(stamped("22013", negative()));
    }
    if !matches!(literal(offset), Some((Value::Number(digits, _), _)) if *digits == count.to_string()) {
        *offset = Expr::value(Value::Number(count.to_string(), false));
    }
    Ok(())
}

/// `digits` as a `bigint`: a number is rounded, a text must be one.
fn count_of(digits: &str, is_number: bool) -> Result<i64> {
    let read = Digits::read(digits).filter(|digits| is_number || digits.scale == 0);
    let value = read.ok_or_else(|| Error::InvalidText {
        message: format!("invalid input syntax for type bigint: \"{digits}\""),
    })?;
    let count = value.at_scale(0).and_then(|value| i64::try_from(value).ok());
    count.ok_or_else(|| Error::OutOfRange { message: "bigint out of range".to_owned() })
}

fn check_variables(offset: &Expr, units: WindowFrameUnits) -> Result<()> {
    struct Columns;
    impl Visitor for Columns {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(name) if name.quote_style != Some('\'') => ControlFlow::Break(()),
                Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    if matches!(offset, Expr::Subquery(_)) || offset.visit(&mut Columns).is_continue() {
        return Ok(());
    }
    Err(Error::Stamped {
        sqlstate: SqlState::from_text("42P10"),
        message: format!("argument of {units} must not contain variables"),
    })
}
