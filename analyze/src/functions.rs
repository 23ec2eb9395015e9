//! The scalar functions that SQL on traces has beside those of DataFusion.

mod codes;
mod lookup;
mod net;
mod stacks;
mod time;
mod who;

use std::sync::Arc;

use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, Int64Array, StringArray, cast::AsArray};
use arrow_cast::cast;
use arrow_schema::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use schemas::trace::{CGROUP_CHANGES, PROCESSES};

pub use self::time::log2_floor_of;
use crate::trace::symbols::Symbols;
use lookup::Lookups;

/// A function.
#[derive(Debug)]
pub struct Def {
    /// Name in SQL.
    name: &'static str,
    /// How it is called.
    call: &'static str,
    /// What it returns.
    doc: &'static str,
    /// The arguments it takes.
    args: Args,
    /// Does its value depend on the trace?
    depends_on_trace: Dependence,
    returns: fn() -> DataType,
    eval: fn(&Lookups, &[ArrayRef]) -> Result<ArrayRef>,
}

/// The arguments that a function takes.
#[derive(Debug)]
enum Args {
    /// So many, of any type.
    Any(&'static [usize]),
    /// Of these types, or what can be made of them.
    Exact(&'static [DataType]),
}

/// Does the value of a function depend on the trace? It then takes the trace as one more argument, which is its name or, in
/// a plan for many traces, its number; it can be left out where column `trace` of the row has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependence {
    /// No.
    No,
    /// Yes: with several traces open it has to be told.
    Needed,
    /// Where the open traces differ in what it reads.
    IfTheyDiffer,
}

/// Does the value of the function `name` with so many arguments depend on a trace that is not among them?
pub fn needs_trace(name: &str, args: usize) -> Dependence {
    match defs().find(|def| def.name == name) {
        Some(Def { depends_on_trace, args: Args::Any([first, ..]), .. }) if *first == args => {
            *depends_on_trace
        }
        _ => Dependence::No,
    }
}

fn defs() -> impl Iterator<Item = &'static Def> {
    [time::DEFS, stacks::DEFS, codes::DEFS, net::DEFS, who::DEFS].into_iter().flatten()
}

/// How each function is called, and what it returns.
pub fn docs() -> impl Iterator<Item = (&'static str, &'static str)> {
    defs().map(|def| (def.call, def.doc))
}

/// The event whose rows a function looks up, and whose losses make its values uncertain.
pub fn event_of(function: &str) -> Option<&'static str> {
    match function {
        "process" => Some(PROCESSES),
        "container" => Some(CGROUP_CHANGES),
        _ => None,
    }
}

/// All functions, for the traces behind `symbols`.
pub fn all(symbols: &Arc<Symbols>) -> Vec<ScalarUDF> {
    let lookups = Arc::new(Lookups::new(symbols.clone()));
    defs().map(|def| ScalarUDF::new_from_impl(Function::new(def, lookups.clone()))).collect()
}

/// The function `symbol`, for the traces behind `symbols`.
pub fn symbol(symbols: &Arc<Symbols>) -> ScalarUDF {
    ScalarUDF::new_from_impl(Function::new(&stacks::SYMBOL, Arc::new(Lookups::new(symbols.clone()))))
}

#[derive(Debug)]
struct Function {
    def: &'static Def,
    signature: Signature,
    lookups: Arc<Lookups>,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.def.name == other.def.name && Arc::ptr_eq(self.lookups.symbols(), other.lookups.symbols())
    }
}

impl Eq for Function {}

impl std::hash::Hash for Function {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.def.name.hash(state);
    }
}

impl Function {
    fn new(def: &'static Def, lookups: Arc<Lookups>) -> Self {
        // Values are read from files, but they do not change while a trace is open. Arguments of any type, because of
        // addresses, identifiers and times also the text that JSON has is taken.
        let signature = match def.args {
            Args::Exact(types) => Signature::exact(types.to_vec(), Volatility::Immutable),
            Args::Any(counts) => {
                let with_trace =
                    counts.first().filter(|_| def.depends_on_trace != Dependence::No).map(|count| count + 1);
                let counts = counts.iter().copied().chain(with_trace.filter(|count| !counts.contains(count)));
                Signature::one_of(counts.map(TypeSignature::Any).collect(), Volatility::Immutable)
            }
        };
        Self { def, signature, lookups }
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.def.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok((self.def.returns)())
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        time::simplify(self.def.name, args, info)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let output = (self.def.eval)(&self.lookups, &arrays)?;
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&output, 0)?),
            false => ColumnarValue::Array(output),
        })
    }
}

/// The error of a function, as the user sees it.
fn failed(message: impl Into<String>) -> DataFusionError {
    DataFusionError::Execution(message.into())
}

fn text() -> DataType {
    DataType::Utf8
}

fn texts(input: &ArrayRef) -> Result<StringArray> {
    Ok(cast(input, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn integers(input: &ArrayRef) -> Result<Int64Array> {
    Ok(cast(input, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

/// Addresses and identifiers, as numbers or as they are printed: in hexadecimal, or in decimal.
fn identifiers(input: &ArrayRef) -> Result<Vec<Option<u64>>> {
    match input.data_type() {
        DataType::UInt64 => Ok(input.as_primitive::<UInt64Type>().iter().collect()),
        DataType::Null => Ok(vec![None; input.len()]),
        ty if ty.is_signed_integer() => {
            Ok(integers(input)?.iter().map(|n| n.map(i64::cast_unsigned)).collect())
        }
        ty if ty.is_unsigned_integer() => identifiers(&cast(input, &DataType::UInt64)?),
        _ => {
            let parse = |text: &str| match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            };
            let wrong = |text: &str| failed(format!("'{text}' is no address: write 0x1f"));
            let texts = texts(input)?;
            let texts = texts.iter();
            texts.map(|text| text.map(|text| parse(text).ok_or_else(|| wrong(text))).transpose()).collect()
        }
    }
}

/// A text, or NULL, for each integer.
fn named(input: &ArrayRef, name: impl Fn(i64) -> Option<String>) -> Result<ArrayRef> {
    let integers = integers(input)?;
    Ok(Arc::new(integers.iter().map(|n| name(n?)).collect::<StringArray>()))
}
