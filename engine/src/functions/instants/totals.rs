//! `sum`, `avg`, `min` and `max` of intervals. DataFusion has none of the first two, and orders intervals by their months alone.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type, IntervalMonthDayNanoType};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::min_max;
use datafusion::logical_expr::expr::AggregateFunctionParams;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::super::numbers;
use super::failed;
use super::spans::{Span, out_of_range};
use super::values::{Given, Kind, SPAN, array};

/// What is made of many intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Total {
    Sum,
    Average,
    Least,
    Greatest,
}

const ALL: [Total; 4] = [Total::Sum, Total::Average, Total::Least, Total::Greatest];

/// All of them.
pub(crate) fn functions() -> Vec<Arc<AggregateUDF>> {
    ALL.map(function).to_vec()
}

/// One of them. Until it is known what it is of it stands for DataFusion's as well.
pub(crate) fn function(total: Total) -> Arc<AggregateUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(AggregateUDF::from(SpanTotal { total, signature }))
}

/// What has DataFusion's `name`.
pub(crate) fn named(name: &str) -> Option<Total> {
    ALL.into_iter().find(|total| total.general().name() == name)
}

/// What `function` makes, if it is of this file.
pub(crate) fn ours(function: &AggregateUDF) -> Option<Total> {
    ALL.into_iter().find(|total| total.name() == function.name())
}

impl Total {
    fn name(self) -> &'static str {
        match self {
            Self::Sum => "sluice_interval_sum",
            Self::Average => "sluice_interval_avg",
            Self::Least => "sluice_interval_min",
            Self::Greatest => "sluice_interval_max",
        }
    }

    /// What is general, for everything else.
    pub(crate) fn general(self) -> Arc<AggregateUDF> {
        match self {
            Self::Sum => numbers::sums::function(),
            Self::Average => numbers::averages::function(),
            Self::Least => min_max::min_udaf(),
            Self::Greatest => min_max::max_udaf(),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SpanTotal {
    total: Total,
    signature: Signature,
}

impl AggregateUDFImpl for SpanTotal {
    fn name(&self) -> &str {
        self.total.name()
    }

    fn schema_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.total.general().schema_name(params)
    }

    fn display_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.total.general().display_name(params)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if matches!(types, [kind] if Kind::of(kind) == Kind::Span) {
            return Ok(vec![SPAN]);
        }
        let fields: Vec<FieldRef> =
            types.iter().map(|kind| Arc::new(Field::new("value", kind.clone(), true))).collect();
        let coerced = fields_with_udf(&fields, self.total.general().as_ref())?;
        Ok(coerced.iter().map(|field| field.data_type().clone()).collect())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [kind] if Kind::of(kind) == Kind::Span => Ok(SPAN),
            types => self.total.general().return_type(types),
        }
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Spans { total: self.total, span: Span::default(), count: 0 }))
    }

    fn state_fields(&self, _: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![
            Arc::new(Field::new("span", SPAN, true)),
            Arc::new(Field::new("count", DataType::Int64, true)),
        ])
    }
}

/// The total so far, of `count` intervals.
#[derive(Debug)]
struct Spans {
    total: Total,
    span: Span,
    count: i64,
}

impl Spans {
    fn add(&mut self, span: Span, count: i64) -> Result<()> {
        self.span = match self.total {
            _ if self.count == 0 => span,
            Total::Sum | Total::Average => self.span.plus(&span).map_err(failed)?,
            Total::Least if span.length() < self.span.length() => span,
            Total::Greatest if span.length() > self.span.length() => span,
            Total::Least | Total::Greatest => self.span,
        };
        self.count = self.count.checked_add(count).ok_or_else(|| failed(out_of_range()))?;
        Ok(())
    }
}

fn scalar(span: Option<Span>) -> Result<ScalarValue> {
    let value = array(vec![span.map(Given::Span)], &SPAN).map_err(failed)?;
    ScalarValue::try_from_array(&value, 0)
}

impl Accumulator for Spans {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(values) = values.first() else { return Ok(()) };
        for value in values.as_primitive::<IntervalMonthDayNanoType>().iter().flatten() {
            self.add(Span::new(value.months, value.days, value.nanoseconds / 1000), 1)?;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [spans, counts] = states else { return Ok(()) };
        let counts = counts.as_primitive::<Int64Type>().iter();
        for (value, count) in spans.as_primitive::<IntervalMonthDayNanoType>().iter().zip(counts) {
            if let (Some(value), Some(count)) = (value, count)
                && count > 0
            {
                self.add(Span::new(value.months, value.days, value.nanoseconds / 1000), count)?;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let span = (self.count > 0).then_some(self.span);
        Ok(vec![scalar(span)?, ScalarValue::Int64(Some(self.count))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.count == 0 {
            return scalar(None);
        }
        let span = match self.total {
            Total::Average => self.span.divided(self.count as f64).map_err(failed)?,
            _ => self.span,
        };
        scalar(Some(span))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}
