//! Other types' values as `numeric` and back. A double becomes the decimal that C's `%.15g` shows of it.

use dashu_int::IBig;

use super::fault::Fault;
use super::number::{Finite, Number};
use super::tens;

/// Digits that are sure of a double (C's `DBL_DIG`).
const DOUBLE_DIGITS: usize = 15;
/// Digits that are sure of a single (C's `FLT_DIG`).
const SINGLE_DIGITS: usize = 6;
/// The most digits of Arrow's decimal of 128 bits.
const DECIMAL_DIGITS_MAX: usize = 38;

impl Number {
    /// A double with 15 significant digits (`float8_numeric`).
    pub fn of_double(value: f64) -> Self {
        of_float(value, DOUBLE_DIGITS)
    }

    /// A single with 6 significant digits (`float4_numeric`).
    pub fn of_single(value: f32) -> Self {
        of_float(value.into(), SINGLE_DIGITS)
    }

    /// The nearest double (`numeric_float8`); what is too great, or would vanish, is a fault.
    pub fn to_double(&self) -> Result<f64, Fault> {
        let double = self.nearest_double();
        if self.is_lost(double.is_infinite(), double == 0.0) {
            return Err(out_of_range(self, "double precision"));
        }
        Ok(double)
    }

    /// The nearest single (`numeric_float4`); what is too great, or would vanish, is a fault.
    pub fn to_single(&self) -> Result<f32, Fault> {
        let single = match self {
            Self::Finite(value) => value.shown().parse().unwrap_or(f32::NAN),
            _ => self.nearest_double() as f32,
        };
        if self.is_lost(single.is_infinite(), single == 0.0) {
            return Err(out_of_range(self, "real"));
        }
        Ok(single)
    }

    /// The nearest double, which may be an infinity or zero.
    pub(crate) fn nearest_double(&self) -> f64 {
        match self {
            Self::NaN => f64::NAN,
            Self::Infinity { is_negative: false } => f64::INFINITY,
            Self::Infinity { is_negative: true } => f64::NEG_INFINITY,
            Self::Finite(value) => value.nearest_double(),
        }
    }

    /// True when a finite number became infinite, or one that is not zero became zero.
    fn is_lost(&self, is_infinite: bool, is_zero: bool) -> bool {
        match self {
            Self::Finite(value) => is_infinite || (is_zero && !value.unscaled.is_zero()),
            _ => false,
        }
    }

    /// The nearest `bigint`, halves away from zero (`numeric_int8`).
    pub fn to_i64(&self) -> Result<i64, Fault> {
        self.to_whole_of("bigint")
    }

    /// The nearest `integer`, halves away from zero (`numeric_int4`).
    pub fn to_i32(&self) -> Result<i32, Fault> {
        self.to_whole_of("integer")
    }

    /// The nearest `smallint`, halves away from zero (`numeric_int2`).
    pub fn to_i16(&self) -> Result<i16, Fault> {
        self.to_whole_of("smallint")
    }

    fn to_whole_of<T: TryFrom<i128>>(&self, target: &'static str) -> Result<T, Fault> {
        let value = self.finite_for(target)?;
        let whole = tens::rounded(&value.unscaled, value.scale.into());
        let whole = i128::try_from(&whole).ok().and_then(|whole| T::try_from(whole).ok());
        whole.ok_or_else(|| Fault::OutOfRange(format!("{target} out of range")))
    }

    /// The unscaled value of an Arrow decimal, halves away from zero.
    pub fn to_decimal(&self, precision: u8, scale: i8) -> Result<i128, Fault> {
        let value = self.finite_for("decimal")?;
        let overflow =
            Fault::FieldOverflow { precision: precision.into(), scale: scale.into(), is_infinite: false };
        let digits = usize::from(precision).min(DECIMAL_DIGITS_MAX);
        let gone = value.places() - i32::from(scale);
        if gone < 0 && tens::count(&value.unscaled) > digits {
            return Err(overflow);
        }
        let unscaled = match usize::try_from(gone) {
            Ok(0) => value.small(),
            Ok(gone) => i128::try_from(&tens::rounded(&value.unscaled, gone)).ok(),
            Err(_) => i128::try_from(&value.at_scale(scale.into())).ok(),
        };
        let limit = tens::SMALL.get(digits).copied().unwrap_or(u128::MAX);
        unscaled.filter(|unscaled| unscaled.unsigned_abs() < limit).ok_or(overflow)
    }

    /// As a `numeric(precision, scale)` holds it (`apply_typmod`): NaN stays, an infinity does not fit.
    pub fn with_typmod(&self, precision: u16, scale: i16) -> Result<Self, Fault> {
        let overflow = |is_infinite| Fault::FieldOverflow { precision, scale, is_infinite };
        let value = match self {
            Self::NaN => return Ok(Self::NaN),
            Self::Infinity { .. } => return Err(overflow(true)),
            Self::Finite(value) => value,
        };
        let unscaled = value.resized(scale.into(), tens::rounded);
        let rounded = Finite { unscaled, scale: u16::try_from(scale).unwrap_or(0) };
        let whole_digits = i32::from(precision) - i32::from(scale);
        if rounded.exponent().is_some_and(|exponent| exponent + 1 > whole_digits) {
            return Err(overflow(false));
        }
        Self::stored(rounded.unscaled, rounded.scale.into())
    }

