//! Rounding to a number of places, before or behind the point, and to whole numbers.

use std::cmp::Ordering;

use dashu_int::IBig;

use super::fault::Fault;
use super::number::{Finite, Number, SCALE_MAX, WHOLE_DIGITS_MAX};
use super::tens;

/// As many places before the point as a number can have.
const PLACES_MIN: i32 = -(WHOLE_DIGITS_MAX as i32);

impl Number {
    /// Rounded half away from zero (`numeric_round`); below zero, `places` count before the point.
    pub fn rounded(&self, places: i32) -> Result<Self, Fault> {
        let Self::Finite(value) = self else { return Ok(self.clone()) };
        // One more place than digits: the first one may round up to it.
        let places = places.clamp(PLACES_MIN - 1, SCALE_MAX);
        Self::stored(value.resized(places, tens::rounded), places.max(0))
    }

    /// Cut off (`numeric_trunc`).
    pub fn truncated(&self, places: i32) -> Result<Self, Fault> {
        let Self::Finite(value) = self else { return Ok(self.clone()) };
        let places = places.clamp(PLACES_MIN, SCALE_MAX);
        Self::stored(value.resized(places, tens::truncated), places.max(0))
    }

    /// The least whole number that is not below (`numeric_ceil`).
    pub fn ceiling(&self) -> Result<Self, Fault> {
        self.to_whole(Ordering::Greater)
    }

    /// The greatest whole number that is not above (`numeric_floor`).
    pub fn floor(&self) -> Result<Self, Fault> {
        self.to_whole(Ordering::Less)
    }

    /// Cut off, and one step towards `side` when that lost something on that side.
    fn to_whole(&self, side: Ordering) -> Result<Self, Fault> {
        let Self::Finite(value) = self else { return Ok(self.clone()) };
        let whole = tens::truncated(&value.unscaled, value.scale.into());
        let is_on_side = value.signum().cmp(&0) == side;
        if !is_on_side || value.is_whole() {
            return Self::stored(whole, 0);
        }
        Self::stored(whole + value.signum(), 0)
    }
}

impl Finite {
    /// The unscaled value at `places`, or at none for places before the point.
    pub(crate) fn resized(&self, places: i32, cut: fn(&IBig, usize) -> IBig) -> IBig {
        let gone = self.places() - places;
        match usize::try_from(gone) {
            Ok(gone) => tens::shifted(&cut(&self.unscaled, gone), -places),
            Err(_) => self.at_scale(places),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::read(text).expect("a result")
    }

    #[test]
    fn places_may_be_before_the_point() {
        let shown = |text: &str, places| number(text).rounded(places).expect("a result").shown();
        assert_eq!(shown("-2.5", 0), "-3");
        assert_eq!(shown("1.005", 2), "1.01");
        assert_eq!(shown("1.5", 4), "1.5000");
        assert_eq!(shown("1550.5", -2), "1600");
        assert_eq!(shown("49", -2), "0");
        assert_eq!(shown("50", -2), "100");
        assert_eq!(shown("50", i32::MIN), "0");
        assert_eq!(number("9e131071").rounded(-131_072).expect_err("a fault"), Fault::Overflow);
        assert_eq!(number("-1999.99").truncated(-3).expect("a result").shown(), "-1000");
        assert_eq!(number("-1999.99").truncated(1).expect("a result").shown(), "-1999.9");
    }

    #[test]
    fn whole_numbers_above_and_below() {
        assert_eq!(number("-1.5").ceiling().expect("a result").shown(), "-1");
        assert_eq!(number("1.01").ceiling().expect("a result").shown(), "2");
        assert_eq!(number("-1.5").floor().expect("a result").shown(), "-2");
        assert_eq!(number("-0.00").floor().expect("a result").shown(), "0");
        assert_eq!(number("7.00").ceiling().expect("a result").shown(), "7");
    }
}
