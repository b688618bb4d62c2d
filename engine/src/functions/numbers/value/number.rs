//! The value itself: a finite decimal with a display scale, an infinity, or NaN.

use dashu_int::ops::{BitTest, UnsignedAbs};
use dashu_int::{IBig, Sign};

use super::fault::Fault;
use super::tens;

/// The most digits before the point (`NUMERIC_WEIGHT_MAX` of `numeric.c`, in decimal digits).
pub(crate) const WHOLE_DIGITS_MAX: i64 = 131_072;
/// The most digits behind the point (`NUMERIC_DSCALE_MAX`).
pub(crate) const SCALE_MAX: i32 = 16_383;
/// The most digits behind the point that a quotient, a root or a power gets (`NUMERIC_MAX_DISPLAY_SCALE`).
pub(crate) const RESULT_SCALE_MAX: i32 = 1000;
/// The significant digits that such a result has at least (`NUMERIC_MIN_SIG_DIGITS`).
pub(crate) const SIGNIFICANT_DIGITS_MIN: i32 = 16;

/// Bits that any number of `WHOLE_DIGITS_MAX` digits has at most.
const SURE_BITS: usize = 435_000;

/// A PostgreSQL `numeric`.
#[derive(Debug, Clone)]
pub enum Number {
    /// Not a number: equal to itself and greater than all others.
    NaN,
    /// Beyond all finite numbers.
    Infinity {
        /// True for the one below all.
        is_negative: bool,
    },
    /// A decimal number.
    Finite(Finite),
}

/// A decimal number: `unscaled` over ten to the power of `scale`.
#[derive(Debug, Clone)]
pub struct Finite {
    /// All digits, without the point.
    pub unscaled: IBig,
    /// How many digits are shown behind the point (`dscale`).
    pub scale: u16,
}

impl Number {
    /// Zero without digits behind the point.
    pub const ZERO: Self = Self::Finite(Finite { unscaled: IBig::ZERO, scale: 0 });
    /// One without digits behind the point.
    pub const ONE: Self = Self::Finite(Finite { unscaled: IBig::ONE, scale: 0 });

    /// A whole number.
    pub fn of_whole(value: i128) -> Self {
        Self::Finite(Finite { unscaled: IBig::from(value), scale: 0 })
    }

    /// An unscaled value; a scale below zero stands for zeros before the point.
    pub fn of_decimal(unscaled: i128, scale: i8) -> Self {
        let value = IBig::from(unscaled);
        let unscaled = tens::shifted(&value, -i32::from(scale));
        Self::Finite(Finite { unscaled, scale: u16::try_from(scale).unwrap_or(0) })
    }

    /// The infinity of a sign.
    pub(crate) fn infinity(is_negative: bool) -> Self {
        Self::Infinity { is_negative }
    }

    /// A result as PostgreSQL stores it (`make_result` of `numeric.c`): too many digits are a fault.
    pub(crate) fn stored(unscaled: IBig, scale: i32) -> Result<Self, Fault> {
        if scale > SCALE_MAX {
            return Err(Fault::Overflow);
        }
        let scale = u16::try_from(scale).map_err(|_| Fault::Overflow)?;
        if unscaled.bit_len() > SURE_BITS {
            let digits = i64::try_from(tens::count(&unscaled)).map_err(|_| Fault::Overflow)?;
            if digits - i64::from(scale) > WHOLE_DIGITS_MAX {
                return Err(Fault::Overflow);
            }
        }
        Ok(Self::Finite(Finite { unscaled, scale }))
    }

    /// True for NaN.
    pub fn is_nan(&self) -> bool {
        matches!(self, Self::NaN)
    }

    /// The sign as -1, 0 or 1; NaN counts as positive here.
    pub(crate) fn signum(&self) -> i32 {
        match self {
            Self::NaN => 1,
            Self::Infinity { is_negative } => 1 - 2 * i32::from(*is_negative),
            Self::Finite(value) => value.signum(),
        }
    }
}

impl Finite {
    /// The sign as -1, 0 or 1.
    pub(crate) fn signum(&self) -> i32 {
        match (self.unscaled.is_zero(), self.unscaled.sign()) {
            (true, _) => 0,
            (_, Sign::Positive) => 1,
            (_, Sign::Negative) => -1,
        }
    }

    /// The scale as arithmetic wants it.
    pub(crate) fn places(&self) -> i32 {
        i32::from(self.scale)
    }

    /// The unscaled value, when it fits.
    pub(crate) fn small(&self) -> Option<i128> {
        i128::try_from(&self.unscaled).ok()
    }

    /// The unscaled value at a greater `scale`.
    pub(crate) fn at_scale(&self, scale: i32) -> IBig {
        tens::shifted(&self.unscaled, scale - self.places())
    }

    /// True when nothing but zeros stands behind the point.
    pub(crate) fn is_whole(&self) -> bool {
        self.min_scale() == 0
    }

    /// The fewest digits behind the point that keep the value (`get_min_scale` of `numeric.c`).
    pub(crate) fn min_scale(&self) -> u16 {
        if self.scale == 0 || self.unscaled.is_zero() {
            return 0;
        }
        if let Some(small) = self.small() {
            return self.scale - small_zeros(small.unsigned_abs(), self.scale);
        }
        let zeros = self.unscaled.clone().unsigned_abs().remove(&10u8.into()).unwrap_or(0);
        self.scale.saturating_sub(u16::try_from(zeros).unwrap_or(u16::MAX))
    }

    /// The digit before the point of the first digit: 0 for ones; `None` for zero.
    pub(crate) fn exponent(&self) -> Option<i32> {
        let digits = i32::try_from(tens::count(&self.unscaled)).unwrap_or(i32::MAX);
        (digits > 0).then(|| digits - 1 - self.places())
    }
}

/// How many zeros end `value`, up to `limit`.
fn small_zeros(mut value: u128, limit: u16) -> u16 {
    let mut zeros = 0;
    while zeros < limit && value.is_multiple_of(10) {
        value /= 10;
        zeros += 1;
    }
    zeros
}
