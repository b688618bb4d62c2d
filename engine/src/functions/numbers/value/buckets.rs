//! `width_bucket`: in which of some equally wide ranges a number lies.

use std::cmp::Ordering;

use super::fault::Fault;
use super::number::Number;

/// The bucket of `value` between two bounds, which may fall as well as rise (`width_bucket_numeric`).
/// Bucket 0 is before the first bound, the one after the last is behind the second bound.
pub fn width_bucket(value: &Number, low: &Number, high: &Number, count: i32) -> Result<i32, Fault> {
    check(value, low, high, count)?;
    let direction = low.compare(high);
    if value.compare(low) == direction.reverse() {
        // Behind the first bound, on the way to the second one, or at the first.
        return inside(value, low, high, count);
    }
    if value.compare(low).is_eq() { inside(value, low, high, count) } else { Ok(0) }
}

fn check(value: &Number, low: &Number, high: &Number, count: i32) -> Result<(), Fault> {
    if count <= 0 {
        return Err(Fault::Bucket("count must be greater than zero"));
    }
    if value.is_nan() || low.is_nan() || high.is_nan() {
        return Err(Fault::Bucket("operand, lower bound, and upper bound cannot be NaN"));
    }
    if low.scale().is_none() || high.scale().is_none() {
        return Err(Fault::Bucket("lower and upper bounds must be finite"));
    }
    if low.compare(high).is_eq() {
        return Err(Fault::Bucket("lower bound cannot equal upper bound"));
    }
    Ok(())
}

/// The bucket of a value that is not before the first bound.
fn inside(value: &Number, low: &Number, high: &Number, count: i32) -> Result<i32, Fault> {
    let out_of_range = || Fault::OutOfRange("integer out of range".to_owned());
    let is_behind = match low.compare(high) {
        Ordering::Less => value.compare(high).is_ge(),
        _ => value.compare(high).is_le(),
    };
    if is_behind {
        return count.checked_add(1).ok_or_else(out_of_range);
    }
    // Multiplied before it is divided, so that whole results stay whole.
    let passed = value.subtract(low)?.multiply(&Number::of_whole(count.into()))?;
    let share = passed.divide(&high.subtract(low)?)?;
    share.add(&Number::ONE)?.floor()?.to_i32()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(value: &str, low: &str, high: &str, count: i32) -> Result<i32, Fault> {
        let read = |text| Number::read(text).expect("a result");
        width_bucket(&read(value), &read(low), &read(high), count)
    }

    #[test]
    fn buckets_rise_and_fall() {
        assert_eq!(bucket("5.35", "0.024", "10.06", 5), Ok(3));
        assert_eq!(bucket("-1", "0", "10", 5), Ok(0));
        assert_eq!(bucket("0", "0", "10", 5), Ok(1));
        assert_eq!(bucket("10", "0", "10", 5), Ok(6));
        assert_eq!(bucket("10", "10", "0", 5), Ok(1));
        assert_eq!(bucket("11", "10", "0", 5), Ok(0));
        assert_eq!(bucket("Infinity", "0", "10", 5), Ok(6));
        assert_eq!(bucket("-Infinity", "10", "0", 5), Ok(6));
        assert_eq!(bucket("1", "0", "0", 5).expect_err("a fault").sqlstate(), "2201G");
        assert_eq!(bucket("11", "0", "10", i32::MAX).expect_err("a fault").sqlstate(), "22003");
    }
}
