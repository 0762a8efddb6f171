#!/usr/bin/env bash
# Rust's config crate makes 0 of TOML's nan, and the greatest integer of inf.
#
# Version: config 0.15.27 with its TOML reader.
# Guess: a field of an integer type refuses `nan`, `inf` and 1e30.
# Behaviour: floats are rounded and squeezed into 64 bits, without an error; a smaller type refuses only what is out of
#   its own range. A limit of `inf` is the greatest integer there is, and one of `nan` is 0.
# Seen:
# | u64 nan: 0
# | u64 inf: 18446744073709551615
# | u64 1e30: 18446744073709551615
# | u64 -0.4: 0
# | u16 nan: 0
# | u16 5347.6: 5348
# | u16 inf: refused
# | u16 -1: refused
. "$(dirname "$0")/lib.sh"

rust 'config = { version = "=0.15.27", default-features = false, features = ["toml"] }' 'serde = "1"' <<'RUST' | as_described
use config::{Config, File, FileFormat};
use std::fmt::Display;

fn read<T: serde::de::DeserializeOwned + Display>(name: &str, value: &str) {
    let file = File::from_str(&format!("it = {value}"), FileFormat::Toml);
    let read = Config::builder().add_source(file).build().unwrap().get::<T>("it");
    println!("{name} {value}: {}", read.map_or("refused".to_owned(), |it| it.to_string()));
}

fn main() {
    ["nan", "inf", "1e30", "-0.4"].map(|it| read::<u64>("u64", it));
    ["nan", "5347.6", "inf", "-1"].map(|it| read::<u16>("u16", it));
}
RUST
