//! Which notices of a watched folder are changes. Shell.

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind};

/// Whether a notice tells that something changed, or was lost. The watcher also
/// tells that a file or the folder was opened, which is what whoever looks after
/// a notice does: to take that for a change is never to come to rest.
#[must_use]
pub fn is_change(notice: &notify::Result<Event>) -> bool {
    match notice {
        Ok(event) => match event.kind {
            EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
            EventKind::Any
            | EventKind::Create(_)
            | EventKind::Modify(_)
            | EventKind::Remove(_)
            | EventKind::Other => true,
        },
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use notify::{RecursiveMode, Watcher as _};

    use super::*;

    #[test]
    fn to_read_is_no_change_and_to_write_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "a").unwrap();
        let (sender, notices) = channel();
        let mut watcher = notify::recommended_watcher(move |notice| {
            if is_change(&notice) {
                let _ = sender.send(notice);
            }
        })
        .unwrap();
        watcher.watch(dir.path(), RecursiveMode::Recursive).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read(&file).unwrap(), b"a");
        let none = notices.recv_timeout(Duration::from_millis(300));
        assert!(none.is_err(), "{none:?}");
        fs::write(&file, "b").unwrap();
        assert!(notices.recv_timeout(Duration::from_secs(5)).is_ok());
    }
}
