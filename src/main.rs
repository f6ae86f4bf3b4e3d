//! The `scalesocket` binary.
fn main() {}
