//! What calls of loops in assembly have in common.

/// The addresses of at most `MOST` rows of at least `count` values; the rest is null.
///
/// # Panics
/// If there are more rows, or a row is shorter.
pub(crate) fn addresses<T, const MOST: usize>(rows: &[&[T]], count: usize) -> [*const T; MOST] {
    assert!(rows.iter().all(|row| row.len() >= count), "every row must be as long as the output");
    let mut addresses = [std::ptr::null(); MOST];
    for (address, row) in addresses[..rows.len()].iter_mut().zip(rows) {
        *address = row.as_ptr();
    }
    addresses
}
