//! The quick way between bytes and numbers of up to 38 digits: no heap, and divisions of 64 bits where they
//! suffice. The bytes are those of `encoding`.

use super::encoding::{LIMB, LIMB_DIGITS, WEIGHT_BIAS, class};
use super::tens;

/// The most limbs of 38 digits: one is begun in its middle, one ended.
const LIMBS_MAX: usize = 6;
/// One more than the greatest magnitude that counts as small.
const LIMIT: u128 = tens::SMALL[38];
const PAIR: u64 = LIMB as u64 * LIMB as u64;

/// True for a value of at most 38 digits.
pub(crate) fn fits(unscaled: i128) -> bool {
    unscaled.unsigned_abs() < LIMIT
}

/// Appends the bytes of `unscaled` over ten to the power of `scale`; those of NaN for more than 38 digits.
pub fn encode_small(unscaled: i128, scale: u16, out: &mut Vec<u8>) {
    if unscaled == 0 {
        let [high, low] = scale.to_be_bytes();
        out.extend_from_slice(&[class::ZERO, high, low]);
        return;
    }
    let magnitude = unscaled.unsigned_abs();
    if magnitude >= LIMIT {
        out.push(class::NAN);
        return;
    }
    let mut limbs = Limbs::new();
    limbs.fill(magnitude, i32::from(scale));
    limbs.write(unscaled < 0, scale, out);
}

/// Limbs, the last one first, without zeros at their end.
struct Limbs {
    limbs: [u32; LIMBS_MAX],
    count: usize,
    /// The weight of the last one.
    weight: i32,
}

impl Limbs {
    fn new() -> Self {
        Self { limbs: [0; LIMBS_MAX], count: 0, weight: 0 }
    }

    fn fill(&mut self, magnitude: u128, scale: i32) {
        let begun = scale % LIMB_DIGITS;
        self.weight = -(scale / LIMB_DIGITS);
        if begun == 0 {
            return self.push_all(magnitude);
        }
        self.weight -= 1;
        let (gap, begun) = (power(LIMB_DIGITS - begun), power(begun));
        if let Some(filled) = magnitude.checked_mul(gap.into()) {
            return self.push_all(filled);
        }
        self.push((magnitude % u128::from(begun)) as u64 * gap);
        self.push_all(magnitude / u128::from(begun));
    }

    fn push_all(&mut self, mut rest: u128) {
        loop {
            if let Ok(rest) = u64::try_from(rest) {
                return self.push_short(rest);
            }
            let pair = (rest % u128::from(PAIR)) as u64;
            rest /= u128::from(PAIR);
            self.push(pair % u64::from(LIMB));
            self.push(pair / u64::from(LIMB));
        }
    }

    fn push_short(&mut self, mut rest: u64) {
        while rest > 0 {
            self.push(rest % u64::from(LIMB));
            rest /= u64::from(LIMB);
        }
    }

    fn push(&mut self, limb: u64) {
        if self.count == 0 && limb == 0 {
            self.weight += 1;
        } else if let Some(place) = self.limbs.get_mut(self.count) {
            *place = limb as u32;
            self.count += 1;
        }
    }

    fn write(&self, is_negative: bool, scale: u16, out: &mut Vec<u8>) {
        let mask = if is_negative { u32::MAX } else { 0 };
        let weight = self.weight + self.count as i32 - 1 + WEIGHT_BIAS;
        let mut bytes = [0u8; 3 + 4 * LIMBS_MAX + 4 + 2];
        let (head, rest) = bytes.split_at_mut(3);
        let [high, low] = (weight as u16 ^ mask as u16).to_be_bytes();
        head.copy_from_slice(&[if is_negative { class::NEGATIVE } else { class::POSITIVE }, high, low]);
        let limbs = self.limbs.iter().take(self.count).rev();
        let words = limbs.map(|limb| limb + 1).chain(std::iter::once(0));
        for (place, word) in rest.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&(word ^ mask).to_be_bytes());
        }
        let end = 3 + 4 * (self.count + 1);
        out.extend_from_slice(bytes.get(..end).unwrap_or_default());
        out.extend_from_slice(&scale.to_be_bytes());
    }
}

/// A power of ten below a limb's end.
fn power(exponent: i32) -> u64 {
    10u64.pow(exponent.unsigned_abs())
}