    fn finite_for(&self, target: &'static str) -> Result<&Finite, Fault> {
        match self {
            Self::Finite(value) => Ok(value),
            _ => Err(Fault::NotFinite { is_nan: self.is_nan(), target }),
        }
    }
}

impl Finite {
    /// The nearest double, which may be an infinity or zero.
    pub(crate) fn nearest_double(&self) -> f64 {
        const EXACT: u128 = 1 << 53;
        // Both are doubles without a loss: one division is rounded once.
        if self.scale <= 22
            && let Some(small) = self.small().filter(|small| small.unsigned_abs() <= EXACT)
        {
            return small as f64 / 10f64.powi(self.places());
        }
        self.shown().parse().unwrap_or(f64::NAN)
    }
}

fn out_of_range(value: &Number, target: &str) -> Fault {
    Fault::OutOfRange(format!("\"{}\" is out of range for type {target}", value.shown()))
}

fn of_float(value: f64, digits: usize) -> Number {
    if value.is_nan() {
        return Number::NaN;
    }
    if value.is_infinite() {
        return Number::infinity(value < 0.0);
    }
    decimal_of(value, digits).unwrap_or(Number::NaN)
}

/// The number with the first `digits` digits of a double, without zeros at its end.
fn decimal_of(value: f64, digits: usize) -> Option<Number> {
    let text = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = text.split_once('e')?;
    let mut scale = i32::try_from(digits).ok()? - 1 - exponent.parse::<i32>().ok()?;
    let mut unscaled: i64 = mantissa.replace('.', "").parse().ok()?;
    while unscaled != 0 && unscaled % 10 == 0 {
        unscaled /= 10;
        scale -= 1;
    }
    let scale = if unscaled == 0 { 0 } else { scale };
    let unscaled = tens::shifted(&IBig::from(unscaled), -scale);
    Some(Number::Finite(Finite { unscaled, scale: u16::try_from(scale.max(0)).ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::read(text).expect("a result")
    }

    #[test]
    fn doubles_have_fifteen_digits() {
        assert_eq!(Number::of_double(0.1 + 0.2).shown(), "0.3");
        assert_eq!(Number::of_double(1.5e20).shown(), "150000000000000000000");
        assert_eq!(Number::of_double(-1.25e-7).shown(), "-0.000000125");
        assert_eq!(Number::of_double(100_000_000_000_000.5).shown(), "100000000000000");
        assert_eq!(Number::of_double(-0.0).shown(), "0");
        assert_eq!(Number::of_single(16_777_216.0).shown(), "16777200");
    }

    #[test]
    fn doubles_are_the_nearest() {
        assert_eq!(number("0.1").to_double(), Ok(0.1));
        assert_eq!(number("1e308").to_double(), Ok(1e308));
        assert_eq!(number("-1e400").to_double().expect_err("a fault").sqlstate(), "22003");
        assert_eq!(number("1e-400").to_double().expect_err("a fault").sqlstate(), "22003");
        assert_eq!(number("0e-400").to_double(), Ok(0.0));
        assert_eq!(number("7.038531e-26").to_single(), Ok(7.038_531e-26));
    }

    #[test]
    fn whole_numbers_are_rounded_and_checked() {
        assert_eq!(number("-2.5").to_i64(), Ok(-3));
        assert_eq!(number("9223372036854775807.4").to_i64(), Ok(i64::MAX));
        assert_eq!(
            number("9223372036854775807.5").to_i64().expect_err("a fault").message(),
            "bigint out of range"
        );
        assert_eq!(Number::NaN.to_i32().expect_err("a fault").message(), "cannot convert NaN to integer");
        assert_eq!(
            Number::infinity(true).to_i16().expect_err("a fault").message(),
            "cannot convert infinity to smallint"
        );
    }

    #[test]
    fn fields_round_and_overflow() {
        assert_eq!(number("9.994").with_typmod(3, 2).expect("a result").shown(), "9.99");
        assert_eq!(
            number("9.995").with_typmod(3, 2).expect_err("a fault").message(),
            "numeric field overflow"
        );
        assert_eq!(number("12345").with_typmod(3, -2).expect("a result").shown(), "12300");
        assert_eq!(number("0.00099").with_typmod(2, 5).expect("a result").shown(), "0.00099");
        assert_eq!(number("0.001").with_typmod(2, 5).expect_err("a fault").sqlstate(), "22003");
        assert_eq!(number("1.25").to_decimal(3, 1), Ok(13));
        assert_eq!(number("125").to_decimal(3, -1), Ok(13));
        assert_eq!(number("99.5").to_decimal(2, 0).expect_err("a fault").sqlstate(), "22003");
        assert_eq!(number("1e100").to_decimal(38, 2).expect_err("a fault").sqlstate(), "22003");
    }
}
