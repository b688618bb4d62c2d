//! Wide numbers as files take them, which have no such type.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::expressions::{CastExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use super::super::{conversions, shown};
use super::is_wide;
use crate::functions::lists;

/// True for types that have wide numbers in them.
pub fn holds_wide(kind: &DataType) -> bool {
    match kind {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            holds_wide(item.data_type())
        }
        kind => is_wide(kind),
    }
}

/// `expr`, a decimal or what has wide numbers in it, as a value of `to`.
pub fn stored(
    expr: Arc<dyn PhysicalExpr>,
    schema: &Schema,
    to: &DataType,
    options: &Arc<ConfigOptions>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let null = |kind: &DataType| -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Literal::new(ScalarValue::try_from(kind)?)))
    };
    let call = |function: Arc<ScalarUDF>, args: Vec<Arc<dyn PhysicalExpr>>, kind: &DataType| {
        let field = Arc::new(Field::new(function.name(), kind.clone(), true));
        let name = function.name().to_owned();
        let call = ScalarFunctionExpr::new(&name, function, args, field, Arc::clone(options));
        Arc::new(call) as Arc<dyn PhysicalExpr>
    };
    let kind = expr.data_type(schema)?;
    if !is_wide(&kind) && !kind.is_decimal() {
        return Ok(call(lists::cast_function(), vec![expr, null(to)?], to));
    }
    Ok(match to {
        DataType::Decimal128(..) => call(conversions::exact(), vec![expr, null(to)?], to),
        DataType::Float64 => call(conversions::double_function(), vec![expr], to),
        DataType::Float32 => call(conversions::single_function(), vec![expr], to),
        kind if kind.is_string() => {
            let text = call(shown::function(), vec![expr], &DataType::Utf8);
            Arc::new(CastExpr::new(text, kind.clone(), None))
        }
        kind => {
            let whole = DataType::Decimal128(38, 0);
            let exact = call(conversions::exact(), vec![expr, null(&whole)?], &whole);
            Arc::new(CastExpr::new(exact, kind.clone(), None))
        }
    })
}
