//! Dates, times, instants and intervals as PostgreSQL computes with them, where clocks are those of the session.
//!
//! What is computed lies in files without arrow: `calendar`, `zones`, `read`, `read_span`, `spans`, `parts`, `shown`.

mod abbreviations;
pub(crate) mod beside;
pub(crate) mod calendar;
mod fields;
pub mod infinite;
mod made;
mod parts;
mod quick;
mod read;
mod read_span;
pub mod shown;
mod spans;
pub(crate) mod totals;
pub(crate) mod values;
mod words;
mod zones;

pub use zones::Zone;
pub use zones::posix;

use std::sync::Arc;

use chrono::Utc;
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions::datetime;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use self::calendar::{Fault, Outcome};
use self::parts::Whole;
use self::read::Setting;
use self::read_span::Fields;
use self::values::{Given, Kind, SPAN, TIME, TIMESTAMP, Value, array, instant_type, value};
use self::words::Unit;
use crate::Error;
use crate::functions::no_such_arguments;
use crate::functions::style::{Display, Style};
use crate::sqlstate::SqlState;

/// The functions of this folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    Timezone,
    ToDate,
    ToTime,
    ToTimestamp,
    ToInstant,
    ToInterval,
    ToText,
    Extract,
    DatePart,
    DateTrunc,
    DateBin,
    Move,
    MoveBack,
    Between,
    DayPlus,
    DayMinus,
    Join,
    SpanPlus,
    SpanMinus,
    SpanTimes,
    SpanDivide,
    SpanLength,
    Age,
    JustifyDays,
    JustifyHours,
    JustifyInterval,
    MakeDate,
    MakeTime,
    MakeTimestamp,
    MakeTimestampTz,
    MakeInterval,
    IsFinite,
    Finite,
}

use Name::*;

/// By their names. Those that begin with `sluice_` are called by the planner alone.
const ALL: &[(Name, &str)] = &[
    (Timezone, "timezone"),
    (ToDate, "sluice_date"),
    (ToTime, "sluice_time"),
    (ToTimestamp, "sluice_timestamp"),
    (ToInstant, "sluice_timestamptz"),
    (ToInterval, "sluice_interval"),
    (ToText, "sluice_time_text"),
    (Extract, "sluice_extract"),
    (DatePart, "date_part"),
    (DateTrunc, "date_trunc"),
    (DateBin, "date_bin"),
    (Move, "sluice_later"),
    (MoveBack, "sluice_earlier"),
    (Between, "sluice_between"),
    (DayPlus, "sluice_day_plus"),
    (DayMinus, "sluice_day_minus"),
    (Join, "sluice_day_and_time"),
    (SpanPlus, "sluice_interval_plus"),
    (SpanMinus, "sluice_interval_minus"),
    (SpanTimes, "sluice_interval_times"),
    (SpanDivide, "sluice_interval_divide"),
    (SpanLength, "sluice_interval_length"),
    (Age, "sluice_age"),
    (JustifyDays, "justify_days"),
    (JustifyHours, "justify_hours"),
    (JustifyInterval, "justify_interval"),
    (MakeDate, "make_date"),
    (MakeTime, "make_time"),
    (MakeTimestamp, "make_timestamp"),
    (MakeTimestampTz, "make_timestamptz"),
    (MakeInterval, "make_interval"),
    (IsFinite, "isfinite"),
    (Finite, "sluice_finite"),
];

/// All of them.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    ALL.iter().map(|(name, _)| function(*name)).collect()
}

/// One of them.
pub(crate) fn function(name: Name) -> Arc<ScalarUDF> {
    // What most of them give depends on the session's zone.
    Arc::new(ScalarUDF::from(Instants { name, signature: Signature::user_defined(Volatility::Stable) }))
}

/// True for the functions of this folder.
pub(crate) fn is_ours(function: &ScalarUDF) -> bool {
    ALL.iter().any(|(_, known)| *known == function.name())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Instants {
    name: Name,
    signature: Signature,
}

/// The fields that an interval's type names, the first and the last of them, in small letters.
#[derive(Debug, Clone, Copy)]
pub struct IntervalFields<'a> {
    /// `day` of `day to minute`.
    pub first: &'a str,
    /// `minute` of `day to minute`; the first where there is one alone.
    pub last: &'a str,
}

/// True for the text of an interval that is a negative one.
pub(crate) fn is_negative_interval(text: &str) -> bool {
    read_span::read_span(text, None, None, &Style::default()).is_ok_and(|span| span.length() < 0)
}

