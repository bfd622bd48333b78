//! In a cluster.

pub mod leader;
