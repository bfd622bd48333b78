//! What a scalar means: the rules of the API server's YAML reader.
//!
//! kubectl and the API server read YAML 1.1 as go-yaml v2 does (`resolve.go`
//! of sigs.k8s.io/yaml) and pass it on as JSON, so that `yes` is a boolean,
//! `0644` is 420 and `1e3` is the integer 1000.

use std::borrow::Cow;

use serde_json::{Number, Value};

use super::shown;

/// Why a scalar has no meaning here: what is wrong, how to cure it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) reason: &'static str,
    pub(super) what: String,
    pub(super) cure: String,
}

/// 2^63: from here on a whole float is no `int64` any more.
const INT64_END: f64 = 9_223_372_036_854_775_808.0;

/// The value of an unquoted scalar without a tag.
pub(super) fn plain(text: &str) -> Result<Value, Unreadable> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(Value::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(Value::Bool(false));
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
        | "-.inf" | "-.Inf" | "-.INF" => {
            return Err(Unreadable {
                reason: "UnsupportedNumber",
                what: format!("`{text}` is no number that JSON has"),
                cure: "write a finite number, or quote it".to_owned(),
            });
        }
        _ => {}
    }
    Ok(number(text).unwrap_or_else(|| Value::String(text.to_owned())))
}

/// The value of a scalar that carries one of YAML's own tags.
pub(super) fn tagged(tag: &str, text: &str) -> Result<Value, Unreadable> {
    if matches!(tag, "str" | "timestamp") {
        return Ok(Value::String(text.to_owned()));
    }
    let value = plain(text)?;
    let fits = match tag {
        "null" => value.is_null(),
        "bool" => value.is_boolean(),
        "int" => value.is_i64() || value.is_u64(),
        "float" => value.is_number(),
        _ => return Err(unknown_tag(&format!("!!{tag}"))),
    };
    if fits {
        Ok(value)
    } else {
        Err(Unreadable {
            reason: "WrongTag",
            what: format!("`{}` is not what its tag `!!{tag}` says", shown(text)),
            cure: "remove the tag or change the value".to_owned(),
        })
    }
}

/// A tag that means nothing here. kubectl drops it silently; a `!vault` or
/// `!include` that is dropped is a wrong value, so we refuse it.
pub(super) fn unknown_tag(tag: &str) -> Unreadable {
    Unreadable {
        reason: "UnknownTag",
        what: format!("unknown tag `{}`", shown(tag)),
        cure: "remove the tag; manifests hold plain YAML only".to_owned(),
    }
}

/// The text of a key, as sigs.k8s.io/yaml turns it into a JSON name; `None`
/// for what cannot be one.
pub(super) fn key(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(match number.as_f64() {
            Some(float) if number.is_f64() => float_key(float),
            _ => number.to_string(),
        }),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn number(text: &str) -> Option<Value> {
    let first = *text.as_bytes().first()?;
    if first == b'.' {
        return float(text);
    }
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-')) {
        return None;
    }
    let bare: Cow<'_, str> = if text.contains('_') {
        Cow::Owned(text.replace('_', ""))
    } else {
        Cow::Borrowed(text)
    };
    integer(&bare).or_else(|| float(&bare))
}

