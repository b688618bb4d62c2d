//! Who did not get in.

use datafusion::arrow::array::RecordBatch;

use super::micros;
use crate::pg_catalog::{Columns, View};

/// Roles and places whose last sign-ins failed.
pub fn failed_sign_ins(view: &View) -> RecordBatch {
    let places = view.context.coordinator.guard.list();
    Columns::new()
        .text("address", places.iter().map(|place| place.address.to_string()))
        .text("user_name", places.iter().map(|place| place.user.as_str()))
        .int4("failures", places.iter().map(|place| i32::try_from(place.failures).unwrap_or(i32::MAX)))
        .time("last_at", places.iter().map(|place| Some(micros(place.last_at))))
        .finish()
}
