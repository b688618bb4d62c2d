//! Arithmetic on base-10000 digits with the rounding of `numeric.c`: a product is computed with two more
//! groups than are asked for, and what lies behind them is left out before it is rounded.

use std::cmp::Ordering;

use dashu_int::IBig;

use super::groups::{GROUP, GROUP_DIGITS, Groups, length};

/// Groups of a product that are computed behind the asked ones (`MUL_GUARD_DIGITS`).
const GUARD_GROUPS: i32 = 2;
/// From so many groups on, products are left to multiplication of long numbers.
const LONG: usize = 1500;

/// Products of two groups that fit 32 bits together, with a carry.
const ROWS_MAX: usize = 40;
/// The greatest divisor whose rests, a group longer, fit 32 bits.
const SHORT_DIVISOR: u32 = u32::MAX / GROUP as u32;

impl Groups {
    /// The sum, exactly.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        if self.is_negative == other.is_negative {
            return self.combine(other, self.is_negative, 1);
        }
        match self.compare_magnitude(other) {
            Ordering::Equal => Self::zero(self.scale.max(other.scale)),
            Ordering::Greater => self.combine(other, self.is_negative, -1),
            Ordering::Less => other.combine(self, other.is_negative, -1),
        }
    }

    /// The difference, exactly.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        self.plus(&Self { is_negative: !other.is_negative, ..other.clone() })
    }

    /// The magnitude plus or minus another one, which is not greater when it is taken away.
    fn combine(&self, other: &Self, is_negative: bool, factor: i32) -> Self {
        let top = self.weight.max(other.weight) + 1;
        let end = match (self.is_zero(), other.is_zero()) {
            (true, _) => other.end(),
            (_, true) => self.end(),
            _ => self.end().min(other.end()),
        };
        let mut sums = vec![0i32; usize::try_from(top - end + 1).unwrap_or(0)];
        for (number, factor) in [(self, 1), (other, factor)] {
            let skipped = usize::try_from(top - number.weight).unwrap_or(0);
            for (sum, group) in sums.iter_mut().skip(skipped).zip(&number.groups) {
                *sum += factor * i32::from(*group);
            }
        }
        let mut carry = 0;
        let base = GROUP as i32;
        let mut groups = vec![0; sums.len()];
        for (group, sum) in groups.iter_mut().zip(sums).rev() {
            let sum = sum + carry;
            carry = sum.div_euclid(base);
            *group = sum.rem_euclid(base) as u16;
        }
        Self { is_negative, weight: top, scale: self.scale.max(other.scale), groups }.stripped()
    }

    /// The product at `scale` (`mul_var`).
    pub(crate) fn times(&self, other: &Self, scale: i32) -> Self {
        if self.is_zero() || other.is_zero() {
            return Self::zero(scale);
        }
        let weight = self.weight + other.weight + 2;
        let all = length(&self.groups) + length(&other.groups) + 1;
        let wanted = weight + 1 + (scale + GROUP_DIGITS - 1) / GROUP_DIGITS + GUARD_GROUPS;
        let is_negative = self.is_negative != other.is_negative;
        // With fewer all groups would be left out.
        let Ok(kept @ 3..) = usize::try_from(all.min(wanted)) else { return Self::zero(scale) };
        if let Some(product) = self.times_long(other, wanted >= all, scale, weight - wanted + 2) {
            return Self { is_negative: is_negative && !product.is_zero(), ..product };
        }
        let groups = self.product_groups(other, kept);
        Self { is_negative, weight, scale, groups }.rounded(scale)
    }

    /// The first `kept` groups of the product; two of them stand before the product of the first groups.
    fn product_groups(&self, other: &Self, kept: usize) -> Vec<u16> {
        let mut sums = vec![0u32; kept];
        // The shorter number gives the rows, so that rows are long and few.
        let (rows, row) = match self.groups.len() > other.groups.len() {
            true => (&other.groups, &self.groups),
            false => (&self.groups, &other.groups),
        };
        for (at, left) in rows.iter().enumerate() {
            if at % ROWS_MAX == ROWS_MAX - 1 {
                carry_all(&mut sums);
            }
            let left = u32::from(*left);
            for (sum, right) in sums.iter_mut().skip(at + 2).zip(row) {
                *sum += left * u32::from(*right);
            }
        }
        carry_all(&mut sums);
        sums.into_iter().map(|sum| sum as u16).collect()
    }

    /// The product's magnitude by multiplication of long numbers, for long ones; `None` when what is left out
    /// of the groups could change how it is rounded at `scale`.
    fn times_long(&self, other: &Self, is_exact: bool, scale: i32, lost: i32) -> Option<Self> {
        let shorter = self.groups.len().min(other.groups.len());
        if shorter < LONG {
            return None;
        }
        let product = IBig::from(self.whole() * other.whole());
        let product = Self::of(&product, -(self.end() + other.end()) * GROUP_DIGITS);
        if is_exact {
            return Some(product.rounded(scale));
        }
        // Less than this is left out: a unit of the group at `lost` for each of the shorter number's groups.
        let bound = Self { weight: lost, ..Self::of(&IBig::from(2 * shorter), 0) };
        let least = product.minus(&bound).rounded(scale);
        let most = product.rounded(scale);
        most.compare(&least).is_eq().then_some(most)
    }

    /// The quotient by a small number at `scale`, rounded half away from zero (`div_var_int`).
    pub(crate) fn over(&self, divisor: u32, scale: i32) -> Self {
        // One group more than asked for decides the rounding.
        let wanted = self.weight + 1 + (scale + GROUP_DIGITS - 1) / GROUP_DIGITS;
        let wanted = usize::try_from(wanted.max(1)).unwrap_or(1) + 1;
        let groups = self.groups.iter().copied().chain(std::iter::repeat(0)).take(wanted);
        let groups = if divisor <= SHORT_DIVISOR {
            let mut rest = 0;
            groups.map(|group| short_step(&mut rest, group, divisor.max(1))).collect()
        } else {
            let mut rest = 0;
            groups.map(|group| long_step(&mut rest, group, divisor.into())).collect()
        };
        Self { is_negative: self.is_negative, weight: self.weight, scale, groups }.rounded(scale)
    }

    /// Rounded half away from zero at `scale`, which may lie before the point (`round_var`).
    pub(crate) fn rounded(mut self, scale: i32) -> Self {
        self.scale = scale;
        let digits = (self.weight + 1) * GROUP_DIGITS + scale;
        let Ok(digits) = usize::try_from(digits) else { return Self::zero(scale) };
        let (kept, part) = (digits / GROUP_DIGITS as usize, digits % GROUP_DIGITS as usize);
        if kept >= self.groups.len() {
            return self.stripped();
        }
        let step = 10u16.pow(4 - part as u32);
        let cut = self.group(kept);
        let is_up = if part == 0 { cut >= 5000 } else { cut % step >= step / 2 };
        self.groups.truncate(kept);
        let mut carry = 0;
        if part > 0 {
            let group = cut - cut % step + if is_up { step } else { 0 };
            carry = group / GROUP as u16;
            self.groups.push(group % GROUP as u16);
        } else if is_up {
            carry = 1;
        }
        self.carry_into(kept, carry);
        self.stripped()
    }

    /// Adds a carry to the group before the one at `end`, and on to those before it.
    fn carry_into(&mut self, end: usize, mut carry: u16) {
        for group in self.groups.iter_mut().take(end).rev() {
            if carry == 0 {
                return;
            }
            *group += carry;
            carry = *group / GROUP as u16;
            *group %= GROUP as u16;
        }
        if carry > 0 {
            self.groups.insert(0, carry);
            self.weight += 1;
        }
    }
}

