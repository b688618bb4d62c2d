//! Functions that give one of their arguments, or whether two of them are equal, where numbers among these are of several types:
//! DataFusion's refuse them before the planner has made them one.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, LargeBinaryArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result;
use datafusion::functions::core;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

use super::{TYPE, is_wide, key};

/// The functions, in the place of DataFusion's of the same names.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    [core::coalesce(), core::greatest(), core::least(), core::nvl(), core::nullif()]
        .map(|function| {
            let signature = Signature::user_defined(Volatility::Immutable);
            Arc::new(ScalarUDF::from(Choice { function, signature }))
        })
        .to_vec()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Choice {
    function: Arc<ScalarUDF>,
    signature: Signature,
}

/// The first of the largest, or of the least, in each row.
fn extreme(args: ScalarFunctionArgs, is_largest: bool) -> Result<ColumnarValue> {
    let columns =
        args.args.iter().map(|value| value.to_array(args.number_rows)).collect::<Result<Vec<_>>>()?;
    let columns: Vec<_> = columns.iter().filter_map(|column| column.as_binary_opt::<i64>()).collect();
    let wanted = if is_largest { Ordering::Greater } else { Ordering::Less };
    let row = |row: usize| {
        let values = columns.iter().filter(|column| column.is_valid(row)).map(|column| column.value(row));
        values.reduce(|kept, value| if key(value).cmp(key(kept)) == wanted { value } else { kept })
    };
    let values: LargeBinaryArray = (0..args.number_rows).map(row).collect();
    Ok(ColumnarValue::Array(Arc::new(values)))
}

/// True for numbers that become one type only once the planner gives them their meaning.
fn are_open(kinds: &[DataType]) -> bool {
    let is_number = |kind: &DataType| kind.is_numeric() || kind.is_null() || is_wide(kind);
    kinds.iter().any(is_wide) && kinds.iter().all(is_number) && !kinds.iter().all(is_wide)
}

/// The type of values that texts are beside, which the planner reads those as that are literals, and refuses others.
fn beside_texts(kinds: &[DataType]) -> Option<DataType> {
    let is_read = |kind: &DataType| {
        kind.is_temporal() || matches!(kind, DataType::Boolean | DataType::Binary | DataType::List(_))
    };
    let (texts, others): (Vec<&DataType>, Vec<&DataType>) = kinds.iter().partition(|kind| kind.is_string());
    let mut others = others.into_iter().filter(|kind| !kind.is_null());
    let first = others.next().filter(|_| !texts.is_empty())?;
    let widest = others.try_fold(first.clone(), |widest, kind| comparison_coercion(&widest, kind))?;
    is_read(&widest).then_some(widest)
}

impl ScalarUDFImpl for Choice {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        self.function.return_type(kinds)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let kinds: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        if let Some(kind) = beside_texts(&kinds) {
            return Ok(Arc::new(Field::new(self.name(), kind, true)));
        }
        if !are_open(&kinds) {
            return self.function.return_field_from_args(args);
        }
        let kind = match kinds.iter().find(|kind| kind.is_floating()) {
            Some(_) => DataType::Float64,
            None => TYPE,
        };
        let kind = if self.name() == "nullif" { kinds[0].clone() } else { kind };
        Ok(Arc::new(Field::new(self.name(), kind, true)))
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        if are_open(kinds) || beside_texts(kinds).is_some() {
            return Ok(kinds.to_vec());
        }
        let fields: Vec<FieldRef> =
            kinds.iter().map(|kind| Arc::new(Field::new("value", kind.clone(), true))).collect();
        let coerced = datafusion::logical_expr::type_coercion::functions::fields_with_udf(
            &fields,
            self.function.as_ref(),
        )?;
        Ok(coerced.iter().map(|field| field.data_type().clone()).collect())
    }

    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.function.simplify(args, context)
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.function.conditional_arguments(args)
    }

    fn short_circuits(&self) -> bool {
        self.function.short_circuits()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_extreme = matches!(self.name(), "greatest" | "least");
        if is_extreme && is_wide(args.return_field.data_type()) {
            return extreme(args, self.name() == "greatest");
        }
        self.function.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.documentation()
    }
}
