//! PostgreSQL 15's `numeric`, computed exactly and shown with the same digits. A value carries its own
//! display scale, so `1.0` and `1.00` are equal and yet shown differently.

mod arithmetic;
mod buckets;
mod conversions;
mod encoding;
mod exponentials;
mod fault;
mod groups;
mod groups_arithmetic;
mod logarithms;
mod moments;
mod number;
mod order;
mod quotients;
mod raising;
mod reading;
mod roots;
mod rounding;
mod shown;
mod small;
mod tens;
mod whole;

pub use buckets::width_bucket;
pub use encoding::{decode, key};
pub use fault::Fault;
pub use moments::Moment;
pub use number::{Finite, Number};
