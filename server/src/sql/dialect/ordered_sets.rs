//! `percentile_cont`, `percentile_disc` and `mode`: functions of the array in which `array_agg` gathers their values. The planner's
//! own `percentile_cont` interpolates with six digits, and it has no others.

use sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value};

use super::calls::name_of;
use super::{call, take};

/// Puts a call of such a function of an array in the place of an ordered-set aggregate.
pub fn adapt(expr: &mut Expr) {
    let Expr::Function(function) = expr else { return };
    let name = match name_of(function).as_str() {
        "percentile_cont" => "sluice_percentile_cont",
        "percentile_disc" => "sluice_percentile_disc",
        "mode" => "sluice_mode",
        _ => return,
    };
    let [key] = function.within_group.as_mut_slice() else { return };
    let descends = key.options.asc == Some(false);
    let mut gathered = call("array_agg", vec![take(&mut key.expr)]);
    if let Expr::Function(Function { filter, .. }) = &mut gathered {
        *filter = function.filter.take();
    }
    let mut arguments = vec![gathered];
    arguments.extend(direct(&mut function.args));
    arguments.push(Expr::value(Value::Boolean(descends)));
    *expr = call(name, arguments);
}

fn direct(arguments: &mut FunctionArguments) -> Vec<Expr> {
    let FunctionArguments::List(list) = arguments else { return Vec::new() };
    let plain = list.args.drain(..).filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    plain.collect()
}
