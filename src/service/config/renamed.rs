//! Keys that have been renamed. The old name still works and gives a warning
//! (`docs/design/compatibility.md`).

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

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

/// A use of an old name in a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OldName {
    /// The key.
    pub old: &'static str,
    /// Its new name.
    pub new: &'static str,
    /// Where the key is written, in bytes of the document.
    pub span: Range<usize>,
    /// Whether the same table contains the new name too. If so, nothing is renamed.
    pub both: bool,
}

/// Replaces the old names in a parsed document, and returns those that were found.
pub(super) fn replace_old_names(document: &mut DeTable<'_>, renamed: &[RenamedKey]) -> Vec<OldName> {
    let mut found = Vec::new();
    for &RenamedKey { table, old, new } in renamed {
        for table in tables_at(document, table) {
            let Some((key, _)) = table.get_key_value(old) else { continue };
            let (span, both) = (key.span(), table.contains_key(new));
            found.push(OldName { old, new, span: span.clone(), both });
            if !both && let Some(value) = table.remove(old) {
                table.insert(Spanned::new(span, Cow::Borrowed(new)), value);
            }
        }
    }
    found
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
