//! Countersign: gateway, agent and tools.

fn main() {}
