//! `json`, `jsonb` and `uuid`: what is cast to them is read as PostgreSQL reads it. They are held as texts, whose operators are
//! not theirs: those are refused.

use engine::{Error, Result};
use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    ObjectNamePart, OrderBy, OrderByKind, Select, SelectItem, Value,
};

use super::{call, cast, take};
use crate::sql::names;

/// What a type is that is held as a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Jsonb,
    Uuid,
}

impl Kind {
    fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::JSON => Some(Self::Json),
            DataType::JSONB => Some(Self::Jsonb),
            DataType::Uuid => Some(Self::Uuid),
            DataType::Custom(name, _) => {
                let ObjectNamePart::Identifier(last) = name.0.last()? else { return None };
                match names::folded(last).as_str() {
                    "json" => Some(Self::Json),
                    "jsonb" => Some(Self::Jsonb),
                    "uuid" => Some(Self::Uuid),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The function that reads one.
    fn reader(self) -> &'static str {
        match self {
            Self::Json => "sluice_json",
            Self::Jsonb => "sluice_jsonb",
            Self::Uuid => "sluice_uuid",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Jsonb => "jsonb",
            Self::Uuid => "uuid",
        }
    }
}

/// The type of `expr` where it is one of these and that is told by its text.
fn kind_of(expr: &Expr) -> Option<Kind> {
    match expr {
        Expr::Cast { data_type, kind: CastKind::Cast | CastKind::DoubleColon, .. } => Kind::of(data_type),
        Expr::TypedString(typed) => Kind::of(&typed.data_type),
        Expr::Nested(inner) => kind_of(inner),
        Expr::Function(function) if makes_jsonb(function) => Some(Kind::Jsonb),
        _ => None,
    }
}

/// Refuses the operators of texts between documents, and reads a literal beside a `jsonb` or a `uuid` as another one.
pub fn check(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Function(function) => {
            tell_documents(function);
            Ok(())
        }
        Expr::BinaryOp { left, op, right } => {
            let Some(kind) = kind_of(left).or_else(|| kind_of(right)) else { return Ok(()) };
            match (kind, &*op) {
                (_, BinaryOperator::And | BinaryOperator::Or) => Ok(()),
                (Kind::Json, BinaryOperator::Eq | BinaryOperator::NotEq) => Err(no_such_operator(kind, op)),
                (Kind::Jsonb, BinaryOperator::Eq | BinaryOperator::NotEq)
                | (
                    Kind::Uuid,
                    BinaryOperator::Eq
                    | BinaryOperator::NotEq
                    | BinaryOperator::Lt
                    | BinaryOperator::LtEq
                    | BinaryOperator::Gt
                    | BinaryOperator::GtEq,
                ) => {
                    read_literal(left, kind);
                    read_literal(right, kind);
                    Ok(())
                }
                // A text that is joined to one is a text.
                (Kind::Json | Kind::Uuid, BinaryOperator::StringConcat) => Ok(()),
                _ => Err(Error::NotSupported {
                    message: format!("the operator {op} of {} is not supported", kind.name()),
                }),
            }
        }
        Expr::InList { expr: item, list, .. } => {
            let kind = kind_of(item).or_else(|| list.iter().find_map(kind_of));
            match kind {
                Some(Kind::Json) => Err(no_such_operator(Kind::Json, &BinaryOperator::Eq)),
                Some(kind) => {
                    read_literal(item, kind);
                    list.iter_mut().for_each(|item| read_literal(item, kind));
                    Ok(())
                }
                None => Ok(()),
            }
        }
        Expr::Between { expr: item, low, high, .. } => {
            let kind = kind_of(item).or_else(|| kind_of(low)).or_else(|| kind_of(high));
            match kind {
                Some(Kind::Uuid) => {
                    [item, low, high].into_iter().for_each(|side| read_literal(side, Kind::Uuid));
                    Ok(())
                }
                Some(kind) => Err(no_such_operator(kind, &BinaryOperator::GtEq)),
                None => Ok(()),
            }
        }
        Expr::Cast { data_type: DataType::Array(items), .. } => {
            let of_documents = match items {
                sqlparser::ast::ArrayElemTypeDef::SquareBracket(item, _) => Kind::of(item),
                _ => None,
            };
            match of_documents {
                Some(kind @ (Kind::Json | Kind::Jsonb)) => Err(Error::NotSupported {
                    message: format!("arrays of {} are not supported", kind.name()),
                }),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Refuses an order of documents: texts have another one.
pub fn check_order(order: Option<&OrderBy>) -> Result<()> {
    let Some(OrderBy { kind: OrderByKind::Expressions(items), .. }) = order else { return Ok(()) };
    match items.iter().find_map(|item| kind_of(&item.expr)) {
        None | Some(Kind::Uuid) => Ok(()),
        Some(Kind::Json) => Err(Error::UndefinedFunction {
            message: "could not identify an ordering operator for type json".into(),
        }),
        Some(Kind::Jsonb) => {
            Err(Error::NotSupported { message: "an order of jsonb is not supported".into() })
        }
    }
}

fn no_such_operator(kind: Kind, op: &BinaryOperator) -> Error {
    let name = kind.name();
    Error::UndefinedFunction { message: format!("operator does not exist: {name} {op} {name}") }
}

fn read_literal(expr: &mut Expr, kind: Kind) {
    let is_text = matches!(&*expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)));
    if is_text {
        let data_type = match kind {
            Kind::Json => DataType::JSON,
            Kind::Jsonb => DataType::JSONB,
            Kind::Uuid => DataType::Uuid,
        };
        *expr = cast(take(expr), data_type);
    }
}

/// Reads what is cast to one of these types.
pub fn adapt(expr: &mut Expr) {
    if let Expr::Function(function) = expr
        && makes_jsonb(function)
    {
        *expr = call(Kind::Jsonb.reader(), vec![take(expr)]);
        return;
    }
    let Some(kind) = kind_of(expr) else { return };
    let inner = match expr {
        Expr::Cast { expr: inner, .. } => take(inner),
        Expr::TypedString(typed) => Expr::Value(typed.value.clone()),
        _ => return,
    };
    // The type of a parameter is told by what it stands in.
    let is_parameter = matches!(&inner, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)));
    let inner = if is_parameter { cast(inner, DataType::Text) } else { inner };
    *expr = call(kind.reader(), vec![inner]);
}

