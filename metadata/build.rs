//! Rebuilds the crate when a migration is added: the macro that embeds them sees no new files.

#[allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
