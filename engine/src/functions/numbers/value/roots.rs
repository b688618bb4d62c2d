//! Square roots.

use dashu_int::IBig;
use dashu_int::ops::{SquareRoot, UnsignedAbs};

use super::fault::Fault;
use super::number::{Finite, Number, RESULT_SCALE_MAX, SIGNIFICANT_DIGITS_MIN};
use super::tens;

impl Number {
    /// The square root (`numeric_sqrt`).
    pub fn sqrt(&self) -> Result<Self, Fault> {
        let negative = Fault::Power("cannot take square root of a negative number");
        match self {
            Self::Infinity { is_negative: true } => Err(negative),
            Self::Finite(value) if value.signum() < 0 => Err(negative),
            Self::Finite(value) => {
                let scale = root_scale(value);
                Self::stored(root_at(&value.unscaled, value.places(), scale), scale)
            }
            _ => Ok(self.clone()),
        }
    }
}

/// How many digits a root has behind the point: half the value's base-10000 digits count as known.
fn root_scale(value: &Finite) -> i32 {
    let weight = value.exponent().map_or(0, |exponent| exponent.div_euclid(4));
    let wanted = SIGNIFICANT_DIGITS_MIN - ((weight + 1) * 2 - 1);
    wanted.max(value.places()).clamp(0, RESULT_SCALE_MAX)
}

/// The root of a number that is not negative, rounded half up at `scale`; unscaled. A scale below zero rounds
/// before the point.
pub(crate) fn root_at(unscaled: &IBig, scale: i32, root_scale: i32) -> IBig {
    // One digit more than asked for decides the rounding: a root is never a half that goes on unseen.
    let shift = 2 * (root_scale + 1) - scale;
    let radicand = match usize::try_from(-shift) {
        Ok(gone) => tens::truncated(unscaled, gone),
        Err(_) => tens::shifted(unscaled, shift),
    };
    tens::rounded(&IBig::from(radicand.unsigned_abs().sqrt()), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_have_the_digits_of_postgres() {
        let shown = |text: &str| Number::read(text).expect("a result").sqrt().map(|root| root.shown());
        assert_eq!(shown("2").expect("a result"), "1.414213562373095");
        assert_eq!(shown("0").expect("a result"), "0.000000000000000");
        assert_eq!(shown("0.0001").expect("a result"), "0.01000000000000000");
        assert_eq!(shown("1e40").expect("a result"), "100000000000000000000");
        assert_eq!(shown("Infinity").expect("a result"), "Infinity");
        assert_eq!(shown("-1").expect_err("a fault").sqlstate(), "2201F");
    }
}
