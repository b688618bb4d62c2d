//! Numbers as their decimal digits: how PostgreSQL reads, rounds and divides `numeric`.

use datafusion::arrow::datatypes::DataType;

/// The most digits that a number may have here.
pub const DIGITS_MAX: usize = 38;

/// A finite number: its digits without leading zeros, and how many of them lie behind the point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digits {
    /// True below zero.
    pub is_negative: bool,
    /// None for zero.
    pub digits: String,
    /// Less than none for whole numbers that end in zeros.
    pub scale: i64,
}

impl Digits {
    /// Reads `text` as PostgreSQL reads a `numeric`; `None` when it is none, or not finite.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim_matches(|letter: char| letter.is_ascii_whitespace() || letter == '\x0b');
        let (is_negative, text) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], read_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0').to_owned();
        let scale = i64::try_from(fraction.len()).ok()? - exponent;
        Some(Self { is_negative, digits, scale })
    }

    /// The digits that are sure of a floating-point number, as C's `%.*g` gives them; `None` when it is not finite.
    pub fn of_float(value: f64, digits: usize) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        Self::read(&format!("{value:.*e}", digits.saturating_sub(1)))
    }

    /// As an unscaled value at `scale`, rounded half away from zero; `None` past 38 digits.
    pub fn at_scale(&self, scale: i8) -> Option<i128> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let gone = self.scale - i64::from(scale);
        let magnitude = if gone <= 0 {
            let zeros = usize::try_from(-gone).ok()?;
            if self.digits.len() + zeros > DIGITS_MAX {
                return None;
            }
            let mut digits = self.digits.clone();
            digits.extend(std::iter::repeat_n('0', zeros));
            digits.parse::<i128>().ok()?
        } else {
            let gone = usize::try_from(gone).ok()?;
            if gone > self.digits.len() {
                return Some(0);
            }
            let (kept, cut) = self.digits.split_at(self.digits.len() - gone);
            if kept.len() > DIGITS_MAX {
                return None;
            }
            let kept = if kept.is_empty() { 0 } else { kept.parse::<i128>().ok()? };
            let is_up = cut.as_bytes().first().is_some_and(|digit| *digit >= b'5');
            kept + i128::from(is_up)
        };
        let magnitude = (digits_of(magnitude) <= DIGITS_MAX).then_some(magnitude)?;
        Some(if self.is_negative { -magnitude } else { magnitude })
    }
}

/// Digits behind the `e` of a number.
fn read_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.strip_prefix('+').unwrap_or(text).parse().ok()
}

/// How many digits `value` has; one for zero.
pub fn digits_of(value: i128) -> usize {
    value.unsigned_abs().checked_ilog10().map_or(1, |digits| digits as usize + 1)
}

/// The unscaled `value` at `from`, at `to`: rounded half away from zero, or filled up; `None` past 38 digits.
pub fn rescaled(value: i128, from: i8, to: i8) -> Option<i128> {
    let by = i32::from(to) - i32::from(from);
    if value == 0 {
        return Some(0);
    }
    if by >= 0 {
        let result = value.checked_mul(power(by.unsigned_abs())?)?;
        return (digits_of(result) <= DIGITS_MAX).then_some(result);
    }
    let Some(divisor) = power(by.unsigned_abs()) else { return Some(0) };
    let (quotient, rest) = (value / divisor, value % divisor);
    let is_away = rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs();
    Some(if is_away { quotient + value.signum() } else { quotient })
}

/// The same, cut off instead of rounded.
pub fn cut(value: i128, from: i8, to: i8) -> Option<i128> {
    let by = i32::from(to) - i32::from(from);
    if by >= 0 {
        return rescaled(value, from, to);
    }
    Some(power(by.unsigned_abs()).map_or(0, |divisor| value / divisor))
}

/// Ten to the power of `exponent`.
pub fn power(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

/// The text of an unscaled value.
pub fn shown(value: i128, scale: i8) -> String {
    let digits = value.unsigned_abs().to_string();
    let sign = if value < 0 { "-" } else { "" };
    match usize::try_from(scale) {
        Ok(0) => format!("{sign}{digits}"),
        Err(_) => format!("{sign}{digits}e{}", scale.unsigned_abs()),
        Ok(scale) if digits.len() > scale => {
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            format!("{sign}{whole}.{fraction}")
        }
        Ok(scale) => format!("{sign}0.{digits:0>scale$}"),
    }
}

/// The nearest double to an unscaled value.
pub fn to_double(value: i128, scale: i8) -> f64 {
    const EXACT: u128 = 1 << 53;
    // Both are doubles without a loss: one division is rounded once.
    if value.unsigned_abs() <= EXACT
        && let Some(divisor) = u32::try_from(scale).ok().filter(|scale| *scale <= 22)
    {
        return value as f64 / 10f64.powi(divisor as i32);
    }
    shown(value, scale).parse().unwrap_or(f64::NAN)
}

/// The nearest single to an unscaled value.
pub fn to_single(value: i128, scale: i8) -> f32 {
    shown(value, scale).parse().unwrap_or(f32::NAN)
}

/// A `numeric` without precision, which is kept with ten digits behind the point: it is shown with those that it needs.
pub const BARE: DataType = DataType::Decimal128(38, BARE_SCALE);
/// Digits behind the point that it is kept with.
pub const BARE_SCALE: i8 = 10;
/// The same where more were computed: what PostgreSQL gives a quotient.
pub const WIDE_SCALE: i8 = 16;

/// The scale of a `numeric` without precision, as columns of tables have it: of one that was declared so, or that came of a query
/// whose numbers have scales of their own. `None` for other types.
pub fn bare_scale(kind: &DataType) -> Option<i8> {
    match kind {
        DataType::Decimal128(38, scale @ (BARE_SCALE | WIDE_SCALE)) => Some(*scale),
        _ => None,
    }
}

/// A value at the least scale that it has.
pub fn least(mut value: i128, mut scale: i8) -> (i128, i8) {
    while scale > 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    (value, scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, scale: i8) -> Option<i128> {
        Digits::read(text)?.at_scale(scale)
    }

    #[test]
    fn texts_are_read_as_numbers() {
        assert_eq!(read("1e3", 0), Some(1000));
        assert_eq!(read(" -1.25 ", 1), Some(-13));
        assert_eq!(read(".5", 0), Some(1));
        assert_eq!(read("1.", 2), Some(100));
        assert_eq!(read("0.004", 2), Some(0));
        assert_eq!(read("1e-30", 2), Some(0));
        assert_eq!(read("99999999999999999999999999999999999999", 0), Some(10i128.pow(38) - 1));
        assert_eq!(read("99999999999999999999999999999999999999.5", 0), None);
        for wrong in ["", ".", "e1", "1e", "1 2", "0x1", "NaN", "--1", "1_0"] {
            assert_eq!(Digits::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn rounding_is_half_away_from_zero() {
        assert_eq!(rescaled(-25, 1, 0), Some(-3));
        assert_eq!(rescaled(12345, 3, 2), Some(1235));
        assert_eq!(rescaled(1234567, 3, -2), Some(12));
        assert_eq!(rescaled(49, 2, 0), Some(0));
        assert_eq!(cut(-125, 1, 0), Some(-12));
    }

    #[test]
    fn doubles_are_the_nearest() {
        assert_eq!(to_double(1, -15), 1e15);
        assert_eq!(to_double(3, 1), 0.3);
        assert_eq!(to_double(1, 30), 1e-30);
        assert_eq!(shown(-5, 3), "-0.005");
    }
}
