//! What iPXE is told: scripts, made of a profile and a machine.
//!
//! Core: text in, text out.

mod ipxe;
mod template;
mod url;

pub use self::ipxe::{bootstrap, local, machine_script};
pub use self::template::{Context, TemplateError, render};
pub use self::url::{SCRIPT_NAME, Urls};
