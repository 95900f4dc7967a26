//! The `snigate` command.

fn main() {}
