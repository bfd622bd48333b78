//! Who has which address.
//!
//! `record`, `records`, `addresses`, `table`, `request`, `allocate`,
//! `authority`, `handover`, `transfer`, `kea`, `kea6` and `v6` are core: values and pure
//! functions. `store`, `disk` and `metrics` are the shell that keeps leases on
//! disk.

mod addresses;
mod allocate;
mod authority;
mod disk;
mod form;
mod handover;
mod index;
mod journal;
mod kea;
mod kea6;
mod metrics;
mod record;
mod records;
mod request;
mod rows;
mod store;
mod table;
mod transfer;
mod usage;
mod v6;

pub use self::addresses::AddressSet;
pub use self::allocate::{
    CONTESTED_SECS, OFFER_HOLD_SECS, PROBATION_SECS, allocate, is_first_offer, probation,
    wants_probe,
};
pub use self::authority::{Authority, SHARE_OF, Shares};
pub use self::disk::{OpenTrouble, StoreError, TroubleReason};
pub use self::handover::{Claims, Home, adopt, make_way, release_gone};
pub use self::index::LeaseIndex;
pub use self::kea::import_kea;
pub use self::metrics::LeaseMetrics;
pub use self::record::{Change, Lease, LeaseKey, LeaseState, MAX_CLIENT_ID, ParseKeyError, Record};
pub use self::records::{Counts, FORGET_SECS, Records};
pub use self::request::{AllocateRequest, Answer, Intent, NakReason, SilentReason};
pub use self::store::{
    Backlog, Committer, Done, FILE, LeaseStore, Leases, Leases6, MAX_GROUP, NotTaken, QUEUE,
};
pub use self::table::LeaseTable;
pub use self::transfer::{AnyLease, Format, Imported, LineProblem, Networks, export, import_jsonl};
pub use self::usage::{Usage, Usages, Usages6};
pub use self::v6::{
    AllocateRequest6, Answer6, Change6, Home6, Intent6, Lease6, LeaseTable6, MAX_DUID, MAX_LEASES,
    MAX_OFFERS, NoBinding, adopt6, allocate6, association_key, association_of, counts6, lender6,
    release_gone6,
};
