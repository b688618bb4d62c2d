//! PostgreSQL's order of `numeric` (`cmp_numerics`): the infinities at the ends and NaN above both. The scale
//! does not matter.

use std::cmp::Ordering;

use super::number::{Finite, Number};
use super::tens;

impl Number {
    /// Which of two numbers comes first.
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Finite(left), Self::Finite(right)) => left.compare(right),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    /// The place among the kinds of numbers.
    fn rank(&self) -> u8 {
        match self {
            Self::Infinity { is_negative: true } => 0,
            Self::Finite(_) => 1,
            Self::Infinity { is_negative: false } => 2,
            Self::NaN => 3,
        }
    }
}

impl Finite {
    /// Which of two numbers comes first.
    pub fn compare(&self, other: &Self) -> Ordering {
        if self.scale == other.scale {
            return self.unscaled.cmp(&other.unscaled);
        }
        if let Some(order) = self.compare_small(other) {
            return order;
        }
        let signs = self.signum().cmp(&other.signum());
        if signs.is_ne() || self.signum() == 0 {
            return signs;
        }
        // Numbers of other lengths are told apart without filling one of them up with zeros.
        let lengths = self.exponent().cmp(&other.exponent());
        if lengths.is_ne() {
            return if self.signum() < 0 { lengths.reverse() } else { lengths };
        }
        let scale = self.places().max(other.places());
        self.at_scale(scale).cmp(&other.at_scale(scale))
    }

    fn compare_small(&self, other: &Self) -> Option<Ordering> {
        let (left, right) = (self.small()?, other.small()?);
        let by = self.places() - other.places();
        if by > 0 {
            return Some(left.cmp(&right.checked_mul(tens::small(by)?)?));
        }
        Some(left.checked_mul(tens::small(-by)?)?.cmp(&right))
    }
}
