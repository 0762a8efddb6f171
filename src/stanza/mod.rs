//! XML → facts.
