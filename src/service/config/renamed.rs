//! Keys under other names: those that have been renamed, and other spellings (`max-zoom` and
//! `MaxZoom` for `max_zoom`). They still work and give a warning (`docs/design/compatibility.md`).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use portraitd_protocol::StreamKind;
use portraitd_protocol::spelling::snake_case;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::model::{Config, OutputConfig};

/// A key that has been renamed.
#[derive(Clone, Copy, Debug)]
pub(super) struct RenamedKey {
    /// The table of the key, by its path: empty for the top level, `camera`, `camera.framing`.
    pub table: &'static str,
    /// The name until now.
    pub old: &'static str,
    /// The name from now on.
    pub new: &'static str,
}

/// Every renamed key. So far none has been renamed.
pub(super) const RENAMED_KEYS: &[RenamedKey] = &[];

/// A use of another name in a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OldName {
    /// The key.
    pub old: String,
    /// The name to write instead.
    pub new: String,
    /// Where the key is written, in bytes of the document.
    pub span: Range<usize>,
    /// Whether the same table contains the new name too. If so, the old one is dropped.
    pub both: bool,
}

/// Replaces the old names in a parsed document, and returns those that were found.
pub(super) fn replace_old_names(document: &mut DeTable<'_>, renamed: &[RenamedKey]) -> Vec<OldName> {
    let mut found = Vec::new();
    for &RenamedKey { table, old, new } in renamed {
        for table in tables_at(document, table) {
            let Some((key, _)) = table.get_key_value(old) else { continue };
            let (span, both) = (key.span(), table.contains_key(new));
            found.push(OldName { old: old.to_owned(), new: new.to_owned(), span: span.clone(), both });
            if let Some(value) = table.remove(old).filter(|_| !both) {
                table.insert(Spanned::new(span, Cow::Borrowed(new)), value);
            }
        }
    }
    found
}

/// Replaces other spellings of known keys in a parsed document, and returns those that were found.
pub(super) fn replace_spellings(document: &mut DeTable<'_>) -> Vec<OldName> {
    let known: BTreeSet<String> = known_keys().iter().flat_map(|key| key.split('.')).map(str::to_owned).collect();
    let mut found = Vec::new();
    respell(document, &known, &mut found);
    found
}

fn respell(table: &mut DeTable<'_>, known: &BTreeSet<String>, found: &mut Vec<OldName>) {
    let others: Vec<(String, Range<usize>)> = table
        .keys()
        .filter(|key| !known.contains(&**key.get_ref()))
        .map(|key| (key.get_ref().to_string(), key.span()))
        .collect();
    for (old, span) in others {
        let new = snake_case(&old);
        if !known.contains(&new) {
            continue;
        }
        let both = table.contains_key(new.as_str());
        if let Some(value) = table.remove(old.as_str()).filter(|_| !both) {
            table.insert(Spanned::new(span.clone(), Cow::Owned(new.clone())), value);
        }
        found.push(OldName { old, new, span, both });
    }
    for (_, value) in table.iter_mut() {
        match value.get_mut() {
            DeValue::Table(inner) => respell(inner, known, found),
            DeValue::Array(list) => {
                for item in list.iter_mut() {
                    if let DeValue::Table(inner) = item.get_mut() {
                        respell(inner, known, found);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Every key, by its path without names and numbers: `threads`, `camera.framing.max_zoom`.
pub(super) fn known_keys() -> Vec<String> {
    fn add(path: &str, value: &toml::Value, keys: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    add(&path, value, keys);
                    keys.push(path);
                }
            }
            toml::Value::Array(list) => list.iter().for_each(|item| add(path, item, keys)),
            _ => {}
        }
    }
    let mut everything = Config::default();
    for camera in &mut everything.cameras {
        camera.outputs = vec![OutputConfig { device: String::new(), stream: StreamKind::View }];
    }
    let mut keys = Vec::new();
    // The defaults are TOML: a test prints them.
    if let Ok(table) = toml::Value::try_from(everything) {
        add("", &table, &mut keys);
    }
    keys
}

/// The tables at a path. There can be several, because `camera` is a list of tables.
fn tables_at<'a, 'i>(table: &'a mut DeTable<'i>, path: &str) -> Vec<&'a mut DeTable<'i>> {
    if path.is_empty() {
        return vec![table];
    }
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    match table.get_mut(first).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) => tables_at(inner, rest),
        Some(DeValue::Array(list)) => list
            .iter_mut()
            .filter_map(|item| match item.get_mut() {
                DeValue::Table(inner) => Some(inner),
                _ => None,
            })
            .flat_map(|inner| tables_at(inner, rest))
            .collect(),
        _ => Vec::new(),
    }
}