/// An integer with Go's prefixes: `0x`, `0o`, `0b`, and a bare `0` for octal.
fn integer(text: &str) -> Option<Value> {
    let (negative, signed, digits) = match text.as_bytes().first()? {
        b'-' => (true, true, text.get(1..)?),
        b'+' => (false, true, text.get(1..)?),
        _ => (false, false, text),
    };
    let lower = digits.get(..2).map(str::to_ascii_lowercase);
    let (radix, digits) = match lower.as_deref() {
        Some("0x") => (16, digits.get(2..)?),
        Some("0o") => (8, digits.get(2..)?),
        Some("0b") => (2, digits.get(2..)?),
        Some(prefix) if prefix.starts_with('0') => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    // `from_str_radix` takes a sign of its own, Go does not take a second one.
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    match u64::from_str_radix(digits, radix) {
        Ok(size) if negative => {
            let value = i64::try_from(-i128::from(size)).ok()?;
            Some(Value::Number(value.into()))
        }
        Ok(size) if signed => Some(Value::Number(i64::try_from(size).ok()?.into())),
        Ok(size) => Some(Value::Number(size.into())),
        Err(_) => None,
    }
}

/// A float as go-yaml takes it. A whole one is an integer: that is what is
/// left of it after the way through JSON.
fn float(text: &str) -> Option<Value> {
    if !is_float(text) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    if !value.is_finite() {
        return None;
    }
    if value.fract() == 0.0 && (-INT64_END..INT64_END).contains(&value) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole and in range: checked on the line above"
        )]
        return Some(Value::Number((value as i64).into()));
    }
    Number::from_f64(value).map(Value::Number)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, go-yaml's own.
fn is_float(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    mantissa_fits && exponent_fits
}

/// Go's `FormatFloat(key, 'g', -1, 32)`.
fn float_key(value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "go-yaml rounds float keys to 32 bits"
    )]
    let single = value as f32;
    if (1e-4..1e6).contains(&single.abs()) {
        return single.to_string();
    }
    let text = format!("{single:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => match exponent.strip_prefix('-') {
            Some(size) => format!("{mantissa}e-{size:0>2}"),
            None => format!("{mantissa}e+{exponent:0>2}"),
        },
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn resolves_plain_scalars_as_the_api_server_does() {
        for (text, want) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("Null", json!(null)),
            ("nULL", json!("nULL")),
            ("y", json!(true)),
            ("On", json!(true)),
            ("oN", json!("oN")),
            ("NO", json!(false)),
            ("off", json!(false)),
            ("0644", json!(420)),
            ("0o644", json!(420)),
            ("0x1F", json!(31)),
            ("-0x1f", json!(-31)),
            ("0b101", json!(5)),
            ("-0b1", json!(-1)),
            ("0899", json!(899)),
            ("+12", json!(12)),
            ("-0", json!(0)),
            ("1_000", json!(1000)),
            ("1e3", json!(1000)),
            ("1.0", json!(1)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1.", json!(1)),
            ("1e400", json!("1e400")),
            (
                "18446744073709551615",
                json!(18_446_744_073_709_551_615_u64),
            ),
            ("99999999999999999999", json!(1e20)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("12:30:45", json!("12:30:45")),
            ("2001-01-01", json!("2001-01-01")),
            ("10.33.0.1", json!("10.33.0.1")),
            ("52:54:00:12:34:56", json!("52:54:00:12:34:56")),
            ("0x", json!("0x")),
            ("--1", json!("--1")),
            ("+", json!("+")),
            ("1e", json!("1e")),
            ("e1", json!("e1")),
            ("._", json!("._")),
            ("<<", json!("<<")),
        ] {
            assert_eq!(plain(text).unwrap(), want, "{text}");
        }
        assert_eq!(plain(".inf").unwrap_err().reason, "UnsupportedNumber");
    }

    #[test]
    fn holds_values_to_their_tags() {
        assert_eq!(tagged("str", "12").unwrap(), json!("12"));
        assert_eq!(tagged("int", "12").unwrap(), json!(12));
        assert_eq!(tagged("int", "x").unwrap_err().reason, "WrongTag");
        assert_eq!(tagged("binary", "eA==").unwrap_err().reason, "UnknownTag");
    }

    #[test]
    fn names_keys_as_go_does() {
        for (value, want) in [
            (json!(true), "true"),
            (json!(12), "12"),
            (json!(1.5), "1.5"),
            (json!(1_000_000.5), "1.0000005e+06"),
            (json!(0.00001), "1e-05"),
        ] {
            assert_eq!(key(&value).as_deref(), Some(want));
        }
        assert_eq!(key(&json!(null)), None);
    }
}
