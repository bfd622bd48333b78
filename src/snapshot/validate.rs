//! stub
use crate::api::{BootProfile, Machine, Problem, Subnet};
/// s
pub fn validate_subnet(_: &Subnet) -> Vec<Problem> {
    Vec::new()
}
/// s
pub fn validate_profile(_: &BootProfile) -> Vec<Problem> {
    Vec::new()
}
/// s
pub fn validate_machine(_: &Machine) -> Vec<Problem> {
    Vec::new()
}
