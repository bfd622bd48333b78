//! Serial numbers and asset tags, as firmware tells them (SMBIOS types 1 and 3).

/// Characters of a serial number or asset tag at most.
pub const MAX_TAG: usize = 128;

/// What boards have whose maker wrote no number into them, in lower case.
pub const PLACEHOLDERS: [&str; 16] = [
    "0",
    "00000000",
    "0123456789",
    "1234567890",
    "123456789",
    "default string",
    "empty",
    "n/a",
    "no asset information",
    "no asset tag",
    "none",
    "not available",
    "not specified",
    "system serial number",
    "to be filled by o.e.m.",
    "unknown",
];

/// A serial number or asset tag as it is compared: without spaces around it,
/// in lower case. `None` where it names no machine.
#[must_use]
pub fn tag_key(text: &str) -> Option<String> {
    let key = text.trim().to_ascii_lowercase();
    let names_one = !key.is_empty()
        && key.len() <= MAX_TAG
        && !key.chars().any(char::is_control)
        && !PLACEHOLDERS.contains(&key.as_str());
    names_one.then_some(key)
}
