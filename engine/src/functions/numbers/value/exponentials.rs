//! Powers of e, by PostgreSQL's own series and precision (`exp_var` of `numeric.c`).

use super::fault::Fault;
use super::groups::{GROUP_DIGITS, Groups};
use super::number::{Number, RESULT_SCALE_MAX, SIGNIFICANT_DIGITS_MIN};

/// The decimal digits that a factor of e adds, as PostgreSQL writes it.
#[expect(clippy::approx_constant, reason = "the digits that PostgreSQL has")]
pub(crate) const LOG10_E: f64 = 0.434294481903252;
/// The decimal digits that a factor of 2 adds.
#[expect(clippy::approx_constant, reason = "the digits that PostgreSQL has")]
pub(crate) const LOG10_2: f64 = 0.301029995663981;
/// Twice PostgreSQL's greatest declared precision (`NUMERIC_MAX_RESULT_SCALE`).
pub(crate) const DIGITS_LIMIT: f64 = 2000.0;
/// The series is fed with nothing greater.
const SERIES_LIMIT: f64 = 0.01;

impl Number {
    /// e to the power of the number (`numeric_exp`).
    pub fn exp(&self) -> Result<Self, Fault> {
        let value = match self {
            Self::Infinity { is_negative: true } => return Ok(Self::ZERO),
            Self::Finite(value) => value,
            _ => return Ok(self.clone()),
        };
        // About as many digits as the result has before the point.
        let digits = (value.nearest_double() * LOG10_E).clamp(-DIGITS_LIMIT, DIGITS_LIMIT) as i32;
        let scale = (SIGNIFICANT_DIGITS_MIN - digits).max(value.places()).clamp(0, RESULT_SCALE_MAX);
        exponential(&Groups::of_finite(value), scale)?.stored()
    }
}

/// e to the power of `value`, at `scale`.
pub(crate) fn exponential(value: &Groups, scale: i32) -> Result<Groups, Fault> {
    let estimate = value.nearest_double();
    if estimate.abs() >= DIGITS_LIMIT * 3.0 {
        return if estimate > 0.0 { Err(Fault::Overflow) } else { Ok(Groups::zero(scale)) };
    }
    let (halvings, argument) = halved(value, estimate);
    let digits = 1 + (estimate * LOG10_E) as i32 + scale + (f64::from(halvings) * LOG10_2) as i32;
    let digits = digits.max(0) + 8;
    let mut result = series(&argument, digits - 1);
    for _ in 0..halvings {
        let scale = (digits - result.weight * 2 * GROUP_DIGITS).max(0);
        result = result.times(&result, scale);
    }
    Ok(result.rounded(scale))
}

/// The value halved until the series is quick, and how often.
fn halved(value: &Groups, mut estimate: f64) -> (i32, Groups) {
    let mut halvings = 0;
    while estimate.abs() > SERIES_LIMIT {
        halvings += 1;
        estimate /= 2.0;
    }
    if halvings == 0 {
        return (0, value.clone());
    }
    (halvings, value.over(1 << halvings, value.scale + halvings))
}

/// 1 + x + x²/2! + x³/3! + …, until a term is zero at `scale`.
fn series(argument: &Groups, scale: i32) -> Groups {
    let mut sum = Groups::of_group(1).plus(argument);
    let mut term = argument.times(argument, scale).over(2, scale);
    let mut factor = 2;
    while !term.is_zero() {
        sum = sum.plus(&term);
        factor += 1;
        term = term.times(argument, scale).over(factor, scale);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_have_the_digits_of_postgres() {
        let shown = |text: &str| Number::read(text).expect("a result").exp().map(|number| number.shown());
        assert_eq!(shown("1").expect("a result"), "2.7182818284590452");
        assert_eq!(shown("0.0").expect("a result"), "1.0000000000000000");
        assert_eq!(shown("-Infinity").expect("a result"), "0");
        assert_eq!(shown("32.999").expect("a result"), "214429043492155.053");
        assert_eq!(shown("-6000").expect("a result"), format!("0.{}", "0".repeat(1000)));
        assert_eq!(shown("6000").expect_err("a fault"), Fault::Overflow);
    }
}
