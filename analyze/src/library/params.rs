//! Turns what a user gives for a parameter into a typed expression.

use anyhow::{Result, anyhow, bail};
use datafusion::sql::sqlparser::ast::{CastKind, DataType, ExactNumberInfo, Expr, UnaryOperator, Value};

use crate::times::{duration_ns, time_ns};

/// Type of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParamType {
    /// Int64 nanoseconds; `500ms` on the command line.
    Duration,
    /// Int64.
    Count,
    /// Float64.
    Number,
    /// UInt64; `0xffff888100dc7000`, too.
    Address,
    /// Text.
    Text,
    /// Int64 UTC nanoseconds or a timestamp, NULL for the end of the trace; `+1.5s`, RFC 3339 or `end` on the command line.
    Time,
    /// One of these words.
    Choice(Vec<String>),
}

/// UTC nanoseconds of a time as people write it.
pub type Moment<'a> = &'a dyn Fn(&str) -> Result<i64>;

impl ParamType {
    /// Its word in headers and docs.
    pub fn name(&self) -> String {
        match self {
            Self::Duration => "duration".to_owned(),
            Self::Count => "count".to_owned(),
            Self::Number => "number".to_owned(),
            Self::Address => "address".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Time => "time".to_owned(),
            Self::Choice(words) => format!("choice({})", words.join("|")),
        }
    }

    /// The type with that word.
    ///
    /// Fails if there is none.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(match text {
            "duration" => Self::Duration,
            "count" => Self::Count,
            "number" => Self::Number,
            "address" => Self::Address,
            "text" => Self::Text,
            "time" => Self::Time,
            other => {
                let words: Option<Vec<String>> = other
                    .strip_prefix("choice(")
                    .and_then(|list| list.strip_suffix(')'))
                    .map(|list| list.split('|').map(|word| word.trim().to_owned()).collect());
                match words {
                    Some(words) if words.iter().all(|word| !word.is_empty()) => Self::Choice(words),
                    _ => bail!(
                        "'{other}' is no type of a parameter: write duration, count, number, address, text, time or choice(a|b)"
                    ),
                }
            }
        })
    }

    /// The value of `text`, as written on the command line.
    ///
    /// Fails if it is none of this type.
    pub fn value(&self, text: &str, moment: Moment<'_>) -> Result<Expr> {
        match self {
            Self::Duration => Ok(whole(duration_ns(text)?)),
            Self::Count => match text.parse() {
                Ok(count) => Ok(whole(count)),
                Err(_) => bail!("'{text}' is no whole number"),
            },
            Self::Number => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(cast(string(text), self.sql())),
                _ => bail!("'{text}' is no number"),
            },
            Self::Address => {
                let hex = text.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16));
                match hex.unwrap_or_else(|| text.parse()) {
                    Ok(address) => Ok(number(&address.to_string())),
                    Err(_) => bail!("'{text}' is no address: write 0xffff888100dc7000"),
                }
            }
            Self::Text => Ok(string(text)),
            Self::Time if text == "end" => Ok(cast(Expr::value(Value::Null), self.sql())),
            Self::Time => Ok(whole(moment(text)?)),
            Self::Choice(words) if words.iter().any(|word| word == text) => Ok(string(text)),
            Self::Choice(words) => bail!("'{text}' is not possible: choose {}", words.join(" or ")),
        }
    }

    /// The value of `expr`, as written in SQL: text is read as on the command line, all else is taken as it is.
    ///
    /// Fails if text is no value of this type, or a choice is no text.
    pub fn given(&self, expr: Expr, moment: Moment<'_>) -> Result<Expr> {
        let mut bare = &expr;
        while let Expr::Nested(inner) = bare {
            bare = inner;
        }
        let literal = match bare {
            Expr::Value(value) => Some(&value.value),
            _ => None,
        };
        match (self, literal) {
            (Self::Text, Some(Value::SingleQuotedString(_))) => Ok(expr),
            (_, Some(Value::SingleQuotedString(text))) => {
                // A date is what the wall clock of the machine showed; where that is not known, SQL takes it as UTC.
                self.value(text, moment)
            }
            (Self::Choice(words), _) => bail!("'{expr}' is not possible: choose '{}'", words.join("' or '")),
            (_, Some(Value::Null)) => Ok(cast(Expr::value(Value::Null), self.sql())),
            (_, Some(_)) => Ok(expr),
            _ => Ok(Expr::Nested(Box::new(expr))),
        }
    }

    fn sql(&self) -> DataType {
        match self {
            Self::Duration | Self::Count | Self::Address | Self::Time => DataType::BigInt(None),
            Self::Number => DataType::Double(ExactNumberInfo::None),
            Self::Text | Self::Choice(_) => DataType::Varchar(None),
        }
    }
}

/// [`Moment`] for times that do not depend on a trace.
///
/// Fails if it does.
pub fn fixed_moment(text: &str) -> Result<i64> {
    match text.strip_prefix('+') {
        Some(_) => Err(anyhow!("'{text}' counts from the start of a trace, and none is open")),
        None => time_ns(text, 0),
    }
}

fn number(digits: &str) -> Expr {
    Expr::value(Value::Number(digits.to_owned(), false))
}

fn string(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_owned()))
}

fn whole(value: i64) -> Expr {
    let digits = number(&value.unsigned_abs().to_string());
    match value {
        // As a number it has no literal: the digits without the sign are too large.
        i64::MIN => cast(string(&value.to_string()), DataType::BigInt(None)),
        0.. => digits,
        _ => Expr::Nested(Box::new(Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(digits) })),
    }
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_expression_whatever_its_text() {
        let by = ParamType::Choice(vec!["stack".to_owned()]);
        let text = |ty: &ParamType, text: &str| ty.value(text, &fixed_moment).map(|e| e.to_string());
        assert_eq!(text(&by, "stack").unwrap(), "'stack'");
        assert!(text(&by, "stack' OR 1=1 --").is_err());
        assert_eq!(text(&ParamType::Text, "a' OR 1=1 --").unwrap(), "'a'' OR 1=1 --'");
        assert_eq!(text(&ParamType::Count, "-3").unwrap(), "(-3)");
        assert_eq!(
            text(&ParamType::Count, "-9223372036854775808").unwrap(),
            "CAST('-9223372036854775808' AS BIGINT)"
        );
        assert_eq!(text(&ParamType::Address, "0xffffffffffffffff").unwrap(), "18446744073709551615");
        assert_eq!(text(&ParamType::Time, "end").unwrap(), "CAST(NULL AS BIGINT)");
        for (ty, wrong) in [
            (ParamType::Count, "1; DROP"),
            (ParamType::Number, "inf"),
            (ParamType::Duration, "5 weeks"),
            (ParamType::Address, "0xg"),
            (ParamType::Time, "+1s"),
        ] {
            assert!(text(&ty, wrong).is_err(), "{wrong}");
        }
        assert!(ParamType::parse("color").is_err());
    }

    #[test]
    fn text_in_sql_is_read_as_on_the_command_line() {
        let given = |ty: &ParamType, text: &str| ty.given(string(text), &fixed_moment).map(|e| e.to_string());
        assert_eq!(given(&ParamType::Duration, "5ms").unwrap(), "5000000");
        assert_eq!(given(&ParamType::Time, "2027-01-15T08:00:00Z").unwrap(), "1800000000000000000");
        assert!(given(&ParamType::Choice(vec!["a".to_owned()]), "b").is_err());
        let sum = Expr::value(Value::Number("1".to_owned(), false));
        assert!(ParamType::Choice(vec!["1".to_owned()]).given(sum, &fixed_moment).is_err());
    }
}
