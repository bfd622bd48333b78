//! What became of the objects, told to the cluster: `status` and Events.
//!
//! `conditions`, `sight`, `machine`, `subnet`, `profile`, `boots` and `pace`
//! are core: from what is served, seen and known to the status that an object
//! should have, and when it may be written.

mod boots;
mod conditions;
mod machine;
mod notices;
mod pace;
mod profile;
mod sight;
mod subnet;
#[cfg(test)]
mod tests;

pub use self::boots::{later, latest, own_boots, summary};
pub use self::conditions::{About, Judgement, Reason, Truth, find};
pub use self::machine::{MachineInput, machine};
pub use self::notices::{Notice, Told, Turn};
pub use self::pace::{Ended, Next, Pace};
pub use self::profile::{ProfileInput, profile};
pub use self::sight::{Finding, Side, Sight, Standing};
pub use self::subnet::{Listening, SubnetInput, subnet};
