//! What can go wrong with a `numeric`, in PostgreSQL's words and with its SQLSTATE (`numeric.c`).

/// Why a `numeric` has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A divisor is zero.
    DivisionByZero,
    /// A result has more digits than a `numeric` can hold.
    Overflow,
    /// A value does not fit the asked type; the whole message.
    OutOfRange(String),
    /// A text that is no `numeric`.
    NotANumber(String),
    /// A value does not fit `numeric(precision, scale)`.
    FieldOverflow {
        /// Digits of the field.
        precision: u16,
        /// Digits of the field behind the point.
        scale: i16,
        /// True when the value is not finite.
        is_infinite: bool,
    },
    /// NaN or infinity has no counterpart in the asked type.
    NotFinite {
        /// True for NaN, false for an infinity.
        is_nan: bool,
        /// The name of the asked type.
        target: &'static str,
    },
    /// A logarithm of zero or of a negative number.
    Logarithm(&'static str),
    /// A power or a root that is not real.
    Power(&'static str),
    /// Bounds or a count that `width_bucket` refuses.
    Bucket(&'static str),
}

impl Fault {
    /// PostgreSQL's SQLSTATE.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::DivisionByZero => "22012",
            Self::Overflow | Self::OutOfRange(_) | Self::FieldOverflow { .. } => "22003",
            Self::NotANumber(_) => "22P02",
            Self::NotFinite { .. } => "0A000",
            Self::Logarithm(_) => "2201E",
            Self::Power(_) => "2201F",
            Self::Bucket(_) => "2201G",
        }
    }

    /// PostgreSQL's message.
    pub fn message(&self) -> String {
        match self {
            Self::DivisionByZero => "division by zero".to_owned(),
            Self::Overflow => "value overflows numeric format".to_owned(),
            Self::OutOfRange(message) => message.clone(),
            Self::NotANumber(text) => format!("invalid input syntax for type numeric: \"{text}\""),
            Self::FieldOverflow { .. } => "numeric field overflow".to_owned(),
            Self::NotFinite { is_nan: true, target } => format!("cannot convert NaN to {target}"),
            Self::NotFinite { is_nan: false, target } => format!("cannot convert infinity to {target}"),
            Self::Logarithm(message) | Self::Power(message) | Self::Bucket(message) => (*message).to_owned(),
        }
    }

    /// PostgreSQL's second sentence, where it has one.
    pub fn detail(&self) -> Option<String> {
        let Self::FieldOverflow { precision, scale, is_infinite } = self else { return None };
        let field = format!("A field with precision {precision}, scale {scale}");
        if *is_infinite {
            return Some(format!("{field} cannot hold an infinite value."));
        }
        let limit = match i32::from(*precision) - i32::from(*scale) {
            0 => "1".to_owned(),
            digits => format!("10^{digits}"),
        };
        Some(format!("{field} must round to an absolute value less than {limit}."))
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message())
    }
}

impl std::error::Error for Fault {}
