//! Names that people write: one spelling for each, and the known name that an unknown one resembles.

/// The spelling of configuration files, `max_zoom`, for a name in one of the others: `max-zoom`,
/// `MaxZoom`. Dots stay: `framing.MaxZoom` becomes `framing.max_zoom`.
///
/// ```
/// use portraitd_protocol::spelling::snake_case;
/// assert_eq!(snake_case("framing.MaxZoom"), "framing.max_zoom");
/// assert_eq!(snake_case("framing.max-zoom"), "framing.max_zoom");
/// ```
#[must_use]
pub fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut after_letter = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && after_letter {
            out.push('_');
        }
        out.push(if c == '-' { '_' } else { c.to_ascii_lowercase() });
        after_letter = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    out
}

/// The longest name that is compared, in bytes. The time grows with the square of the length.
const LONGEST: usize = 64;

/// The known name that `name` probably means: the one with the fewest typing errors, if a third of
/// its letters at most are wrong. Among equally near ones it is the first.
///
/// ```
/// use portraitd_protocol::spelling::nearest;
/// assert_eq!(nearest("wdith", ["width", "height"]), Some("width"));
/// assert_eq!(nearest("volume", ["width", "height"]), None);
/// ```
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let name = snake_case(name);
    let near = known.into_iter().map(|known| (typing_errors(name.as_bytes(), snake_case(known).as_bytes()), known));
    let (errors, nearest) = near.min_by_key(|(errors, _)| *errors)?;
    (errors <= nearest.len().div_ceil(3)).then_some(nearest)
}

/// The fewest insertions, deletions, replacements and exchanges of neighbours that make `b` of `a`
/// (optimal string alignment).
fn typing_errors(a: &[u8], b: &[u8]) -> usize {
    // Rows of the table of prefixes: two rows above, one above, and this one.
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_counted() {
        for (a, b, errors) in
            [("", "", 0), ("", "ab", 2), ("ab", "", 2), ("width", "wdith", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(typing_errors(a.as_bytes(), b.as_bytes()), errors, "{a} {b}");
        }
    }

    #[test]
    fn a_name_in_another_spelling_is_nearest_to_itself() {
        let known = ["min_zoom", "max_zoom", "mode"];
        for name in ["MaxZoom", "max-zoom", "maxzoom", "max_zom", "MAX_ZOOM"] {
            assert_eq!(nearest(name, known), Some("max_zoom"), "{name}");
        }
        assert_eq!(nearest(&"max_zoom".repeat(9), known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest("x", []), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_compared_without_a_panic(name in ".{0,80}") {
            let _ = nearest(&name, ["device", "größe"]);
        }
    }
}