/// The interval that a text stands for, in words that any parser reads.
pub fn interval_text(
    text: &str,
    fields: Option<IntervalFields<'_>>,
    precision: Option<u32>,
) -> crate::Result<String> {
    let told =
        |fault: Fault| Error::Stamped { sqlstate: SqlState::from_text(fault.code), message: fault.message };
    let unit = |word: &str| {
        words::unit(word).ok_or_else(|| told(Fault::new(calendar::PARAMETER, "fields that no interval has")))
    };
    let fields = match fields {
        Some(fields) => Some(Fields { first: unit(fields.first)?, last: unit(fields.last)? }),
        None => None,
    };
    let span = read_span::read_span(text, fields, precision, &Style::default()).map_err(told)?;
    Ok(format!("{} months {} days {} microseconds", span.months, span.days, span.micros))
}

/// The date, time or interval of type `kind` that a text stands for in a session; `None` for other types.
pub fn read_text(text: &str, kind: &DataType, display: &Display) -> Option<crate::Result<ScalarValue>> {
    let wanted = Kind::of(kind).data_type().filter(|_| Kind::of(kind).is_temporal())?;
    let setting = Setting { display: *display, now: Utc::now().timestamp_micros() };
    let read = || -> Outcome<Given> {
        Ok(match Kind::of(kind) {
            Kind::Date => i64::from(read::read_date(text, &setting)?).into(),
            Kind::Time => read::read_time(text, &setting)?.into(),
            Kind::Timestamp => read::read_timestamp(text, &setting)?.into(),
            Kind::Instant => read::read_instant(text, &setting)?.into(),
            _ => Given::Span(read_span::read_span(text, None, None, &display.style)?),
        })
    };
    let value = read().and_then(|given| array(vec![Some(given)], &wanted));
    Some(match value {
        Ok(value) => ScalarValue::try_from_array(&value, 0)
            .and_then(|value| value.cast_to(kind))
            .map_err(|error| Error::from_datafusion_error(&error)),
        Err(fault) => {
            Err(Error::Stamped { sqlstate: SqlState::from_text(fault.code), message: fault.message })
        }
    })
}

/// The error that a fault is.
pub(crate) fn failed(fault: Fault) -> DataFusionError {
    let error = Error::Stamped { sqlstate: SqlState::from_text(fault.code), message: fault.message };
    DataFusionError::Execution(error.to_stamp())
}

impl Instants {
    fn no_such(&self) -> DataFusionError {
        no_such_arguments(ScalarUDFImpl::name(self))
    }