/// Brings all sums below the base.
fn carry_all(sums: &mut [u32]) {
    let mut carry = 0;
    for sum in sums.iter_mut().rev() {
        let whole = *sum + carry;
        carry = whole / GROUP as u32;
        *sum = whole % GROUP as u32;
    }
}

/// One group of a quotient.
fn short_step(rest: &mut u32, group: u16, divisor: u32) -> u16 {
    let dividend = *rest * GROUP as u32 + u32::from(group);
    *rest = dividend % divisor;
    (dividend / divisor) as u16
}

/// One group of a quotient by a divisor that needs 64 bits.
fn long_step(rest: &mut u64, group: u16, divisor: u64) -> u16 {
    let dividend = *rest * GROUP + u64::from(group);
    *rest = dividend % divisor;
    (dividend / divisor) as u16
}

#[cfg(test)]
mod tests {
    use super::super::Number;
    use super::*;

    fn groups(text: &str) -> Groups {
        match Number::read(text).expect("a result") {
            Number::Finite(value) => Groups::of_finite(&value),
            _ => panic!("{text} is not finite"),
        }
    }

    fn shown(groups: &Groups) -> String {
        groups.stored().expect("a result").shown()
    }

    #[test]
    fn groups_are_the_number() {
        for text in [
            "0",
            "0.00",
            "1",
            "-10000",
            "12345678.9",
            "0.00001",
            "-99999999999999999999.000000001",
            "120000000",
        ] {
            assert_eq!(shown(&groups(text)), text);
        }
    }

    #[test]
    fn arithmetic_carries() {
        assert_eq!(shown(&groups("9999.9999").plus(&groups("0.0001"))), "10000.0000");
        assert_eq!(shown(&groups("1").minus(&groups("0.00000001"))), "0.99999999");
        assert_eq!(shown(&groups("0.5").minus(&groups("3"))), "-2.5");
        assert_eq!(shown(&groups("0").plus(&groups("-3.0"))), "-3.0");
        assert_eq!(shown(&groups("99999.5").times(&groups("-2"), 0)), "-199999");
        assert_eq!(shown(&groups("1").over(3, 10)), "0.3333333333");
        assert_eq!(shown(&groups("-200000").over(3, 1)), "-66666.7");
    }

    #[test]
    fn rounding_reaches_any_digit() {
        assert_eq!(shown(&groups("9999.99995").rounded(4)), "10000.0000");
        assert_eq!(shown(&groups("0.5").rounded(0)), "1");
        assert_eq!(shown(&groups("0.4999").rounded(0)), "0");
        assert_eq!(shown(&groups("1.2345").rounded(3)), "1.235");
        assert_eq!(shown(&groups("1.2").rounded(3)), "1.200");
        assert_eq!(groups("15000").rounded(-4).unscaled(), IBig::from(2));
    }
}
