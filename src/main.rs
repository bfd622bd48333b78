//! The `reveille` program.
fn main() {}
