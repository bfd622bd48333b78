//! From root to a user that may do little. Shell.

use std::ffi::CString;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::Path;

use anyhow::Context as _;
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, User, getegid, geteuid, initgroups, setgid, setuid};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chownat, fchown, openat};

/// What stays: ports below 1024, and frames to machines without an address.
const KEPT: [Capability; 2] = [Capability::CAP_NET_BIND_SERVICE, Capability::CAP_NET_RAW];

/// Becomes `user`, keeping the two capabilities that serving needs; `owned`
/// folders become the user's, and so does all that is in `store`. Capabilities are a thread's: call this before
/// any other thread is started.
///
/// # Errors
/// Not root, no such user, or the kernel refuses.
pub fn become_user(name: &str, owned: &[&Path], store: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        geteuid().is_root(),
        "--user {name}: only root can become another user; start as root or leave --user out"
    );
    let user = User::from_name(name)
        .with_context(|| format!("--user {name}"))?
        .with_context(|| {
            format!("--user {name}: there is no such user; `adduser --system {name}` makes one")
        })?;
    for folder in owned {
        chown_tree(folder, user.uid, user.gid)
            .with_context(|| format!("{} cannot be given to {name}", folder.display()))?;
    }
    if let Err(error) = chown_all(store, user.uid, user.gid) {
        // What is there can be served all the same.
        tracing::warn!(store = %store.display(), %error, "the store of artifacts keeps its owner");
    }
    drop_to(user.gid, &user).with_context(|| format!("--user {name}"))
}

fn drop_to(gid: Gid, user: &User) -> anyhow::Result<()> {
    prctl::set_keepcaps(true)?;
    // With the user's other groups, which may be what lets it read the files.
    initgroups(&CString::new(user.name.as_str())?, gid)?;
    setgid(gid)?;
    setuid(user.uid)?;
    keep_capabilities()?;
    prctl::set_no_new_privs()?;
    Ok(())
}

/// Takes `owned` folders back for root from the user of an earlier start: with
/// two capabilities left, root may read no more than its own. Where that cannot be
/// done, whoever opens the files says what is wrong.
pub fn take_back(owned: &[&Path], store: &Path) {
    if !geteuid().is_root() {
        return;
    }
    for folder in owned {
        if let Err(error) = chown_tree(folder, geteuid(), getegid()) {
            tracing::debug!(folder = %folder.display(), %error, "the folder keeps its owner");
        }
    }
    if let Err(error) = chown_all(store, geteuid(), getegid()) {
        tracing::debug!(store = %store.display(), %error, "the store keeps its owner");
    }
}

/// Changes the owner of all that is in `folder`, unless the folder has it: then
/// an earlier start did that. Never through a link.
fn chown_all(folder: &Path, uid: Uid, gid: Gid) -> std::io::Result<()> {
    let metadata = std::fs::symlink_metadata(folder)?;
    if !metadata.is_dir() || metadata.uid() == uid.as_raw() {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            chown_all(&entry.path(), uid, gid)?;
        } else {
            lchown(entry.path(), Some(uid.as_raw()), Some(gid.as_raw()))?;
        }
    }
    // Last: a start that is cut off begins anew.
    lchown(folder, Some(uid.as_raw()), Some(gid.as_raw()))
}

/// Gives up every capability but CAP_NET_BIND_SERVICE and CAP_NET_RAW; keeps
/// those as far as the process has them.
///
/// # Errors
/// The kernel refuses.
pub fn keep_capabilities() -> anyhow::Result<()> {
    let have = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = KEPT.into_iter().filter(|cap| have.contains(cap)).collect();
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    caps::clear(None, CapSet::Inheritable)?;
    Ok(())
}

/// Changes the owner of a folder and of the files right in it. Never through a
/// link: who owns the folder could point one at any file of the host.
fn chown_tree(folder: &Path, uid: Uid, gid: Gid) -> std::io::Result<()> {
    let owner = Some(rustix::fs::Uid::from_raw(uid.as_raw()));
    let group = Some(rustix::fs::Gid::from_raw(gid.as_raw()));
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let folder = openat(CWD, folder, flags, Mode::empty())?;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        // The admin socket of an earlier start is the only one there.
        if matches!(entry.file_type(), FileType::RegularFile | FileType::Socket) {
            let name = entry.file_name();
            chownat(&folder, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    fchown(&folder, owner, group)?;
    Ok(())
}
