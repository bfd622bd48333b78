//! Options in `file` and `sname` (option 52, RFC 2132 section 9.3), where a
//! client takes small packets only and these fields are free. Core.
//!
//! Only systems are answered so. Firmware wants names there: EDK2's HTTP boot
//! takes no notice of `file` where option 52 says that it holds options, and
//! iPXE would take these for a file name.

use std::collections::BTreeMap;

use super::option;

/// Bytes of options that `file` holds, END left out (RFC 2131 figure 1).
const FILE: usize = 127;
/// The same of `sname`.
const SNAME: usize = 63;
/// The bytes before an option's data: its code and its length.
const HEAD: usize = 2;
/// The code that ends a field's options.
const END: u8 = 255;

/// What stays where every client looks first: what the exchange is made of.
/// Option 82 is the last of the packet's options (RFC 3046 section 2.2).
const HELD: [u8; 10] = [
    option::SUBNET_MASK,
    option::ROUTERS,
    option::LEASE_TIME,
    option::SERVER_ID,
    option::MESSAGE,
    option::RENEWAL_TIME,
    option::REBINDING_TIME,
    option::CLIENT_ID,
    option::RELAY_INFO,
    option::SUBNET_SELECTION,
];

/// Options that were moved into the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Overload {
    file: Vec<u8>,
    sname: Vec<u8>,
}

// === impl Overload ===

impl Overload {
    /// Moves the largest of `options` that finds room into a field; whether one
    /// did.
    pub(super) fn take(&mut self, options: &mut BTreeMap<u8, Vec<u8>>) -> bool {
        let spare = options.iter().filter(|(code, _)| !HELD.contains(code));
        let mut spare: Vec<(usize, u8)> = spare.map(|(code, data)| (data.len(), *code)).collect();
        spare.sort_unstable_by(|one, other| other.cmp(one));
        for (length, code) in spare {
            let fits = |field: &Vec<u8>, room| field.len() + HEAD + length <= room;
            let field = if fits(&self.file, FILE) {
                &mut self.file
            } else if fits(&self.sname, SNAME) {
                &mut self.sname
            } else {
                continue;
            };
            let Some((data, length)) = options.remove(&code).zip(u8::try_from(length).ok()) else {
                continue;
            };
            field.extend([code, length]);
            field.extend(data);
            return true;
        }
        false
    }

    /// What option 52 says; `None` where the fields hold no options.
    pub(super) fn code(&self) -> Option<u8> {
        let code = u8::from(!self.file.is_empty()) | u8::from(!self.sname.is_empty()) << 1;
        (code != 0).then_some(code)
    }

    /// What stands in `file`, where it holds options.
    pub(super) fn file(&self) -> Option<Vec<u8>> {
        ended(&self.file)
    }

    /// What stands in `sname`, where it holds options.
    pub(super) fn sname(&self) -> Option<Vec<u8>> {
        ended(&self.sname)
    }
}

fn ended(field: &[u8]) -> Option<Vec<u8>> {
    (!field.is_empty()).then(|| [field, &[END]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_go_first_and_nothing_is_cut() {
        let mut options: BTreeMap<u8, Vec<u8>> = [
            (option::RELAY_INFO, vec![1; 200]),
            (option::DOMAIN_SEARCH, vec![2; 126]),
            (option::DOMAIN_NAME, vec![3; 60]),
            (option::ROUTES, vec![4; 61]),
            (option::NTP_SERVERS, vec![5; 61]),
        ]
        .into();
        let mut overload = Overload::default();
        assert_eq!(overload.code(), None);
        while overload.take(&mut options) {}
        // 126 bytes and a head are one too many for `file`.
        let left: Vec<u8> = options.into_keys().collect();
        assert_eq!(left, [option::RELAY_INFO, option::DOMAIN_SEARCH]);
        assert_eq!(overload.code(), Some(3));
        let (file, sname) = (overload.file().unwrap(), overload.sname().unwrap());
        assert_eq!((file.len(), sname.len()), (127, 63));
        assert!(file.ends_with(&[END]) && sname.ends_with(&[END]));
        assert_eq!(file[..2], [option::ROUTES, 61]);
        assert_eq!(file[63..65], [option::NTP_SERVERS, 61]);
        assert_eq!(sname[..2], [option::DOMAIN_NAME, 60]);
    }
}
