//! stub
use super::Inputs;
use crate::api::Problem;
/// s
pub fn check_world(_: &Inputs) -> Vec<Problem> {
    Vec::new()
}
