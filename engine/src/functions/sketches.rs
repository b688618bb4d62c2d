//! Aggregates that keep a summary of their values, as large as a statement asks for: `approx_percentile_cont(x, 0.5, n)`
//! makes room for `n` centroids of each group before it has seen a row.

use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;

use crate::Error;

/// Centroids of a summary; 100 are usual, and give a percentile to about a thousandth.
const CENTROIDS_MAX: i128 = 10_000;

/// Refuses the call of an aggregate that asks for more than that (22023).
pub fn check(name: &str, args: &[Expr]) -> Result<()> {
    let at = match name {
        "approx_percentile_cont" => 2,
        "approx_percentile_cont_with_weight" => 3,
        _ => return Ok(()),
    };
    let Some(argument) = args.get(at) else { return Ok(()) };
    if constant(argument).is_some_and(|count| (1..=CENTROIDS_MAX).contains(&count)) {
        return Ok(());
    }
    Err(DataFusionError::External(Box::new(Error::InvalidParameterValue {
        message: format!("the number of centroids of {name} must be a constant from 1 to {CENTROIDS_MAX}"),
    })))
}

fn constant(expr: &Expr) -> Option<i128> {
    match expr {
        Expr::Literal(value, _) => value.to_string().parse().ok(),
        Expr::Cast(cast) => constant(&cast.expr),
        Expr::Alias(alias) => constant(&alias.expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    #[test]
    fn a_summary_has_a_size() {
        let of = |count: Expr| check("approx_percentile_cont", &[col("x"), lit(0.5), count]);
        assert!(of(lit(100_i64)).is_ok());
        for wrong in [lit(0_i64), lit(100_000_000_000_000_i64), lit(-1_i64), col("y"), lit(10) * lit(10)] {
            assert_eq!(Error::from(of(wrong).expect_err("refused")).sqlstate().as_str(), "22023");
        }
        assert!(check("approx_percentile_cont", &[col("x"), lit(0.5)]).is_ok());
        assert!(check("sum", &[col("x"), lit(0.5), lit(-1)]).is_ok());
    }
}
