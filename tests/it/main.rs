//! it

mod component;
mod component_hostile;
mod component_stand_in;