/// The unscaled value and the scale of some bytes; `None` for more than 38 digits, and for what is not a
/// finite number.
pub fn decode_small(bytes: &[u8]) -> Option<(i128, u16)> {
    let (class, rest) = bytes.split_first()?;
    let (digits, scale) = rest.split_last_chunk::<2>()?;
    let scale = u16::from_be_bytes(*scale);
    match *class {
        class::ZERO if digits.is_empty() => Some((0, scale)),
        class::POSITIVE => Some((decode_magnitude(digits, scale, 0)?, scale)),
        class::NEGATIVE => Some((-decode_magnitude(digits, scale, u32::MAX)?, scale)),
        _ => None,
    }
}

fn decode_magnitude(digits: &[u8], scale: u16, mask: u32) -> Option<i128> {
    let (weight, limbs) = digits.split_first_chunk::<2>()?;
    let (limbs, rest) = limbs.as_chunks::<4>();
    let (end, limbs) = limbs.split_last()?;
    let (last, first) = limbs.split_last()?;
    if !rest.is_empty() || *end != mask.to_be_bytes() || limbs.len() > LIMBS_MAX {
        return None;
    }
    let weight = i32::from(u16::from_be_bytes(*weight) ^ mask as u16) - WEIGHT_BIAS;
    let exponent = (weight - first.len() as i32) * LIMB_DIGITS + i32::from(scale);
    let last = read(last, mask)?;
    let value = join(first, last, exponent, mask)?;
    if value >= LIMIT {
        return None;
    }
    i128::try_from(value).ok()
}

/// The limbs as one number, of which the last one's digits end `exponent` digits before the scale's end.
fn join(first: &[[u8; 4]], last: u64, exponent: i32, mask: u32) -> Option<u128> {
    let (last, last_digits, zeros) = if exponent < 0 {
        let gone = u32::try_from(-exponent).ok().filter(|gone| *gone < LIMB_DIGITS as u32)?;
        (last / 10u64.pow(gone), LIMB_DIGITS as u32 - gone, 0)
    } else {
        (last, LIMB_DIGITS as u32, usize::try_from(exponent).ok()?)
    };
    let last_power = 10u64.pow(last_digits);
    if first.len() <= 1 {
        // At most 18 digits: 64 bits suffice.
        let front = first.first().map_or(Some(0), |limb| read(limb, mask))?;
        return u128::from(front * last_power + last).checked_mul(*tens::SMALL.get(zeros)?);
    }
    let front = first.iter().try_fold(0u128, |value, limb| {
        Some(value.checked_mul(LIMB.into())? + u128::from(read(limb, mask)?))
    })?;
    let value = front.checked_mul(last_power.into())?.checked_add(last.into())?;
    if zeros == 0 { Some(value) } else { value.checked_mul(*tens::SMALL.get(zeros)?) }
}

fn read(limb: &[u8; 4], mask: u32) -> Option<u64> {
    let limb = (u32::from_be_bytes(*limb) ^ mask).checked_sub(1)?;
    (limb < LIMB).then_some(limb.into())
}

#[cfg(test)]
mod tests {
    use super::super::{Number, decode};
    use super::*;

    #[test]
    fn small_values_come_back() {
        let mut value = 1i128;
        for step in 0..2000u16 {
            value = (value.wrapping_mul(1_000_003).wrapping_add(i128::from(step)))
                % 10i128.pow(1 + u32::from(step) % 38);
            for scale in [0, 1, 8, 9, 10, 17, 18, 30, 38, 60, 1000] {
                let mut bytes = Vec::new();
                encode_small(value, scale, &mut bytes);
                assert_eq!(decode_small(&bytes), Some((value, scale)), "{value} {scale}");
                assert_eq!(
                    decode(&bytes).shown(),
                    super::super::number::Finite { unscaled: value.into(), scale }.shown()
                );
            }
        }
    }

    #[test]
    fn wide_values_are_left_to_others() {
        let mut bytes = Vec::new();
        Number::read("100000000000000000000000000000000000000").expect("a result").encode(&mut bytes);
        assert_eq!(decode_small(&bytes), None);
        bytes.clear();
        Number::NaN.encode(&mut bytes);
        assert_eq!(decode_small(&bytes), None);
    }
}
