//! `COLLATE`: texts are ordered by their bytes, so that the collations which order them so change nothing.

use engine::{Error, Result, SqlState};
use sqlparser::ast::{Expr, ObjectName, ObjectNamePart};

use super::take;
use crate::sql::names::folded;

fn name_of(collation: &ObjectName) -> String {
    collation.0.last().and_then(ObjectNamePart::as_ident).map(folded).unwrap_or_default()
}

/// Refuses collations of another order, and those that there are not (42704).
pub fn check(expr: &Expr) -> Result<()> {
    let Expr::Collate { collation, .. } = expr else { return Ok(()) };
    let name = name_of(collation);
    if matches!(name.as_str(), "C" | "POSIX" | "default" | "ucs_basic") {
        return Ok(());
    }
    // `de_DE`, `de-x-icu`: a language, and where it is spoken.
    let is_locale = name.split_once(['_', '-']).is_some_and(|(language, _)| {
        matches!(language.len(), 2 | 3) && language.bytes().all(|letter| letter.is_ascii_lowercase())
    });
    Err(match is_locale || name == "unicode" {
        true => Error::NotSupported {
            message: format!("the collation \"{name}\" is not supported: texts are ordered by their bytes"),
        },
        false => Error::Stamped {
            sqlstate: SqlState::from_text("42704"),
            message: format!("collation \"{name}\" for encoding \"UTF8\" does not exist"),
        },
    })
}

/// Takes away a collation that every text has.
pub fn adapt(expr: &mut Expr) {
    if let Expr::Collate { expr: inner, .. } = expr {
        *expr = take(inner);
    }
}
