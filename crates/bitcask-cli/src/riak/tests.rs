//! Stores of the original, stores of our own with every kind of damage, and thousands of damaged ones.

mod cases;
mod fixtures;
mod fuzz;
mod sha256;
mod stores;
