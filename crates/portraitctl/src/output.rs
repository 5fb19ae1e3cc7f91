//! D-Bus values as JSON and as text, and printing both.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use serde_json::{Map, Value as Json};
use zbus::{OwnedVariant, Variant};

/// How a command reports: `--json` and `--quiet`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Whether results are JSON.
    pub json: bool,
    /// Whether nothing is said besides results and errors.
    pub quiet: bool,
}

impl Output {
    /// Says on standard error what is going on, or what was written.
    pub(crate) fn notice(self, text: fmt::Arguments<'_>) {
        if !self.quiet {
            // Nobody may read it.
            let _ = writeln!(io::stderr(), "portraitctl: {text}");
        }
    }

    /// Ends a command that has done something and has no further result.
    ///
    /// # Errors
    /// The error of standard output.
    pub(crate) fn done(self, document: &Json, text: fmt::Arguments<'_>) -> anyhow::Result<()> {
        if self.json {
            return Ok(print_json(document)?);
        }
        self.notice(text);
        Ok(())
    }
}

/// Converts a D-Bus value to JSON. Descriptors become null; no property contains one.
pub(crate) fn to_json(value: &Variant<'_>) -> Json {
    match value {
        Variant::U8(value) => (*value).into(),
        Variant::Bool(value) => (*value).into(),
        Variant::I16(value) => (*value).into(),
        Variant::U16(value) => (*value).into(),
        Variant::I32(value) => (*value).into(),
        Variant::U32(value) => (*value).into(),
        Variant::I64(value) => (*value).into(),
        Variant::U64(value) => (*value).into(),
        Variant::F64(value) => (*value).into(),
        Variant::Str(value) => value.as_str().into(),
        Variant::ObjectPath(value) => value.as_str().into(),
        Variant::Signature(value) => value.to_string().into(),
        Variant::Variant(value) => to_json(value),
        Variant::Array(values) => values.iter().map(to_json).collect(),
        Variant::Structure(values) => values.fields().iter().map(to_json).collect(),
        Variant::Dict(values) => {
            let name = |key: &Variant<'_>| match to_json(key) {
                Json::String(name) => name,
                other => other.to_string(),
            };
            values.iter().map(|(key, value)| (name(key), to_json(value))).collect::<Map<_, _>>().into()
        }
        _ => Json::Null,
    }
}

/// Converts named D-Bus values to JSON, sorted by name.
pub(crate) fn values_to_json<'a>(
    values: impl IntoIterator<Item = (&'a String, &'a OwnedVariant)>,
) -> BTreeMap<String, Json> {
    values
        .into_iter()
        .map(|(name, value)| (name.clone(), Variant::try_from(value).map_or(Json::Null, |value| to_json(&value))))
        .collect()
}

/// Converts JSON to short text: a string without quotes, and everything else as JSON.
pub(crate) fn to_text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Prints a JSON document on a line of its own, and flushes standard output.
///
/// # Errors
/// The error of standard output.
pub(crate) fn print_json(value: &Json) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

/// Prints a line of text.
///
/// # Errors
/// The error of standard output.
pub(crate) fn print_text(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_keep_their_shape() {
        let zones = Variant::from(vec![(0.0, 0.25, 0.5, 1.0)]);
        assert_eq!(to_json(&zones), json!([[0.0, 0.25, 0.5, 1.0]]));
        let dict = Variant::from(std::collections::HashMap::from([("a".to_owned(), Variant::from(1u32))]));
        assert_eq!(to_json(&dict), json!({"a": 1}));
        assert_eq!(to_text(&json!("running")), "running");
        assert_eq!(to_text(&json!(1.5)), "1.5");
    }
}
