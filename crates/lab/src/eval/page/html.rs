//! The frame that all pages share, and the escaping of text.

use std::fmt::Write;

/// Escapes `text` for use between tags and in quoted attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// A whole page with the given title and the HTML `body`.
pub(super) fn page(title: &str, body: &str) -> String {
    let title = escaped(title);
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{}</style>\n</head>\n<body><main>\n{body}<footer>Made by portraitd {version}. What the figures mean: \
         docs/quality.md.</footer>\n</main></body>\n</html>\n",
        include_str!("style.css")
    )
}

/// A row of figures, each a value and its description.
pub(super) fn figures<L: AsRef<str>>(of: &[(String, L)]) -> String {
    let mut out = String::from("<div class=\"figures\">\n");
    for (value, what) in of {
        let _ = writeln!(
            out,
            "<div class=\"figure\"><b>{}</b><span>{}</span></div>",
            escaped(value),
            escaped(what.as_ref())
        );
    }
    out + "</div>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_escaped() {
        assert_eq!(escaped("<a b=\"c\">&"), "&lt;a b=&quot;c&quot;&gt;&amp;");
        let page = page("<x>", &figures(&[("<1>".into(), "a & b")]));
        assert!(page.contains("<title>&lt;x&gt;</title>") && page.contains("<b>&lt;1&gt;</b><span>a &amp; b</span>"));
        assert!(!page.contains("http"), "the page loads nothing");
    }
}
