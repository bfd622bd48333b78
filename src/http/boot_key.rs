//! The key of boot tokens on disk: made once and kept with the leases, or a
//! file of somebody's own. Shell.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

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

/// Most bytes of somebody's own key.
const MAX_KEY: u64 = 4096;

/// The key that the file `path` of somebody's own makes: any bytes, as a Secret
/// holds them.
///
/// # Errors
/// A file that cannot be read, or is too short to be a key.
pub fn shared_boot_key(path: &Path) -> io::Result<BootKey> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_KEY)
        .read_to_end(&mut bytes)?;
    if bytes.len() < KEY_BYTES {
        let what = format!(
            "it has {} bytes; {KEY_BYTES} random bytes are the least: openssl rand -hex 32",
            bytes.len()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(BootKey::new(Sha256::digest(&bytes).into()))
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
        let token = boot_key(folder.path()).unwrap().token(boot, "");
        assert_eq!(boot_key(folder.path()).unwrap().token(boot, ""), token);
        let file = folder.path().join(KEY_FILE);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&file, "short").unwrap();
        let error = boot_key(folder.path()).unwrap_err().to_string();
        assert!(error.contains("remove it"), "{error}");
        fs::remove_file(&file).unwrap();
        assert_ne!(boot_key(folder.path()).unwrap().token(boot, ""), token);
        fs::write(&file, [7; KEY_BYTES - 1]).unwrap();
        let error = shared_boot_key(&file).unwrap_err().to_string();
        assert!(error.contains("31 bytes"), "{error}");
        fs::write(&file, [7; 100]).unwrap();
        let shared = shared_boot_key(&file).unwrap().token(boot, "");
        assert_eq!(shared_boot_key(&file).unwrap().token(boot, ""), shared);
    }
}
