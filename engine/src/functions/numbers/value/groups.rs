//! Numbers in PostgreSQL's own form, base-10000 digits: its logarithms, exponentials and powers drop digits
//! of their intermediate results at the borders of such digits, and their last shown digit can depend on it.

use std::cmp::Ordering;

use dashu_int::ops::UnsignedAbs;
use dashu_int::{IBig, UBig};

use super::fault::Fault;
use super::number::{Finite, Number};
use super::quotients::{View, quotient_at};
use super::tens;

/// Decimal digits of a group.
pub(crate) const GROUP_DIGITS: i32 = 4;
/// One more than the greatest group.
pub(crate) const GROUP: u64 = 10_000;

/// A decimal number as base-10000 digits, without zeros at either end; `NumericVar` of `numeric.c`.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    pub(crate) is_negative: bool,
    /// The power of 10000 of the first group.
    pub(crate) weight: i32,
    /// Decimal digits behind the point that count; below zero they end before the point.
    pub(crate) scale: i32,
    /// The first one is the greatest.
    pub(crate) groups: Vec<u16>,
}

impl Groups {
    /// Zero at a scale.
    pub(crate) fn zero(scale: i32) -> Self {
        Self { is_negative: false, weight: 0, scale, groups: Vec::new() }
    }

    /// A number from 1 to 9999.
    pub(crate) fn of_group(value: u16) -> Self {
        Self { is_negative: false, weight: 0, scale: 0, groups: vec![value] }
    }

    /// A number with one digit behind the point.
    pub(crate) fn of_tenths(value: i32) -> Self {
        Self::of(&IBig::from(value), 1)
    }

    /// A number by its digits.
    pub(crate) fn of(unscaled: &IBig, scale: i32) -> Self {
        let padding = (-scale).rem_euclid(GROUP_DIGITS);
        let digits = tens::shifted(unscaled, padding).unsigned_abs().to_string();
        let first = digits.len() % GROUP_DIGITS as usize;
        let (first, rest) = digits.as_bytes().split_at_checked(first).unwrap_or_default();
        let rest = rest.chunks(GROUP_DIGITS as usize).map(group_of);
        let groups: Vec<u16> = std::iter::once(group_of(first)).chain(rest).collect();
        let weight = length(&groups) - 1 - (scale + padding) / GROUP_DIGITS;
        Self { is_negative: *unscaled < IBig::ZERO, weight, scale, groups }.stripped()
    }

    /// A finite number.
    pub(crate) fn of_finite(value: &Finite) -> Self {
        Self::of(&value.unscaled, value.places())
    }

    /// The digits as one number at the scale.
    pub(crate) fn unscaled(&self) -> IBig {
        let value = IBig::from(self.whole());
        let exponent = self.end() * GROUP_DIGITS + self.scale;
        let value = match usize::try_from(-exponent) {
            Ok(zeros) => tens::truncated(&value, zeros),
            Err(_) => tens::shifted(&value, exponent),
        };
        if self.is_negative { -value } else { value }
    }

    /// All groups as one whole number.
    pub(crate) fn whole(&self) -> UBig {
        let mut digits = String::with_capacity(self.groups.len() * GROUP_DIGITS as usize + 1);
        digits.push('0');
        for group in &self.groups {
            digits.extend([group / 1000, group / 100 % 10, group / 10 % 10, group % 10].map(decimal));
        }
        UBig::from_str_radix(&digits, 10).unwrap_or_default()
    }

    /// The number as PostgreSQL stores a result.
    pub(crate) fn stored(&self) -> Result<Number, Fault> {
        Number::stored(self.unscaled(), self.scale)
    }

    /// The nearest double; an infinity for what is too great.
    pub(crate) fn nearest_double(&self) -> f64 {
        let scale = u16::try_from(self.scale).unwrap_or(0);
        Finite { unscaled: self.unscaled(), scale }.nearest_double()
    }

    /// True for zero.
    pub(crate) fn is_zero(&self) -> bool {
        self.groups.is_empty()
    }

    /// The weight of the last group.
    pub(crate) fn end(&self) -> i32 {
        self.weight - length(&self.groups) + 1
    }

    /// One of the groups from the first one on; zero behind the last one.
    pub(crate) fn group(&self, at: usize) -> u16 {
        self.groups.get(at).copied().unwrap_or(0)
    }

    /// Which of two numbers is greater.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        match (self.is_negative, other.is_negative) {
            (false, false) => self.compare_magnitude(other),
            (true, true) => other.compare_magnitude(self),
            (is_negative, _) => other.is_negative.cmp(&is_negative),
        }
    }

    /// Which of two numbers is greater, but for the signs.
    pub(crate) fn compare_magnitude(&self, other: &Self) -> Ordering {
        match (self.is_zero(), other.is_zero()) {
            (false, false) => self.weight.cmp(&other.weight).then_with(|| self.groups.cmp(&other.groups)),
            (is_zero, _) => other.is_zero().cmp(&is_zero),
        }
    }

    /// Without zeros at either end.
    pub(crate) fn stripped(mut self) -> Self {
        let zeros = self.groups.iter().take_while(|group| **group == 0).count();
        self.groups.drain(..zeros);
        self.weight -= i32::try_from(zeros).unwrap_or(0);
        while self.groups.last() == Some(&0) {
            self.groups.pop();
        }
        if self.is_zero() {
            return Self::zero(self.scale);
        }
        self
    }

    /// The quotient at `scale`, rounded half away from zero.
    pub(crate) fn divided_by(&self, divisor: &Self, scale: i32) -> Result<Self, Fault> {
        if divisor.is_zero() {
            return Err(Fault::DivisionByZero);
        }
        let (left, right) = (self.unscaled(), divisor.unscaled());
        let left = View { unscaled: &left, scale: self.scale };
        let right = View { unscaled: &right, scale: divisor.scale };
        Ok(Self::of(&quotient_at(left, right, scale), scale))
    }

    /// The square root of a number that is not negative, rounded at `scale`.
    pub(crate) fn root(&self, scale: i32) -> Self {
        Self::of(&super::roots::root_at(&self.unscaled(), self.scale, scale), scale)
    }
}

/// How many groups there are, as weights are counted.
pub(crate) fn length(groups: &[u16]) -> i32 {
    i32::try_from(groups.len()).unwrap_or(i32::MAX)
}

fn group_of(digits: &[u8]) -> u16 {
    digits.iter().fold(0, |group, digit| group * 10 + u16::from(digit - b'0'))
}

fn decimal(digit: u16) -> char {
    char::from_digit(digit.into(), 10).unwrap_or('0')
}