/// Columns keep the names that casts have.
pub fn name_columns(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && kind_of(expr).is_some()
        {
            let alias = sqlparser::ast::Ident::with_quote('"', names::column_name(expr));
            *item = SelectItem::ExprWithAlias { expr: take(expr), alias };
        }
    }
}

/// True for functions whose text is that of a `json` here.
/// Tells functions that make JSON which of their arguments are documents, and which are texts: others are told by their look.
fn tell_documents(function: &mut Function) {
    const MAKE: [&str; 6] = [
        "json_build_array",
        "json_build_object",
        "jsonb_build_array",
        "jsonb_build_object",
        "to_json",
        "to_jsonb",
    ];
    let last = function.name.0.last().and_then(ObjectNamePart::as_ident).map(names::folded);
    let FunctionArguments::List(list) = &mut function.args else { return };
    if !last.is_some_and(|name| MAKE.contains(&name.as_str())) {
        return;
    }
    for argument in &mut list.args {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument
            && !matches!(expr, Expr::Function(_))
        {
            match kind_of(expr) {
                Some(Kind::Json | Kind::Jsonb) => *expr = call("sluice_document", vec![take(expr)]),
                None if is_text(expr) => *expr = call("sluice_plain_text", vec![take(expr)]),
                _ => {}
            }
        }
    }
}

/// True for what the statement says to be a text.
fn is_text(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_text(inner),
        Expr::Value(value) => {
            matches!(value.value, Value::SingleQuotedString(_) | Value::EscapedStringLiteral(_))
        }
        Expr::Cast { data_type, .. } => {
            matches!(data_type, DataType::Text | DataType::Varchar(_) | DataType::CharacterVarying(_))
        }
        _ => false,
    }
}

fn makes_jsonb(function: &Function) -> bool {
    const MAKE: [&str; 3] = ["jsonb_build_object", "jsonb_build_array", "to_jsonb"];
    let last = function.name.0.last().and_then(ObjectNamePart::as_ident);
    last.is_some_and(|ident| MAKE.contains(&names::folded(ident).as_str()))
}

/// Refuses a table that would hold one as a text.
pub fn check_columns(output_types: &[Option<(u32, i32)>]) -> Result<()> {
    const NAMES: [&str; 3] = ["json", "jsonb", "uuid"];
    let name = output_types
        .iter()
        .flatten()
        .map(|(oid, _)| crate::pg_catalog::types::name(*oid))
        .find(|name| NAMES.contains(name));
    match name {
        Some(name) => {
            Err(Error::NotSupported { message: format!("a column of type {name} is not supported") })
        }
        None => Ok(()),
    }
}
