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
mod menu;
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
    Asked, Caller, MachineScript, NoScript, chosen_script, context, holds, is_current, locks,
    may_load, pass_for, script_for, script_in, subnet_for,
};
pub use self::menu::PASS;
pub use self::template::{
    BootContext, Context, MachineContext, ServerContext, TemplateError, render,
};
pub use self::token::{BootKey, KEY_BYTES, is_token};
pub use self::url::{
    AUTOEXEC_NAME, CONFIG_NAME, DISK_NAME, GRUB_NAME, MACHINES, PHONE_HOME_NAME, PXELINUX_NAME,
    SCRIPT_NAME, Urls, file_of, purpose_of,
};
