//! Variances, deviations, covariances and regressions. DataFusion's are doubles of whatever they are of, by a way that loses
//! digits; PostgreSQL's are `numeric` of whole numbers and decimals.

pub(crate) mod doubles;
pub(crate) mod exact;
pub(crate) mod sums;
pub(crate) mod tally;

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility,
};

use super::wide;
use crate::functions::no_such_arguments;
use doubles::{Pair, Single};
use exact::Exact;
use sums::Sums;
use tally::{Answer, Different, Groups, One, Sliding, Tally};

/// What is asked of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Measure {
    VarPop,
    VarSamp,
    StddevPop,
    StddevSamp,
    CovarPop,
    CovarSamp,
    Corr,
    RegrR2,
    RegrSlope,
    RegrIntercept,
    RegrAvgX,
    RegrAvgY,
    RegrSxx,
    RegrSyy,
    RegrSxy,
    /// Of exact numbers.
    Sum,
    Average,
}

const NAMES: [(&str, Measure); 16] = [
    ("var_pop", Measure::VarPop),
    ("var_samp", Measure::VarSamp),
    ("stddev_pop", Measure::StddevPop),
    ("stddev_samp", Measure::StddevSamp),
    ("stddev", Measure::StddevSamp),
    ("covar_pop", Measure::CovarPop),
    ("covar_samp", Measure::CovarSamp),
    ("corr", Measure::Corr),
    ("regr_r2", Measure::RegrR2),
    ("regr_slope", Measure::RegrSlope),
    ("regr_intercept", Measure::RegrIntercept),
    ("regr_avgx", Measure::RegrAvgX),
    ("regr_avgy", Measure::RegrAvgY),
    ("regr_sxx", Measure::RegrSxx),
    ("regr_syy", Measure::RegrSyy),
    ("regr_sxy", Measure::RegrSxy),
];

impl Measure {
    fn is_of_sample(self) -> bool {
        matches!(self, Self::VarSamp | Self::StddevSamp)
    }

    fn is_deviation(self) -> bool {
        matches!(self, Self::StddevPop | Self::StddevSamp)
    }

    fn is_of_one(self) -> bool {
        self.is_of_sample() || matches!(self, Self::VarPop | Self::StddevPop)
    }
}

/// The functions, under PostgreSQL's names.
pub(super) fn functions() -> Vec<Arc<AggregateUDF>> {
    let function = |(name, measure)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(AggregateUDF::from(Moments { name, measure, signature }))
    };
    NAMES.map(function).to_vec()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Moments {
    name: &'static str,
    measure: Measure,
    signature: Signature,
}

/// What the rows of one call are counted by.
enum Way {
    Single(Answer<Single>),
    Pair(Answer<Pair>),
    Exact(Answer<Exact>),
    Wide(Answer<Sums<true>>),
}

impl Moments {
    fn way(&self, fields: &[FieldRef]) -> Way {
        match fields.first().map(|field| field.data_type()) {
            _ if !self.measure.is_of_one() => Way::Pair(Pair::answer(self.measure)),
            Some(DataType::Int64) => Way::Exact(Exact::answer(self.measure, 0)),
            Some(DataType::Decimal128(_, scale)) => Way::Exact(Exact::answer(self.measure, *scale)),
            Some(kind) if wide::is_wide(kind) => Way::Wide(Sums::answer(self.measure)),
            _ => Way::Single(Single::answer(self.measure)),
        }
    }

    fn coerced(&self, kind: &DataType) -> Result<DataType> {
        Ok(match kind {
            kind if kind.is_floating() || kind.is_null() => DataType::Float64,
            kind if wide::is_wide(kind) && self.measure.is_of_one() => wide::TYPE,
            kind if !kind.is_numeric() => return Err(no_such_arguments(self.name)),
            _ if !self.measure.is_of_one() => DataType::Float64,
            DataType::UInt64 => DataType::Decimal128(20, 0),
            kind if kind.is_integer() => DataType::Int64,
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
                if *scale >= 0 =>
            {
                DataType::Decimal128(*precision, *scale)
            }
            _ => DataType::Float64,
        })
    }
}

pub(super) fn one_of<T: Tally>(
    answer: Answer<T>,
    args: &AccumulatorArgs<'_>,
) -> Result<Box<dyn Accumulator>> {
    different_or(args.is_distinct, args.expr_fields, answer, |answer| Box::new(One::new(answer)))
}

/// The accumulator of different values where those are asked for, and another one otherwise.
pub(super) fn different_or<T: Tally>(
    is_distinct: bool,
    fields: &[FieldRef],
    answer: Answer<T>,
    other: impl FnOnce(Answer<T>) -> Box<dyn Accumulator>,
) -> Result<Box<dyn Accumulator>> {
    if !is_distinct {
        return Ok(other(answer));
    }
    let like = fields.iter().map(|field| ScalarValue::try_from(field.data_type())).collect::<Result<_>>()?;
    Ok(Box::new(Different::new(like, answer)))
}

/// The state of different values: a list of each argument.
pub(super) fn different_fields(name: &str, fields: &[FieldRef]) -> Vec<FieldRef> {
    let lists = fields.iter().enumerate().map(|(index, field)| {
        let item = Field::new_list_field(field.data_type().clone(), true);
        Arc::new(Field::new_list(format!("{name}[different {index}]"), item, true))
    });
    lists.collect()
}

impl AggregateUDFImpl for Moments {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if types.len() != if self.measure.is_of_one() { 1 } else { 2 } {
            return Err(no_such_arguments(self.name));
        }
        types.iter().map(|kind| self.coerced(kind)).collect()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match types.first() {
            _ if !self.measure.is_of_one() => DataType::Float64,
            Some(DataType::Int64 | DataType::Decimal128(..) | DataType::LargeBinary) => wide::TYPE,
            _ => DataType::Float64,
        })
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match self.way(args.expr_fields) {
            Way::Single(answer) => one_of(answer, &args),
            Way::Pair(answer) => one_of(answer, &args),
            Way::Exact(answer) => one_of(answer, &args),
            Way::Wide(answer) => one_of(answer, &args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if args.is_distinct {
            return Ok(different_fields(args.name, args.input_fields));
        }
        let kinds = match self.way(args.input_fields) {
            Way::Single(_) => vec![DataType::Float64; 3],
            Way::Pair(_) => vec![DataType::Float64; 6],
            Way::Exact(_) => vec![DataType::UInt64, exact::STATE, exact::STATE],
            Way::Wide(_) => sums::STATE.to_vec(),
        };
        let field = |(index, kind)| Arc::new(Field::new(format!("{}[{index}]", args.name), kind, true));
        Ok(kinds.into_iter().enumerate().map(field).collect())
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(match self.way(args.expr_fields) {
            Way::Single(answer) => Box::new(Groups::new(answer)),
            Way::Pair(answer) => Box::new(Groups::new(answer)),
            Way::Exact(answer) => Box::new(Groups::new(answer)),
            Way::Wide(answer) => Box::new(Groups::new(answer)),
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(match self.way(args.expr_fields) {
            Way::Single(answer) => Box::new(Sliding::new(answer)),
            Way::Pair(answer) => Box::new(Sliding::new(answer)),
            Way::Exact(answer) => Box::new(Sliding::new(answer)),
            Way::Wide(answer) => Box::new(Sliding::new(answer)),
        })
    }
}
