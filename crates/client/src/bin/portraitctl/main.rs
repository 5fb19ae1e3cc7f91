//! portraitctl.
fn main() {}
