//! Which casts PostgreSQL has between the types that values have here: those of `pg_cast.dat`, and those through text, which
//! every type has (parse_coerce.c).

use datafusion::arrow::datatypes::DataType;

use crate::functions::lists::type_name;

/// What a cast is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Context {
    /// An argument of a function or an operator.
    Implicit,
    /// A value that is put into a column.
    Assignment,
    /// A cast that is written.
    Explicit,
}

/// A type, as PostgreSQL tells types apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // PostgreSQL's names.
pub enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    Instant,
    Span,
    Array,
    /// NULL, and what PostgreSQL has not: nothing is said of it.
    Other,
}

impl Kind {
    /// That of Arrow's type.
    pub fn of(kind: &DataType) -> Self {
        match kind {
            DataType::Boolean => Self::Bool,
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => Self::Int2,
            DataType::Int32 | DataType::UInt16 => Self::Int4,
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => Self::Int8,
            DataType::Float16 | DataType::Float32 => Self::Float4,
            DataType::Float64 => Self::Float8,
            DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
            | DataType::LargeBinary => Self::Numeric,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Binary | DataType::BinaryView => Self::Bytea,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            DataType::Timestamp(_, None) => Self::Timestamp,
            DataType::Timestamp(_, Some(_)) => Self::Instant,
            DataType::Interval(_) => Self::Span,
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => Self::Array,
            DataType::Dictionary(_, values) => Self::of(values),
            _ => Self::Other,
        }
    }

    /// True for numbers.
    pub fn is_number(self) -> bool {
        use Kind::{Float4, Float8, Int2, Int4, Int8, Numeric};
        matches!(self, Int2 | Int4 | Int8 | Float4 | Float8 | Numeric)
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Int2 | Self::Int4 | Self::Int8)
    }
}

/// Whether PostgreSQL casts `from` to `to` in `context`.
pub fn is_cast(from: &DataType, to: &DataType, context: Context) -> bool {
    match (from, to) {
        (
            DataType::List(from) | DataType::LargeList(from) | DataType::FixedSizeList(from, _),
            DataType::List(to) | DataType::LargeList(to) | DataType::FixedSizeList(to, _),
        ) => is_cast(innermost(from.data_type()), innermost(to.data_type()), context),
        _ => needed(Kind::of(from), Kind::of(to)).is_some_and(|needed| context >= needed),
    }
}

/// Arrays of arrays have one type, whatever their dimensions.
fn innermost(kind: &DataType) -> &DataType {
    match kind {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            innermost(item.data_type())
        }
        other => other,
    }
}

/// The least context that a cast is made in; `None` where there is none.
pub fn needed(from: Kind, to: Kind) -> Option<Context> {
    use Kind::{
        Array, Bool, Date, Float4, Float8, Instant, Int2, Int4, Int8, Numeric, Other, Span, Text, Time,
        Timestamp,
    };
    const RANK: [Kind; 6] = [Int2, Int4, Int8, Numeric, Float4, Float8];
    let rank = |kind: Kind| RANK.iter().position(|known| *known == kind);
    Some(match (from, to) {
        (Other, _) | (_, Other) => Context::Implicit,
        (Array, Array) => Context::Implicit,
        (from, to) if from == to => Context::Implicit,
        (from, to) if from.is_number() && to.is_number() => {
            if rank(from) < rank(to) {
                Context::Implicit
            } else {
                Context::Assignment
            }
        }
        (Bool, Int4) | (Int4, Bool) => Context::Explicit,
        (Date, Timestamp | Instant) | (Timestamp, Instant) | (Time, Span) => Context::Implicit,
        (Timestamp, Date | Time) | (Instant, Date | Time | Timestamp) | (Span, Time) => Context::Assignment,
        (_, Text) => Context::Assignment,
        (Text, _) => Context::Explicit,
        _ => return None,
    })
}

/// What PostgreSQL calls a type.
pub fn name(kind: &DataType) -> String {
    match kind {
        DataType::UInt8 => "smallint".to_owned(),
        DataType::UInt16 => "integer".to_owned(),
        DataType::UInt32 | DataType::UInt64 => "bigint".to_owned(),
        DataType::Dictionary(_, values) => name(values),
        other => type_name(other),
    }
}

/// Whether values of several types have a common one (`select_common_type`): those of one category have.
pub fn have_common(kinds: impl IntoIterator<Item = Kind>) -> bool {
    let category = |kind: Kind| match kind {
        Kind::Date | Kind::Timestamp | Kind::Instant => Kind::Timestamp,
        kind if kind.is_number() || kind.is_whole() => Kind::Numeric,
        other => other,
    };
    let mut known = kinds.into_iter().filter(|kind| *kind != Kind::Other).map(category);
    let first = known.next();
    known.all(|kind| Some(kind) == first)
}