    /// The kinds of arguments that are taken for those given.
    fn taken(&self, kinds: &[Kind]) -> Option<Vec<Kind>> {
        use Kind::{Date, Instant, Null, Number, Other, Span, Text, Time, Timestamp, Whole};
        let is_moment = |kind: Kind| matches!(kind, Date | Timestamp | Instant);
        let moment = |kind: Kind| if kind == Date { Timestamp } else { kind };
        // Texts and NULLs of no type of their own are read as PostgreSQL would.
        let or = |kind: Kind, other: Kind| if matches!(kind, Null | Text) { other } else { kind };
        let first = kinds.first().copied().unwrap_or(Other);
        let second = kinds.get(1).copied().unwrap_or(Other);
        let all = |kind: Kind| Some(vec![kind; kinds.len()]);
        match (self.name, kinds.len()) {
            (Timezone, 2) => {
                let zone = or(first, Text);
                let whole = match second {
                    Date | Null | Text => Instant,
                    other => other,
                };
                (matches!(zone, Text | Span) && is_moment(whole)).then(|| vec![zone, whole])
            }
            (ToDate, 1) => {
                matches!(first, Text | Timestamp | Instant | Date | Null).then(|| vec![or(first, Text)])
            }
            (ToTime, 1) => {
                let is_known = matches!(first, Text | Timestamp | Instant | Time | Span | Null);
                is_known.then(|| vec![or(first, Text)])
            }
            (ToTimestamp | ToInstant, 1 | 2) => {
                let is_known = is_moment(first) || matches!(first, Text | Null);
                let mut kinds = vec![or(first, Text), Whole];
                kinds.truncate(if second == Other { 1 } else { 2 });
                is_known.then_some(kinds)
            }
            (ToInterval, 1) => matches!(first, Text | Time | Span | Null).then(|| vec![or(first, Text)]),
            (ToText, 1) => first.is_temporal().then(|| vec![first]),
            (Extract | DatePart, 2) => {
                // `extract` knows what a date has not; to `date_part` it is a midnight.
                let is_midnight = second == Date && self.name == DatePart;
                let whole = if second == Null || is_midnight { Timestamp } else { second };
                (matches!(first, Text | Null) && whole.is_temporal()).then(|| vec![Text, whole])
            }
            (DateTrunc, 2) => {
                // A date is an instant here, and a text too.
                let whole = match second {
                    Date | Null | Text => Instant,
                    Time => Span,
                    other => other,
                };
                let is_known = matches!(whole, Timestamp | Instant | Span);
                (matches!(first, Text | Null) && is_known).then(|| vec![Text, whole])
            }
            (DateTrunc, 3) => {
                let whole = or(second, Instant);
                let is_known = matches!(whole, Instant | Date | Timestamp);
                (matches!(first, Text | Null) && is_known).then(|| vec![Text, Instant, Text])
            }
            (DateBin, 3) => {
                let third = kinds[2];
                let is_known = |kind: Kind| is_moment(kind) || matches!(kind, Text | Null);
                let stride = or(first, Span);
                let whole = if [second, third].contains(&Instant) || ![second, third].contains(&Timestamp) {
                    Instant
                } else {
                    Timestamp
                };
                (stride == Span && is_known(second) && is_known(third)).then(|| vec![Span, whole, whole])
            }
            (Move | MoveBack, 2) => {
                let whole = moment(first);
                let is_known = is_moment(whole) || whole == Time;
                let span = matches!(second, Span | Time | Text | Null);
                (is_known && span).then(|| vec![whole, Span])
            }
            (Between, 2) => {
                let whole = match (moment(or(first, second)), moment(or(second, first))) {
                    (Time, Time) => Time,
                    (Instant, Timestamp | Instant) | (Timestamp, Instant) => Instant,
                    (Timestamp, Timestamp) => Timestamp,
                    _ => return None,
                };
                all(whole)
            }
            (DayPlus, 2) => {
                (matches!(first, Date | Null) && matches!(second, Whole | Null)).then(|| vec![Date, Whole])
            }
            (DayMinus, 2) => all(Date),
            (Join, 2) => Some(vec![Date, Time]),
            (SpanPlus | SpanMinus, 2) => all(Span),
            (SpanTimes | SpanDivide, 2) => {
                (matches!(second, Whole | Number | Null)).then(|| vec![Span, Number])
            }
            (SpanLength | JustifyDays | JustifyHours | JustifyInterval, 1) => {
                matches!(or(first, Span), Span | Time).then(|| vec![Span])
            }
            (Age, 1) => Some(vec![match first {
                Timestamp => Timestamp,
                kind if is_moment(or(kind, Instant)) => Instant,
                _ => return None,
            }]),
            (Age, 2) => {
                let are_known = kinds.iter().all(|kind| is_moment(or(*kind, Instant)));
                let has = |wanted: Kind| kinds.contains(&wanted);
                are_known.then(|| vec![if has(Timestamp) && !has(Instant) { Timestamp } else { Instant }; 2])
            }
            (MakeDate, 3) => kinds.iter().all(|kind| matches!(kind, Whole | Null)).then(|| vec![Whole; 3]),
            (MakeTime, 3) | (MakeTimestamp, 6) | (MakeTimestampTz, 6 | 7) => {
                let mut taken = vec![Whole; kinds.len()];
                let seconds = if kinds.len() == 3 { 2 } else { 5 };
                taken[seconds] = Number;
                if let Some(zone) = taken.get_mut(6) {
                    *zone = Text;
                }
                let fits = |(given, wanted): (&Kind, &Kind)| {
                    *given == Null || given == wanted || (*given == Whole && *wanted == Number)
                };
                kinds.iter().zip(&taken).all(fits).then_some(taken)
            }
            (MakeInterval, 7) => {
                let mut taken = vec![Whole; 6];
                taken.push(Number);
                let fits = |(given, wanted): (&Kind, &Kind)| {
                    *given == Null || given == wanted || (*given == Whole && *wanted == Number)
                };
                kinds.iter().zip(&taken).all(fits).then_some(taken)
            }
            (Finite, 1) => is_moment(first).then(|| vec![first]),
            (IsFinite, 1) => {
                let kind = or(first, Instant);
                (is_moment(kind) || kind == Span).then(|| vec![kind])
            }
            _ => None,
        }
    }

    /// The type of what is given for arguments of these types.
    fn given(&self, types: &[DataType]) -> Result<DataType> {
        let kinds: Vec<Kind> = types.iter().map(Kind::of).collect();
        let taken = self.taken(&kinds).ok_or_else(|| self.no_such())?;
        let of = |at: usize| taken.get(at).and_then(|kind| kind.data_type()).unwrap_or(DataType::Null);
        Ok(match self.name {
            Timezone if taken[1] == Kind::Instant => TIMESTAMP,
            Timezone => instant_type(),
            ToDate | DayPlus | MakeDate => DataType::Date32,
            ToTime | MakeTime => TIME,
            ToTimestamp | MakeTimestamp | Join => TIMESTAMP,
            ToInstant | MakeTimestampTz => instant_type(),
            ToInterval | Between | SpanPlus | SpanMinus | SpanTimes | SpanDivide | Age | JustifyDays
            | JustifyHours | JustifyInterval | MakeInterval => SPAN,
            ToText => DataType::Utf8,
            Extract | DatePart => DataType::Float64,
            DateTrunc | DateBin => of(1),
            Move | MoveBack | Finite => of(0),
            DayMinus => DataType::Int32,
            SpanLength => DataType::Decimal128(38, 0),
            IsFinite => DataType::Boolean,
        })
    }
}

