//! What loaders are told: scripts of iPXE, GRUB and PXELINUX, made of a profile
//! and a machine.
//!
//! Core: text in, text out.

mod config;
mod dialect;
mod generated;
mod grub;
mod ipxe;
mod machine;
mod pxelinux;
mod source;
mod template;
mod token;
mod url;

pub use self::config::{SecretValues, Values, render_config};
pub use self::dialect::{Dialect, Way};
pub use self::generated::Generated;
pub use self::ipxe::{FIRST, ask, bootstrap, local, machine_script};
pub use self::machine::{
    Caller, MachineScript, NoScript, context, holds, may_load, script_for, script_in, subnet_for,
};
pub use self::template::{
    BootContext, Context, MachineContext, ServerContext, TemplateError, render,
};
pub use self::token::{BootKey, KEY_BYTES};
pub use self::url::{
    AUTOEXEC_NAME, CONFIG_NAME, DISK_NAME, GRUB_NAME, MACHINES, PHONE_HOME_NAME, SCRIPT_NAME, Urls,
    purpose_of,
};
