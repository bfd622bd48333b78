//! The key of boot tokens on disk: made once, kept with the leases. Shell.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use crate::files::write_whole;
use crate::script::{BootKey, KEY_BYTES};

/// Its file in the state folder.
pub const KEY_FILE: &str = "boot.key";

/// Reads the key of the state folder, or makes it.
///
/// # Errors
/// A file that cannot be read or made, or that holds no key.
pub fn boot_key(state: &Path) -> io::Result<BootKey> {
    let path = state.join(KEY_FILE);
    if let Some(key) = read(&path)? {
        return Ok(key);
    }
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    write_whole(&path, 0o600, &bytes)?;
    Ok(BootKey::new(bytes))
}

/// The key in the file `path`; `None` where there is no such file.
fn read(path: &Path) -> io::Result<Option<BootKey>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    let key = <[u8; KEY_BYTES]>::try_from(bytes).map_err(|_| {
        let what = format!(
            "{} holds no key; remove it and a new one is made",
            path.display()
        );
        io::Error::new(io::ErrorKind::InvalidData, what)
    })?;
    Ok(Some(BootKey::new(key)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::boot::MacAddress;
    use crate::timeline::BootId;

    #[test]
    fn makes_a_key_once_and_for_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let boot = BootId {
            mac: MacAddress::new([2, 0, 0, 0, 0, 1]),
            number: 1,
        };
        let token = boot_key(folder.path()).unwrap().token(boot);
        assert_eq!(boot_key(folder.path()).unwrap().token(boot), token);
        let file = folder.path().join(KEY_FILE);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&file, "short").unwrap();
        let error = boot_key(folder.path()).unwrap_err().to_string();
        assert!(error.contains("remove it"), "{error}");
        fs::remove_file(&file).unwrap();
        assert_ne!(boot_key(folder.path()).unwrap().token(boot), token);
    }
}
