//! PostgreSQL's types for names of things: `regclass`, `regtype` and their kin, which are numbers that
//! read and print as names.
//!
//! A cast to one becomes a function that gives the number; where the value is shown, or cast on to text,
//! another function gives the name. Columns of type `regproc` are numbers in the same way.

use sqlparser::ast::{DataType, Expr, Function, Ident, ObjectName, ObjectNamePart, Value};

use super::{call, take};
use crate::pg_catalog;

/// The function that reads the type `data_type` names.
fn reader(data_type: &DataType) -> Option<&'static str> {
    let name = match data_type {
        DataType::Regclass => "regclass".to_owned(),
        DataType::Custom(name, _) => match name.0.last()? {
            ObjectNamePart::Identifier(last) => last.value.to_ascii_lowercase(),
            ObjectNamePart::Function(_) => return None,
        },
        _ => return None,
    };
    Some(match name.as_str() {
        "regclass" => "sluice_regclass",
        "regtype" => "sluice_regtype",
        "regproc" | "regprocedure" => "sluice_regproc",
        "regnamespace" => "sluice_regnamespace",
        "regrole" => "sluice_regrole",
        "oid" => "sluice_oid",
        _ => return None,
    })
}

const READERS: [&str; 5] =
    ["sluice_regclass", "sluice_regtype", "sluice_regproc", "sluice_regnamespace", "sluice_regrole"];

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Text | DataType::Varchar(_) | DataType::CharacterVarying(_) => true,
        DataType::Custom(name, _) => name.0.last().and_then(ObjectNamePart::as_ident).is_some_and(|last| {
            ["text", "name", "varchar"].contains(&last.value.to_ascii_lowercase().as_str())
        }),
        _ => false,
    }
}

/// The reading function that `expr` is a call of.
fn read_by(expr: &Expr) -> Option<&'static str> {
    let Expr::Function(Function { name, .. }) = expr else { return None };
    let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else { return None };
    READERS.into_iter().find(|reader| *reader == name.value)
}

fn shown_by(reader: &str) -> String {
    format!("{reader}_text")
}

/// The name of a plain or qualified column.
fn column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(ident) => Some(ident.value.as_str()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|ident| ident.value.as_str()),
        _ => None,
    }
}

/// Casts to the types of names, and from them to text.
pub fn adapt_cast(expr: &mut Expr, reads_system: bool) {
    let Expr::Cast { expr: inner, data_type, .. } = expr else { return };
    if is_text(data_type) {
        if read_by(inner).is_some() {
            let mut shown = take(inner);
            show(&mut shown, false);
            *expr = shown;
        } else if reads_system && column(inner).is_some_and(pg_catalog::is_regproc_column) {
            let column = take(inner);
            *expr = call("sluice_regproc_text", vec![column]);
        } else if reads_system && column(inner).is_some_and(pg_catalog::is_regtypes_column) {
            let column = take(inner);
            **inner = call("sluice_regtypes_text", vec![column]);
        }
        return;
    }
    let Some(reader) = reader(data_type) else { return };
    // A number is an identifier as it is, and a cast from one of these types to oid changes nothing.
    let is_number = matches!(inner.as_ref(), Expr::Value(value) if matches!(value.value, Value::Number(..)));
    if reader == "sluice_oid" && (is_number || !reads_system) && read_by(inner).is_none() {
        return;
    }
    let value = take(inner);
    *expr =
        if reader == "sluice_oid" && read_by(&value).is_some() { value } else { call(reader, vec![value]) };
}

/// Turns a number that stands for a name into the name.
pub fn show(expr: &mut Expr, reads_system: bool) {
    if let Some(reader) = read_by(expr) {
        if let Expr::Function(function) = expr {
            function.name = ObjectName::from(vec![Ident::new(shown_by(reader))]);
        }
    } else if reads_system && column(expr).is_some_and(pg_catalog::is_regproc_column) {
        let column = take(expr);
        *expr = call("sluice_regproc_text", vec![column]);
    }
}
