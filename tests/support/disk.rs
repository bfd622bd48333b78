//! Disks with just enough on them to tell that a machine booted from its disk.

use std::path::Path;

use anyhow::{Context, Result};

/// What a machine prints on its first serial port when it runs from its disk.
pub(crate) const MARKER: &str = "REVEILLE-DISK";

/// Writes a 1 MiB disk whose boot sector prints the marker on the serial port and halts.
pub(crate) fn bios(file: &Path) -> Result<()> {
    let mut disk = boot_sector();
    disk.resize(1 << 20, 0);
    std::fs::write(file, disk).with_context(|| file.display().to_string())
}

/// Writes a folder that QEMU shows as a FAT disk, with the marker program where UEFI looks for one.
pub(crate) fn uefi(folder: &Path) -> Result<()> {
    let home = folder.join("EFI/BOOT");
    std::fs::create_dir_all(&home).with_context(|| home.display().to_string())?;
    let file = home.join("BOOTX64.EFI");
    std::fs::write(&file, efi_program()).with_context(|| file.display().to_string())
}

/// A BIOS loads these 512 bytes at 0000:7c00 and jumps there in real mode.
fn boot_sector() -> Vec<u8> {
    #[rustfmt::skip]
    const CODE: [u8; 0x20] = [
        0xfa,                   // 00       cli
        0x31, 0xc0,             // 01       xor ax, ax
        0x8e, 0xd8,             // 03       mov ds, ax
        0xfc,                   // 05       cld
        0xbe, 0x20, 0x7c,       // 06       mov si, 7c20    the text, right behind this code
        0xac,                   // 09 next: lodsb
        0x88, 0xc3,             // 0a       mov bl, al
        0xba, 0xfd, 0x03,       // 0c       mov dx, 3fd     COM1, line status
        0xec,                   // 0f room: in al, dx
        0xa8, 0x20,             // 10       test al, 20     room for a byte?
        0x74, 0xfb,             // 12       jz room
        0x88, 0xd8,             // 14       mov al, bl
        0xb2, 0xf8,             // 16       mov dl, f8      COM1, data
        0xee,                   // 18       out dx, al
        0x84, 0xc0,             // 19       test al, al
        0x75, 0xec,             // 1b       jnz next        up to and with the closing zero
        0xf4,                   // 1d halt: hlt
        0xeb, 0xfd,             // 1e       jmp halt
    ];
    let mut sector = CODE.to_vec();
    sector.extend(format!("\r\n{MARKER}\r\n\0").bytes());
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// The smallest x86_64 UEFI program (PE32+, one section) that prints the marker and halts.
fn efi_program() -> Vec<u8> {
    // Where the section is in memory, and where in the file.
    const MEMORY: u32 = 0x1000;
    const FILE: u32 = 0x200;
    #[rustfmt::skip]
    const CODE: [u8; 0x15] = [
        0x48, 0x83, 0xec, 0x28,         // sub rsp, 28      shadow space of the calling convention
        0x48, 0x8b, 0x4a, 0x40,         // mov rcx, [rdx+40]    the system table's ConOut
        0x48, 0x8d, 0x15, 6, 0, 0, 0,   // lea rdx, [rip+6]     the text, right behind this code
        0xff, 0x51, 0x08,               // call [rcx+8]     OutputString
        0xf4,                           // halt: hlt
        0xeb, 0xfd,                     // jmp halt
    ];
    let mut file = Fields(Vec::new());
    file.bytes(b"MZ").zeros(0x3a).u32(0x40);
    // COFF: x86_64, one section, no symbols, optional header of 240 bytes; executable, 64 bit.
    file.bytes(b"PE\0\0")
        .u16(0x8664)
        .u16(1)
        .zeros(12)
        .u16(240)
        .u16(0x22);
    // Optional header: sizes, entry point, alignments, then subsystem 10 (an EFI application).
    file.u16(0x20b)
        .u16(0)
        .u32(0x200)
        .zeros(8)
        .u32(MEMORY)
        .u32(MEMORY);
    file.zeros(8).u32(0x1000).u32(FILE).zeros(16);
    file.u32(MEMORY + 0x1000).u32(FILE).u32(0).u16(10).u16(0);
    file.zeros(32).u32(0).u32(16).zeros(16 * 8);
    // The section: readable, executable code.
    file.bytes(b".text\0\0\0").u32(0x200).u32(MEMORY);
    file.u32(0x200).u32(FILE).zeros(12).u32(0x6000_0020);
    file.0.resize(0x200, 0);
    file.bytes(&CODE);
    for unit in format!("\r\n{MARKER}\r\n\0").encode_utf16() {
        file.u16(unit);
    }
    file.0.resize(0x400, 0);
    file.0
}

/// Little-endian fields, one after the other.
struct Fields(Vec<u8>);

impl Fields {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn zeros(&mut self, count: usize) -> &mut Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
}
