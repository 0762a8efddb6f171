//! Facts, rules and times → verdict with reasons.
