//! The types that columns are declared with, where those that they are kept as say less: `varchar(3)` is kept as text.

use catalog::lake::DeclaredType;
use engine::{Error, Result};
use sqlparser::ast::{ArrayElemTypeDef, DataType as SqlType};

use crate::pg_catalog::types;

/// The declared type of a column of a written type. Refuses (22023) lengths that there are not.
pub fn of(written: &SqlType) -> Result<Option<DeclaredType>> {
    if let SqlType::Array(
        ArrayElemTypeDef::SquareBracket(item, _)
        | ArrayElemTypeDef::AngleBracket(item)
        | ArrayElemTypeDef::Parenthesis(item),
    ) = written
    {
        return of(item);
    }
    let text = written.to_string();
    let Some(oid) = types::by_written_name(&text) else { return Ok(None) };
    let argument = argument(&text);
    let modifier = match types::name(oid) {
        "varchar" => argument.map(|length| length_modifier("varchar", length)).transpose()?.unwrap_or(-1),
        // Without a length it has one letter; under PostgreSQL's own name it has any.
        "bpchar" if argument.is_none() && text.to_ascii_lowercase().contains("bpchar") => -1,
        "bpchar" => length_modifier("char", argument.unwrap_or(1))?,
        "name" | "json" => -1,
        // It is kept with some digits behind the point, which are not shown where they are zeros.
        "numeric" if !text.contains('(') => -1,
        "time" | "timestamp" | "timestamptz" => match argument {
            Some(digits) => i32::try_from(digits.min(6)).unwrap_or(6),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(Some(DeclaredType { name: types::name(oid).to_owned(), modifier }))
}

/// The number in the brackets of a type.
fn argument(written: &str) -> Option<u64> {
    let (_, rest) = written.split_once('(')?;
    let (number, _) = rest.split_once(')')?;
    number.split_whitespace().next()?.parse().ok()
}

/// A length as PostgreSQL packs it.
fn length_modifier(name: &str, length: u64) -> Result<i32> {
    const LENGTH_MAX: u64 = 10_485_760;
    let wrong = match length {
        0 => format!("length for type {name} must be at least 1"),
        1..=LENGTH_MAX => return Ok(length as i32 + 4),
        _ => format!("length for type {name} cannot exceed {LENGTH_MAX}"),
    };
    Err(Error::InvalidParameterValue { message: wrong })
}

/// Whether every value of a column declared as `from` is one as `to`.
pub fn widens(from: Option<&DeclaredType>, to: Option<&DeclaredType>) -> bool {
    match (from, to) {
        (_, None) => true,
        (None, Some(to)) => ["varchar", "numeric"].contains(&to.name.as_str()) && to.modifier < 0,
        (Some(from), Some(to)) => {
            let is_wider = to.modifier < 0 || (from.modifier >= 0 && to.modifier >= from.modifier);
            // What is padded is kept without its blanks, and is a text without them.
            let are_alike = from.name == to.name || from.name == "bpchar" && to.name == "varchar";
            are_alike && is_wider
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(written: &str) -> Option<(String, i32)> {
        let dialect = crate::sql::grammar::Grammar;
        let written = sqlparser::parser::Parser::new(&dialect)
            .try_with_sql(written)
            .and_then(|mut parser| parser.parse_data_type())
            .expect("a type");
        of(&written).expect("a length").map(|declared| (declared.name, declared.modifier))
    }

    #[test]
    fn lengths_are_packed_as_postgres_packs_them() {
        let told = |name: &str, modifier| Some((name.to_owned(), modifier));
        assert_eq!(declared("varchar(3)"), told("varchar", 7));
        assert_eq!(declared("character varying"), told("varchar", -1));
        assert_eq!(declared("char"), told("bpchar", 5));
        assert_eq!(declared("character(5)[]"), told("bpchar", 9));
        assert_eq!(declared("timestamp(0) with time zone"), told("timestamptz", 0));
        assert_eq!(declared("timestamp"), None);
        assert_eq!(declared("text"), None);
        assert_eq!(declared("numeric(5,2)"), None);
        assert_eq!(declared("numeric"), told("numeric", -1));
    }
}
