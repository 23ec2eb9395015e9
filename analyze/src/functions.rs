//! The scalar functions that SQL on traces has beside those of DataFusion.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, UInt64Type};
use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrow_cast::cast;
use arrow_schema::DataType;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
    cast as cast_expr,
};
use schemas::column::{text_dictionary, timestamp};

use crate::trace::symbols::{Symbols, name_of};

/// A function: name, arguments, what it returns.
pub const DOCS: &[(&str, &str)] = &[
    ("ns(ts)", "UTC nanoseconds of a timestamp as Int64: subtract these, never unsigned numbers"),
    ("utc(ns)", "the timestamp of UTC nanoseconds"),
    ("log2_floor(n)", "the exponent of the largest power of two that is at most n; 0 for n below 2"),
    (
        "symbol(addr)",
        "name of a code address, such as call_site; the address in hexadecimal if unknown; symbol(addr, trace): in that trace",
    ),
    (
        "stack_text(stack_id)",
        "names of the frames of a stack, innermost first, separated by ' <- '; also (stack_id, trace)",
    ),
];

/// Does the answer of the function `name` depend on the trace? It then takes the trace as one more argument, which is its
/// name or, in a plan for many traces, its number; it can be left out where column `trace` of the row has it.
pub fn depends_on_trace(name: &str) -> bool {
    matches!(name, "symbol" | "stack_text")
}

/// All functions, for the traces behind `symbols`.
pub fn all(symbols: &Arc<Symbols>) -> Vec<ScalarUDF> {
    [Kind::Ns, Kind::Utc, Kind::Log2Floor, Kind::Symbol, Kind::StackText]
        .into_iter()
        .map(|kind| ScalarUDF::new_from_impl(Function::new(kind, symbols.clone())))
        .collect()
}

/// The function `symbol`, for the traces behind `symbols`.
pub fn symbol(symbols: &Arc<Symbols>) -> ScalarUDF {
    ScalarUDF::new_from_impl(Function::new(Kind::Symbol, symbols.clone()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Ns,
    Utc,
    Log2Floor,
    Symbol,
    StackText,
}

#[derive(Debug)]
struct Function {
    kind: Kind,
    signature: Signature,
    symbols: Arc<Symbols>,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && Arc::ptr_eq(&self.symbols, &other.symbols)
    }
}

impl Eq for Function {}

impl std::hash::Hash for Function {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.kind.hash(state);
    }
}

impl Function {
    fn new(kind: Kind, symbols: Arc<Symbols>) -> Self {
        // Symbols are read from files, but they do not change while a trace is open.
        let signature = match kind {
            Kind::Log2Floor => Signature::exact(vec![DataType::Int64], Volatility::Immutable),
            Kind::Ns | Kind::Utc => Signature::any(1, Volatility::Immutable),
            // Of addresses and stacks, also the text that JSON has.
            Kind::Symbol | Kind::StackText => {
                Signature::one_of(vec![TypeSignature::Any(1), TypeSignature::Any(2)], Volatility::Immutable)
            }
        };
        Self { kind, signature, symbols }
    }

    /// The trace of each row, by its number.
    fn traces(&self, trace: Option<&ColumnarValue>, rows: usize) -> Result<Vec<Option<usize>>> {
        let failed = DataFusionError::Execution;
        let Some(trace) = trace else {
            return Ok(vec![Some(self.symbols.only_trace().map_err(failed)?); rows]);
        };
        let trace = trace.to_array(rows)?;
        if *trace.data_type() == DataType::Int32 {
            let numbers = trace.as_primitive::<Int32Type>();
            return Ok(numbers.iter().map(|number| usize::try_from(number?).ok()).collect());
        }
        let trace = cast(&trace, &text_dictionary())?;
        let trace = trace.as_dictionary::<Int32Type>();
        let names = trace.values().as_string::<i32>().iter();
        let number = |name: Option<&str>| name.map(|name| self.symbols.trace_named(name)).transpose();
        let numbers: Vec<Option<usize>> = names.map(number).collect::<Result<_, _>>().map_err(failed)?;
        let row = |key: Option<i32>| numbers.get(usize::try_from(key?).ok()?).copied().flatten();
        Ok(trace.keys().iter().map(row).collect())
    }
}