/// What `extract` takes apart.
fn whole_of(kind: &DataType) -> Option<Whole> {
    Some(match Kind::of(kind) {
        Kind::Date => Whole::Date,
        Kind::Time => Whole::Time,
        Kind::Timestamp | Kind::Null | Kind::Text => Whole::Timestamp,
        Kind::Instant => Whole::Instant,
        Kind::Span => Whole::Interval,
        _ => return None,
    })
}

/// Digits of a part that is a whole number, of a date and time that can be held.
const WHOLE_DIGITS: u8 = 10;

/// The type of a part: a number with PostgreSQL's digits behind the point.
fn part_type(part: Unit, whole: Whole) -> Outcome<DataType> {
    let scale = parts::scale(part, whole).ok_or_else(|| {
        let message = "the julian day of a timestamp is not supported by extract; date_part gives it";
        Fault::new(calendar::NOT_SUPPORTED, message)
    })?;
    Ok(match (part, scale) {
        (Unit::Epoch, 0) => DataType::Decimal128(20, 0),
        (Unit::Epoch, _) => DataType::Decimal128(26, 6),
        (_, 0) => DataType::Decimal128(WHOLE_DIGITS, 0),
        (_, scale) => DataType::Decimal128(WHOLE_DIGITS, scale as i8),
    })
}

impl ScalarUDFImpl for Instants {
    fn name(&self) -> &str {
        ALL.iter().find(|(name, _)| *name == self.name).map_or("", |(_, text)| text)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let kinds: Vec<Kind> = types.iter().map(Kind::of).collect();
        let taken = self.taken(&kinds).ok_or_else(|| self.no_such())?;
        let wanted = taken.iter().zip(types);
        Ok(wanted.map(|(kind, given)| kind.data_type().unwrap_or_else(|| given.clone())).collect())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.given(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let mut kind = self.given(&types)?;
        if self.name == Extract {
            let part = args.scalar_arguments.first().copied().flatten();
            let part = part.and_then(|part| part.try_as_str().flatten()).ok_or_else(|| self.no_such())?;
            let whole = types.get(1).and_then(whole_of).ok_or_else(|| self.no_such())?;
            kind = parts::part_of(part, whole).and_then(|part| part_type(part, whole)).map_err(failed)?;
        }
        Ok(Arc::new(Field::new(ScalarUDFImpl::name(self), kind, true)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn preimage(&self, args: &[Expr], literal: &Expr, info: &SimplifyContext) -> Result<PreimageResult> {
        let [_, whole] = args else { return Ok(PreimageResult::None) };
        let is_local = matches!(Kind::of(&info.get_data_type(whole)?), Kind::Date | Kind::Timestamp);
        let year = match literal {
            Expr::Literal(ScalarValue::Decimal128(Some(value), _, 0), _) => i32::try_from(*value).ok(),
            _ => None,
        };
        match year {
            Some(year) if self.name == Extract && is_local => {
                let year = Expr::Literal(ScalarValue::Int32(Some(year)), None);
                datetime::date_part().inner().preimage(args, &year, info)
            }
            _ => Ok(PreimageResult::None),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let setting = Setting {
            display: Display::of_options(&args.config_options),
            now: Utc::now().timestamp_micros(),
        };
        if let Some(found) =
            quick::quick(self.name, &args.args, &setting.display.zone, args.return_field.data_type())
        {
            return found.map(ColumnarValue::Array).map_err(failed);
        }
        let arrays: Vec<ArrayRef> =
            args.args.iter().map(|value| value.to_array(rows)).collect::<Result<_>>()?;
        let types: Vec<DataType> = arrays.iter().map(|array| array.data_type().clone()).collect();
        let mut computer = made::Computer::new(self.name, setting, &types);
        let mut given: Vec<Option<Given>> = Vec::with_capacity(rows);
        let mut row_values: Vec<Value<'_>> = Vec::with_capacity(arrays.len());
        for row in 0..rows {
            row_values.clear();
            row_values.extend(arrays.iter().map_while(|array| value(array, row)));
            if row_values.len() < arrays.len() {
                given.push(None);
            } else {
                let found = match infinite::row(self.name, &row_values, types.get(1).and_then(whole_of)) {
                    Some(found) => found,
                    None => computer.row(&row_values).map(Some),
                };
                given.push(found.map_err(failed)?);
            }
        }
        let result = array(given, args.return_field.data_type()).map_err(failed)?;
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}
