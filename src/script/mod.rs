//! What iPXE is told: scripts, made of a profile and a machine.
//!
//! Core: text in, text out.

mod config;
mod ipxe;
mod machine;
mod source;
mod template;
mod token;
mod url;

pub use self::config::{SecretValues, Values, render_config};
pub use self::ipxe::{FIRST, ask, bootstrap, local, machine_script};
pub use self::machine::{Caller, MachineScript, NoScript, context, holds, script_for, subnet_for};
pub use self::template::{
    BootContext, Context, MachineContext, ServerContext, TemplateError, render,
};
pub use self::token::{BootKey, KEY_BYTES};
pub use self::url::{
    AUTOEXEC_NAME, CONFIG_NAME, DISK_NAME, MACHINES, PHONE_HOME_NAME, SCRIPT_NAME, Urls,
};
