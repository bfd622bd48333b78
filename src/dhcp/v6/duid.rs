//! The name that this server gives itself: made once, and kept with the leases.
//! Shell.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use crate::files::write_whole;
use crate::lease::MAX_DUID;

/// Its file in the state folder.
pub const DUID_FILE: &str = "server.duid";

/// Reads the server's DUID of the state folder, or makes it: a DUID-UUID (RFC
/// 6355), which follows from no hardware that may be changed.
///
/// # Errors
/// A file that cannot be read or made, or that holds no DUID.
pub fn server_duid(state: &Path) -> io::Result<Vec<u8>> {
    let path = state.join(DUID_FILE);
    match fs::File::open(&path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(MAX_DUID as u64 + 1).read_to_end(&mut bytes)?;
            if (3..=MAX_DUID).contains(&bytes.len()) {
                return Ok(bytes);
            }
            let what = format!(
                "{} holds no DUID; remove it and a new one is made",
                path.display()
            );
            Err(io::Error::new(io::ErrorKind::InvalidData, what))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut duid = [0; 18];
            getrandom::fill(&mut duid).map_err(io::Error::other)?;
            // Type 4; a random UUID (RFC 9562 section 5.4).
            let [high, low, .., version, _, variant, _, _, _, _, _, _, _] = &mut duid;
            (*high, *low) = (0, 4);
            *version = *version & 0x0f | 0x40;
            *variant = *variant & 0x3f | 0x80;
            write_whole(&path, 0o644, &duid)?;
            Ok(duid.to_vec())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_a_name_once() {
        let folder = tempfile::tempdir().unwrap();
        let duid = server_duid(folder.path()).unwrap();
        assert_eq!((duid.len(), &duid[..2]), (18, &[0, 4][..]));
        assert_eq!((duid[8] >> 4, duid[10] >> 6), (4, 2));
        assert_eq!(server_duid(folder.path()).unwrap(), duid);
        fs::write(folder.path().join(DUID_FILE), "x").unwrap();
        let error = server_duid(folder.path()).unwrap_err().to_string();
        assert!(error.contains("remove it"), "{error}");
    }
}
