//! waypost.
fn main() {}