/// Addresses as numbers or as they are printed, in hexadecimal.
fn addresses(input: &ArrayRef) -> Result<Vec<Option<u64>>> {
    match input.data_type() {
        DataType::UInt64 => Ok(input.as_primitive::<UInt64Type>().iter().collect()),
        DataType::Null => Ok(vec![None; input.len()]),
        ty if ty.is_signed_integer() => {
            let signed = cast(input, &DataType::Int64)?;
            Ok(signed.as_primitive::<Int64Type>().iter().map(|n| n.map(i64::cast_unsigned)).collect())
        }
        ty if ty.is_unsigned_integer() => addresses(&cast(input, &DataType::UInt64)?),
        _ => {
            let texts = cast(input, &DataType::Utf8)?;
            let parse = |text: &str| match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            };
            let wrong =
                |text: &str| DataFusionError::Execution(format!("'{text}' is no address: write 0x1f"));
            let texts = texts.as_string::<i32>().iter();
            texts.map(|text| text.map(|text| parse(text).ok_or_else(|| wrong(text))).transpose()).collect()
        }
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Ns => "ns",
            Kind::Utc => "utc",
            Kind::Log2Floor => "log2_floor",
            Kind::Symbol => "symbol",
            Kind::StackText => "stack_text",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::Ns | Kind::Log2Floor => DataType::Int64,
            Kind::Utc => timestamp(),
            Kind::Symbol | Kind::StackText => DataType::Utf8,
        })
    }

    /// `ns` and `utc` become casts, so that DataFusion sees through them (order, statistics).
    fn simplify(&self, mut args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let wanted = match self.kind {
            Kind::Ns => timestamp(),
            Kind::Utc => DataType::Int64,
            _ => return Ok(ExprSimplifyResult::Original(args)),
        };
        let Some(arg) = args.pop() else { return exec_err!("{} takes one argument", self.name()) };
        let found = info.get_data_type(&arg)?;
        let to = self.return_type(&[])?;
        let direct = found == wanted || (self.kind == Kind::Utc && matches!(found, DataType::Timestamp(..)));
        let inner = if direct { arg } else { cast_expr(arg, wanted) };
        Ok(ExprSimplifyResult::Simplified(cast_expr(inner, to)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (arg, trace) = match args.args.as_slice() {
            [arg] => (arg, None),
            [arg, trace] if depends_on_trace(self.name()) => (arg, Some(trace)),
            _ => return exec_err!("{} takes one argument", self.name()),
        };
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let input = arg.to_array(rows)?;
        let traces = || self.traces(trace, rows);
        let failed = |message: String| DataFusionError::Execution(message);
        let output: ArrayRef = match self.kind {
            Kind::Ns => cast(&cast(&input, &timestamp())?, &DataType::Int64)?,
            Kind::Utc => cast(&input, &timestamp())?,
            Kind::Log2Floor => {
                let floor = log2_floor_of;
                Arc::new(input.as_primitive::<Int64Type>().unary::<_, Int64Type>(floor)) as ArrayRef
            }
            Kind::Symbol => {
                let name = |(addr, trace): (Option<u64>, Option<usize>)| match addr.zip(trace) {
                    Some((addr, trace)) => self.symbols.names(trace).map(|names| Some(name_of(names, addr))),
                    None => Ok(None),
                };
                let texts = addresses(&input)?.into_iter().zip(traces()?).map(name);
                Arc::new(texts.collect::<Result<StringArray, _>>().map_err(failed)?)
            }
            Kind::StackText => {
                let ids = cast(&input, &DataType::Int64)?;
                let ids: &Int64Array = ids.as_primitive();
                let text = |(id, trace): (Option<i64>, Option<usize>)| match id.zip(trace) {
                    Some((id, trace)) => self.symbols.stacks(trace).map(|stacks| stacks.get(&id)),
                    None => Ok(None),
                };
                let texts = ids.iter().zip(traces()?).map(text);
                Arc::new(texts.collect::<Result<StringArray, _>>().map_err(failed)?)
            }
        };
        if scalar {
            return Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&output, 0)?));
        }
        Ok(ColumnarValue::Array(output))
    }
}

/// The exponent of the largest power of two that is at most `n`; 0 below 2.
pub fn log2_floor_of(n: i64) -> i64 {
    i64::from(n.max(1).ilog2())
}
