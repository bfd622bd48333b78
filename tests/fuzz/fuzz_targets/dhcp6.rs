#![no_main]

#[path = "../drive/mod.rs"]
#[allow(dead_code, reason = "the other targets use the rest")]
mod drive;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    drive::dhcp6(data);
});
