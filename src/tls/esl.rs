//! A certificate as UEFI enrols it. Core.

/// `EFI_CERT_X509_GUID` (UEFI 2.10 section 32.4.1), as its bytes lie in memory.
const X509_GUID: [u8; 16] = [
    0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72,
];

/// The owner of the entry: ours, so that it can be found and taken out again.
const OWNER: [u8; 16] = *b"reveille-tls-own";

/// An `EFI_SIGNATURE_LIST` with the one certificate `der`: the contents of the
/// variable `TlsCaCertificate` (UEFI 2.10 section 23.7.2), and of OVMF's
/// `etc/edk2/https/cacerts`.
#[must_use]
pub fn signature_list(der: &[u8]) -> Vec<u8> {
    const HEAD: u32 = 16 + 4 + 4 + 4;
    let entry = u32::try_from(OWNER.len() + der.len()).unwrap_or(u32::MAX);
    let mut list = X509_GUID.to_vec();
    for size in [HEAD.saturating_add(entry), 0, entry] {
        list.extend(size.to_le_bytes());
    }
    list.extend(OWNER);
    list.extend(der);
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_its_sizes() {
        let list = signature_list(&[0x30, 0x82, 1, 2]);
        assert_eq!(list.len(), 28 + 16 + 4);
        assert_eq!(list[16..28], [48, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0]);
        assert_eq!(list[44..], [0x30, 0x82, 1, 2]);
    }
}
