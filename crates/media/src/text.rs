//! Positions in a text, for error messages.

/// The line and column of the byte at `offset`, both from 1. The column counts characters. Offsets
/// beyond the end mean the end.
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let offset = text.floor_char_boundary(offset.min(text.len()));
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
