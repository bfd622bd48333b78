//! Manifests from a folder: read, checked, shown.
//!
//! Shell: opens files. Knows neither packets nor a cluster.

pub mod schema;
pub mod yaml;
