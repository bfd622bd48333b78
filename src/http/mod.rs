//! HTTP: files with everything that boot clients expect of nginx, scripts,
//! and the admin port.
//!
//! `route`, `range`, `target`, `media`, `listing`, `phone_home`, `attempts` and `refusal` are core:
//! they decide. `listen` binds, `door` accepts connections; `server` and `admin` stand behind one
//! each; `files` looks up, `answer` and `body` send, `spans` has files sent by the
//! kernel, `wire` watches the bytes leave, `delivery` reports the end, and `discs` counts what is read of discs.

pub mod admin;
mod answer;
mod answer_files;
mod attempts;
mod body;
mod boot_key;
mod delivery;
mod discs;
mod door;
mod files;
mod listen;
pub mod listing;
pub mod media;
mod metrics;
pub mod passwords;
pub mod phone_home;
pub mod range;
pub mod refusal;
pub mod release;
pub mod route;
pub mod server;
mod settings;
mod spans;
pub mod target;
mod wire;

pub use self::admin::{
    AdminConfig, AdminServer, AdminSocket, AdminTls, Approve, Explain, ExplainQuery, Readiness,
};
pub use self::answer_files::AnswerFiles;
pub use self::body::{CHUNK, FEW_FILES, MANY_FILES, SMALL_CHUNK, SMALLEST_CHUNK};
pub use self::boot_key::{KEY_FILE, boot_key, shared_boot_key};
pub use self::door::{
    CONNECTIONS, CONNECTIONS_PER_CLIENT, DRAIN_TIMEOUT, HEAD_TIMEOUT, Limits, STALL_TIMEOUT,
};
pub use self::listen::SOCKET_PATH_BYTES;
pub use self::listing::Shown;
pub use self::metrics::HttpMetrics;
pub use self::server::{HttpConfig, HttpServer};
pub use self::settings::HttpArgs;
