//! streamhouse
fn main() {}
